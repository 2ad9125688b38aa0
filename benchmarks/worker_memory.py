"""The memory of a worker, by part: a model answers single images in a worker process of Ray.

The worker is the one that runs use, with all that it imports. Resident sizes are read in it, each
after one part more: the process as Ray starts it, torch, the preparation of images, and a task that
loads the model and times single images. The peak is the one that the task reports for its cell
(`cell_resources.peak_process_bytes`). Of a resident size, `shared` are pages of Ray's object store,
in which the checkpoint lies once for the whole node: they are the store's memory, and the aim is
for what is beyond them. `own` has no file behind it: unlike pages of libraries, the kernel cannot
take it back.

The rival is a script as one writes it by hand: torch, torchvision's transforms, the same weights,
the same images one by one, without Ray and rows. The limit is torch alone with these weights.

    python benchmarks/worker_memory.py [--model gfnet-xs] [--images 16] [--runtimes torch]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import storage
from jobs.cluster.ray import RayExecutor
from jobs.common.yaml_document import Document
from jobs.grid.reader import read_grid
from jobs.machine.devices import local_devices
from jobs.machine.slots import Slot
from jobs.plan.order import make_blocks
from jobs.plan.plan import Plan, make_plan
from jobs.plan.sources import Sources
from jobs.plan.task import Outcome, Task

AIM_MIB = 700
MIB = 2**20
RUNTIMES = ("torch", "onnx", "openvino", "compile")

BY_HAND = """
import io, json, sys
from pathlib import Path
path, images, with_transforms = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3] == "1"
import torch
torch.set_num_threads(1)
if with_transforms:
    from PIL import Image
    from torchvision.transforms import InterpolationMode, v2
    prepare = v2.Compose([
        v2.Resize(224, InterpolationMode.BICUBIC), v2.CenterCrop(224), v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)])
    from gfnet import load_checkpoint
    model = load_checkpoint(path)
    with torch.inference_mode():
        for each in images:
            image = Image.open(io.BytesIO(bytes.fromhex(each))).convert("RGB")
            model(prepare(image)[None]).tolist()
else:
    from safetensors.torch import load_file
    weights = load_file(path)
lines = Path("/proc/self/status").read_text().splitlines()
print(json.dumps([int(line.split()[1]) * 1024 for line in lines if line[:5] in ("VmRSS", "VmHWM")]))
"""
"""Prints peak and resident bytes."""


class Resident(NamedTuple):
    """What a process holds at a moment.

    Attributes:
        all_bytes: resident, the pages of libraries included.
        shared_bytes: of them, those of the object store.
        own_bytes: of them, those that no file has.
    """

    all_bytes: int
    shared_bytes: int
    own_bytes: int


def resident() -> Resident:
    """Read this process's size; Linux, proc(5)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = {line.split(":")[0]: line.split()[1:2] for line in lines}
    names = ("VmRSS", "RssShmem", "RssAnon")
    return Resident(*(int(fields[name][0]) * 1024 for name in names))


def by_parts(folder: str) -> Callable[..., Outcome]:
    """Make the work of a task: as a run's, but it writes its size after each part to a file."""

    def work(
        task: Task, weights: Callable[[], bytes], images: Any, slot: Slot | None, *rest: Any
    ) -> Outcome:
        sizes = {"worker process of Ray": resident()}
        import torch  # noqa: F401 - what its import takes is asked

        sizes["torch"] = resident()
        from gfnet.preprocess import Preprocessing, prepare_images
        from jobs.worker.run_task import run_task

        prepare_images(images.column("image").to_pylist()[:1], Preprocessing(224, 224))
        sizes["preparation of images"] = resident()
        outcome = run_task(task, weights, images, slot, *rest)
        sizes["model, engine, answers"] = resident()
        assert outcome.resources is not None
        peak = outcome.resources.peak_process_bytes
        said = {"sizes": sizes, "peak": peak, "error": outcome.error or outcome.skipped}
        Path(folder, f"{task.runtime}.json").write_text(json.dumps(said))
        return outcome

    return work


