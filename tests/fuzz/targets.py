"""What is fuzzed: each reader of a file that a stranger could have written, and its own error."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import torch
from hypothesis import strategies as st

import gfnet
import storage
from gfnet.bundle.trial import try_bundle
from gfnet.convert import ImportChanges, convert
from jobs.cluster import ray_up_file
from jobs.common.errors import BadInputError
from jobs.common.yaml_document import Document
from jobs.grid import keys, reader
from jobs.nightly import schedule, schedule_keys
from jobs.plan.plan import make_plan
from jobs.training import recipe_keys
from jobs.training.recipe import read_recipe
from tests.fuzz.bundles import bundle_files
from tests.fuzz.checkpoints import damaged, plain_pickle, safetensors_files, torch_files
from tests.fuzz.documents import documents
from tests.support import bundles

REPOSITORY = Path(__file__).parents[2]
SINCE = datetime(2026, 1, 1, tzinfo=timezone.utc)
PLANNED = 300
"""Combinations that are planned too; of more a plan only says the same more often."""

GRIDS = (
    "models: [tiny.safetensors, {name: a, checkpoint: dynn.safetensors, exit_blocks: [1]}]\n"
    "datasets:\n  - tiny\n  - {name: tiny, split: train, limit: 5}  # some\n"
    "thresholds: [0.5, default, {start: 0.0, stop: 1.0, num: 11}]\n",
    "name: all\nmodels: [digits-dynn]\ndatasets: [digits]\nthresholds: [[0.6, 0.5, .inf]]\n"
    "devices: [any, jetson]\nruntimes: [torch, onnx]\nprecisions: [float32, bfloat16]\n"
    "threads: [0, 1]\nbatch_sizes: {latency: 1, accuracy: 256}\n",
    "models: [tiny.safetensors]\ndatasets: [tiny]\nprecisions: [int8]\nruntimes: [onnx]\n"
    "calibration: {dataset: tiny, images: 5, split: train, image: image, label: label}\n",
    "models: [tiny.safetensors, dynn.safetensors]\ndatasets: ['parquet:data/tiny']\n"
    "measure: [accuracy, latency, energy, profile, exit_costs]\nbaseline: tiny\n"
    "latency: {rounds: 3, warmup_images: 2, images: 10}\n"
    "energy: {idle_s: 1, active_s: 1e-1, settle_s: 0}\nexclude: [{model: dynn, device: any}]\n",
)
"""Every key, in texts that are short: reading YAML is most of the time."""

_COMMON = (
    "validation: {fraction: 0.15, seed: 0}\nepochs: 9\nbatch_size: 8\nlearning_rate: 0.003\n"
    "weight_decay: 0.05\nwarmup_epochs: 3\nseed: 0\nthreads: 1\noutput: out.safetensors\n"
)
RECIPES = (
    "name: a\nstage: baseline\ndataset: tiny\naugmentation: {rotate_degrees: 10, flips: [horizontal]}\n"
    "model: {img_size: 16, patch_size: 2, embed_dim: 32, depth: 4, filter_grid: [8, 8]}\n"
    "preprocessing: {size: 18, mean: [0.5, 0.5, 0.5], std: [1, 1, 1]}\nprecision: auto\n" + _COMMON,
    "name: b\nstage: distillation\nteacher: tiny.safetensors\nteaching: {kind: soft, temperature: 3}\n"
    "dataset: tiny\nmodel: {img_size: 8, patch_size: 2, embed_dim: 8, depth: 2}\n" + _COMMON,
    "name: c\nstage: exits\nstart: odd.safetensors\nexit_blocks: [0]\ncost_weight: 0.03\n"
    "dataset: digits\nphase_epochs: 2\njoint_epochs: 1\nweights: float16\n" + _COMMON,
    "name: d\nstage: baseline\nstart: tiny.safetensors\ndataset: tiny\nlabel_smoothing: 0.1\n"
    "ema_decay: 0.9\noptimizer: adamw\naugmentation: {mixup: 0.2, cutmix: 1, trivial: true}\n"
    + _COMMON,
)

SCHEDULES = (
    "name: a\ngrid: grid.yaml\ncron: 30 2 * * mon-fri\ntimezone: Europe/Berlin\ninline: true\n"
    "judge: {against: 30, baseline: first, control: tiny}\nreport: reports\n"
    "notify: {command: [mail, -s, a night, lab@example.org], always: false}\n",
    "grid: g\ncron: '*/5,1-4/2 L 1,2#3 jan-feb 0,7#2,5L'\nresults: s3://bucket/prefix\n"
    "address: 10.0.0.1:6379\nnotify: {command: [./tell]}\n",
)

CLUSTER_FILES = ((REPOSITORY / "cluster.yaml").read_text(),)

_SIZES = {"img_size": 8, "patch_size": 4, "embed_dim": 4, "num_classes": 10}


@dataclass(frozen=True)
class Target:
    """A reader and what it is fed.

    Attributes:
        name: of the target.
        inputs: the files.
        suffix: of a file's name.
        read: reads a file to its end.
        refusal: what it raises where it does not want the file; anything else is a failure.
        share: of all inputs.
    """

    name: str
    inputs: st.SearchStrategy[bytes]
    suffix: str
    read: Callable[[Path], object]
    refusal: type[Exception]
    share: float


def targets(folder: Path) -> list[Target]:
    """All of them, with what they need in a folder: data sets and checkpoints of a few bytes."""
    _small_data_sets(folder)
    files = _small_checkpoints(folder)
    warnings.simplefilter("ignore")  # torch's, of pickles that it then refuses
    torch_saved = [data for data in files.values() if data[:1] != b"{" and not _is_header(data)]
    safetensors = [data for data in files.values() if _is_header(data)]
    error = gfnet.CheckpointError
    return [
        Target(
            "grid", documents(GRIDS, tuple(keys.KEYS)), ".yaml", _read_grid, BadInputError, 0.25
        ),
        Target(
            "recipe",
            documents(RECIPES, tuple(recipe_keys.KEYS)),
            ".yaml",
            read_recipe,
            BadInputError,
            0.15,
        ),
        Target(
            "schedule",
            documents(SCHEDULES, tuple(schedule_keys.KEYS)),
            ".yaml",
            _read_schedule,
            BadInputError,
            0.1,
        ),
        Target(
            "cluster",
            documents(CLUSTER_FILES, ray_up_file.KEYS),
            ".yaml",
            _read_cluster,
            BadInputError,
            0.1,
        ),
        Target(
            "safetensors",
            st.one_of(safetensors_files(safetensors), damaged(safetensors)),
            ".safetensors",
            _read_checkpoint,
            error,
            0.25,
        ),
        Target("pth", torch_files(torch_saved), ".pth", _read_checkpoint, error, 0.15),
        Target(
            "bundle",
            bundle_files(
                [
                    bundles.files(),
                    bundles.files(
                        {"stage_1.onnx": bundles.quantised_last_stage()}, precision="int8"
                    ),
                ]
            ),
            ".gfbundle",
            _read_bundle,
            gfnet.BundleError,
            1,
        ),
    ]


def _is_header(data: bytes) -> bool:
    return data[8:9] == b"{"


def _read_grid(path: Path) -> None:
    """For a machine and for a cluster; then the plan, where it is not long."""
    read = reader.read_grid(Document.read(path), None, path.parent)
    axes = (read.models, read.datasets, read.thresholds, read.devices, read.runtimes)
    if math.prod(map(len, (*axes, read.precisions, read.threads))) <= PLANNED:
        make_plan(read)


def _read_schedule(path: Path) -> None:
    """And when it is due, which must come to an end."""
    read = schedule.read_schedule(Document.read(path), path.parent)
    read.calendar.between(SINCE, SINCE + timedelta(days=400))


def _read_cluster(path: Path) -> None:
    """As `gfjobs doctor --cluster` does."""
    ray_up_file.read_launcher_file(Document.read(path).text, path)


def _read_checkpoint(path: Path) -> None:
    """As a plan does, as a worker does, and as an import does."""
    for changes in (ImportChanges(img_size=16), ImportChanges(exit_blocks=(1,))):
        with contextlib.suppress(gfnet.CheckpointError):  # an import asks for more, or for less
            convert(path, changes)
    gfnet.inspect_checkpoint(path)
    gfnet.load_checkpoint(path)


def _read_bundle(path: Path) -> None:
    """And run it, once it has passed the checks; nothing is written beside it."""
    before = sorted(path.parent.iterdir())
    try:
        try_bundle(gfnet.load_bundle(path))
    finally:
        assert sorted(path.parent.iterdir()) == before


def _small_data_sets(folder: Path) -> None:
    """Under the names that would be fetched, so that nothing ever is."""
    os.environ["GFJOBS_DATA"] = str(folder / "data")
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    images = [storage.EncodedImage(b"no image", f"{label}.png", label) for label in range(10)]
    for name in (*storage.DOWNLOADABLE, "tiny"):
        for split in ("train", "test"):
            path = folder / "data" / name / f"{split}.parquet"
            storage.write_images(path, images, [str(label) for label in range(10)])


def _small_checkpoints(folder: Path) -> dict[str, bytes]:
    """One of each family, what torch.save makes of one, and some that are odd."""
    torch.manual_seed(0)
    models = {
        "tiny": gfnet.create("gfnet", depth=2, **_SIZES),
        "distil": gfnet.create("gfnet-distil", depth=2, **_SIZES),
        "dynn": gfnet.create("gfnet-distil-dynn", depth=3, exit_blocks=(0, 1), **_SIZES),
    }
    for name, model in models.items():
        gfnet.save_checkpoint(model, folder / f"{name}.safetensors")
    files = {name: (folder / f"{name}.safetensors").read_bytes() for name in models}
    state = models["dynn"].state_dict()
    for name, content, is_zip in (
        ("zip", state, True),
        ("wrapped", {"model": state, "epoch": 3, "args": {"lr": 0.1}}, True),
        ("legacy", state, False),
    ):
        buffer = io.BytesIO()
        torch.save(content, buffer, _use_new_zipfile_serialization=is_zip)
        files[name] = buffer.getvalue()
    files["pickle"] = plain_pickle({"a": [1, 2.5, "x"]})
    (folder / "broken.pth").write_bytes(files["zip"][:1000])
    (folder / "empty.pth").write_bytes(b"")
    odd = files["distil"]
    length = int.from_bytes(odd[:8], "little")
    header = json.loads(odd[8 : 8 + length])
    said = json.loads(header["__metadata__"]["gfnet"])
    digits = storage.open_images("digits", "train")
    said["training"] = {
        "dataset_sha256": digits.sha256,
        "validation": [0.15],
        "recipe": {"\x1b[31m": 1},
    }
    header["__metadata__"]["gfnet"] = json.dumps(said)
    text = json.dumps(header).encode()
    data = len(text).to_bytes(8, "little") + text + odd[8 + length :]
    (folder / "odd.safetensors").write_bytes(data)
    files["odd"] = data
    return files
