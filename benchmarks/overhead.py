"""What the job runner adds: a 200-cell grid on Ray against a bare loop over the same calls.

The bare loop calls the worker's own function on the same tasks, in one process, with models and
images at hand; it commits nothing. Ray's side is the whole driver, from tasks to committed rows,
after Ray has started and its worker has loaded torch (both are printed: a run pays them once).
Both run in turn, several times; the medians are compared.

    python benchmarks/overhead.py [--cells 200] [--images 450] [--repeats 3]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import storage
from jobs.cluster.ray import RayExecutor
from jobs.common.yaml_document import Document
from jobs.driver.cell_states import queued_rows
from jobs.driver.driver import Driver
from jobs.driver.inline_executor import InlineExecutor
from jobs.grid.reader import read_grid
from jobs.machine.devices import local_devices
from jobs.machine.slots import Slot
from jobs.plan.order import make_blocks
from jobs.plan.plan import Plan, make_plan
from jobs.plan.sources import Sources
from jobs.plan.task import Task

HERE = Slot("", "cpu")


def make_grid(folder: Path, cells: int, images: int) -> Plan:
    """A grid of routed cells, one threshold each, of the bundled early-exit model."""
    path = folder / "overhead.yaml"
    thresholds = [round((i + 0.5) / cells, 4) for i in range(cells)]
    path.write_text(
        f"name: overhead\nmodels: [digits-dynn]\ndatasets: [{{name: digits, limit: {images}}}]\n"
        f"thresholds: {thresholds}\nthreads: [1]\nmeasure: [latency]\n"
        "latency: {rounds: 1, warmup_images: 4}\n"
    )
    return make_plan(read_grid(Document.read(path), local_devices(), folder))


def tasks_of(plan: Plan) -> list[Task]:
    """All tasks, in the order of a run."""
    queue = make_blocks(plan, by_device=False)[0].tasks("r", frozenset())
    return list(queue)


def bare_s(plan: Plan) -> float:
    """Seconds of a loop over the worker's calls, in this process."""
    executor = InlineExecutor(Sources.of(plan))
    began_s = time.perf_counter()
    for task in tasks_of(plan):
        executor.submit(task, HERE)
        _, outcome = executor.wait()
        if outcome.error:
            raise RuntimeError(outcome.error)
    return time.perf_counter() - began_s


def ray_s(plan: Plan, executor: RayExecutor, root: Path, run_id: str) -> float:
    """Seconds of the same tasks through driver, Ray and storage."""
    run = storage.RunRow(run_id=run_id, name="overhead")
    with storage.RunStore.create(root, run, queued_rows(plan, run_id), {}) as store:
        began_s = time.perf_counter()
        is_done = Driver(store, plan, executor).run()
        store.merge()
        elapsed_s = time.perf_counter() - began_s
    if not is_done:
        raise RuntimeError(f"the run failed: {[cell.error for cell in store.cells]}")
    return elapsed_s


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--images", type=int, default=450)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "results"
        plan = make_grid(Path(folder), options.cells, options.images)
        first = make_grid(Path(folder), 1, options.images)
        began_s = time.perf_counter()
        executor = RayExecutor(Sources.of(plan))
        started_s = time.perf_counter() - began_s
        try:
            first_s = ray_s(first, executor, root, "first")
            bare_s(first)
            bare, ray = [], []
            for number in range(options.repeats):
                bare.append(bare_s(plan))
                ray.append(ray_s(plan, executor, root, f"run{number}"))
        finally:
            executor.close()
    ratios = [ours / theirs for ours, theirs in zip(ray, bare, strict=True)]
    print(f"{len(plan.cells)} cells of {options.images} images, {os.cpu_count()} processors")
    print(f"once a run: Ray starts in {started_s:.1f} s, its worker's first task {first_s:.1f} s")
    print(f"{'':24}{'median s':>10}{'min':>8}{'max':>8}")
    for name, values in (("gfjobs on Ray", ray), ("bare loop", bare), ("ratio", ratios)):
        low, high = min(values), max(values)
        print(f"{name:24}{statistics.median(values):10.2f}{low:8.2f}{high:8.2f}")


if __name__ == "__main__":
    main()