def plan_of(folder: Path, model: str, runtime: str, images: int) -> Plan:
    """A cell that times single images with one thread."""
    import torch

    import gfnet

    torch.manual_seed(0)
    gfnet.save_checkpoint(gfnet.create(model, num_classes=10), folder / f"{model}.safetensors")
    path = folder / "memory.yaml"
    path.write_text(
        f"name: memory\nmodels: [{{name: m, checkpoint: {folder / model}.safetensors}}]\n"
        f"datasets: [{{name: digits, limit: {images}}}]\nruntimes: [{runtime}]\nthreads: [1]\n"
        "measure: [latency]\nlatency: {rounds: 1, warmup_images: 2}\n"
    )
    return make_plan(read_grid(Document.read(path), local_devices(), folder))


def measure(plan: Plan, folder: Path) -> dict[str, Any]:
    """Run the first task in a worker that has run nothing else."""
    (task, *_) = make_blocks(plan, by_device=False)[0].tasks("r", frozenset())
    executor = RayExecutor(Sources.of(plan), work=by_parts(str(folder)))
    try:
        executor.submit(task, Slot("", "cpu"))
        while (finished := executor.wait()) is None:  # it also returns to look for lost tasks
            pass
    finally:
        executor.close()
    _, outcome = finished
    if outcome.error or outcome.skipped:
        raise RuntimeError(outcome.error or outcome.skipped)
    said: dict[str, Any] = json.loads((folder / f"{task.runtime}.json").read_text())
    return said


def by_hand(checkpoint: Path, images: int, *, is_whole: bool) -> tuple[int, int]:
    """Peak and resident bytes of the script, or of torch with the weights alone."""
    encoded = storage.open_images("digits").read(range(images))["image"].to_pylist()
    given = json.dumps([each.hex() for each in encoded])
    command = [sys.executable, "-c", BY_HAND, str(checkpoint), given, str(int(is_whole))]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    peak, now = json.loads(said)
    return peak, now


def main() -> None:
    """Print a table for each runtime; exit code 1 where torch's worker is beyond the aim."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="gfnet-xs")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--runtimes", nargs="+", choices=RUNTIMES, default=["torch"])
    options = parser.parse_args()
    is_met = True
    for runtime in options.runtimes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            plan = plan_of(folder, options.model, runtime, options.images)
            checkpoint = folder / f"{options.model}.safetensors"
            size = checkpoint.stat().st_size
            said = measure(plan, folder)
            script, least = (
                by_hand(checkpoint, options.images, is_whole=is_whole) for is_whole in (True, False)
            )
        print(f"{options.model}, {size / MIB:.0f} MiB of weights, {runtime}, batch 1, one thread")
        print(f"{'MiB':28}{'resident':>10}{'added':>8}{'shared':>8}{'own':>8}")
        before = 0
        for part, (all_bytes, shared_bytes, own_bytes) in said["sizes"].items():
            sizes = (all_bytes - before, shared_bytes, own_bytes)
            others = "".join(f"{each / MIB:8.0f}" for each in sizes)
            print(f"{part:28}{all_bytes / MIB:10.0f}{others}")
            before = all_bytes
        ours = before - shared_bytes
        print(f"{'':28}{'resident':>10}{'peak':>8}")
        rows = (
            ("ours", (said["peak"], before)),
            ("without shared pages", (said["peak"] - shared_bytes, ours)),
            ("script by hand", script),
            ("limit", least),
        )
        for row, (peak, now) in rows:
            print(f"{row:28}{now / MIB:10.0f}{peak / MIB:8.0f}")
        print(f"{'without shared / script':28}{ours / script[1]:10.2f}")
        print(f"{'without shared / limit':28}{ours / least[1]:10.2f}")
        print(f"{'aim, torch':28}{AIM_MIB:10}", flush=True)
        is_met &= runtime != "torch" or ours <= AIM_MIB * MIB
    sys.exit(not is_met)


if __name__ == "__main__":
    main()
