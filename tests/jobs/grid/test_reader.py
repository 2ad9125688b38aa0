"""Reading grids: what they say, and everything that can be wrong with them."""

from __future__ import annotations

import io
import json
import math
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import gfnet
import storage
from jobs.common.errors import BadInputError
from jobs.grid import datasets
from jobs.grid.grid import Borrowing, Grid, ServingProtocol, Until
from jobs.machine.power.protocol import EnergyProtocol

FULL = """\
name: full
models: [flat.safetensors, {name: early, checkpoint: dynn.safetensors, exit_blocks: [3]}]
datasets: [{name: digits, split: test, limit: 40}, {name: digits, split: train}]
thresholds: [0.613, default, {start: 0.0, stop: 1.0, num: 3}]
devices: [jetson, cpu]
runtimes: [torch]
precisions: [float32]
threads: [1, 2]
batch_sizes: {latency: 2, accuracy: 64, throughput: [4, 2, 4]}
measure: [accuracy, energy]
accuracy: {borrow: cpu, sample: 30}
latency: {rounds: 5, warmup_images: 7, images: 9}
serving: {arrivals: [10, 0.5, 10], seconds: 30}
energy: {idle_s: 2.5, active_s: 4, settle_s: 0}
baseline: flat
exclude: [{model: early, device: jetson}]
"""


def test_every_key_is_read(write_grid: Callable, read: Callable[[Path], Grid]) -> None:
    """A grid that uses all keys."""
    grid = read(write_grid(FULL))
    assert grid.name == "full"
    assert [model.name for model in grid.models] == ["flat", "early"]
    assert grid.models[1].config.exit_blocks == (3,)
    assert [data.label for data in grid.datasets] == ["digits/test@40", "digits/train"]
    assert [data.count for data in grid.datasets] == [40, 1347]
    written = [t.values for t in grid.thresholds if t.is_written]
    assert written == [(float(np.float32(0.613)),), ()]
    assert [t.values for t in grid.thresholds if not t.is_written] == [(0.0,), (0.5,), (1.0,)]
    assert (grid.devices, grid.threads) == (("jetson", "cpu"), (1, 2))
    assert (grid.latency_batch, grid.accuracy_batch) == (2, 64)
    assert grid.measure == ("accuracy", "energy")
    assert (grid.latency.rounds, grid.latency.warmup_images, grid.latency.images) == (5, 7, 9)
    assert grid.throughput_batches == (4, 2)
    assert grid.serving == ServingProtocol(arrivals=(10.0, 0.5), seconds=30.0)
    assert grid.energy == EnergyProtocol(idle_s=2.5, active_s=4.0, settle_s=0.0)
    assert grid.borrowing == Borrowing("cpu", 30)
    assert grid.baseline == "flat"
    assert grid.exclude == ({"model": "early", "device": "jetson"},)


def test_defaults(write_grid: Callable, read: Callable[[Path], Grid]) -> None:
    """Only models and datasets are needed; the name is the file's."""
    grid = read(write_grid("models: [flat.safetensors]\ndatasets: [digits]\n"))
    assert grid.name == "grid"
    assert [t.values for t in grid.thresholds] == [()]
    assert (grid.devices, grid.runtimes, grid.precisions) == (("any",), ("torch",), ("float32",))
    assert (grid.threads, grid.latency_batch, grid.accuracy_batch) == ((0,), 1, 256)
    assert grid.measure == ("accuracy", "latency")
    assert (grid.latency.rounds, grid.latency.warmup_images, grid.latency.images) == (3, 100, 10000)
    assert grid.throughput_batches == (1, 8, 32)
    assert grid.serving == ServingProtocol(arrivals=(), seconds=60.0)
    assert grid.energy == EnergyProtocol(idle_s=1.0, active_s=1.0, settle_s=0.5)
    assert grid.baseline is None
    assert grid.borrowing is None
    assert [data.label for data in grid.datasets] == ["digits"]


def test_paths_are_looked_for_beside_the_grid_then_here(
    write_grid: Callable, read: Callable[[Path], Grid], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A grid in a folder of its own may name checkpoints from the working directory."""
    path = write_grid("models: [flat.safetensors]\ndatasets: [digits]\n")
    elsewhere = path.parent / "grids"
    elsewhere.mkdir()
    moved = path.rename(elsewhere / "g.yaml")
    with pytest.raises(BadInputError, match=r"no such checkpoint or bundle: 'flat\.safetensors'"):
        read(moved)
    monkeypatch.chdir(path.parent)
    assert read(moved).models[0].name == "flat"


def test_what_an_alias_repeats_is_opened_once(
    write_grid: Callable, read: Callable[[Path], Grid], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small file can name a data set ten thousand times; each is a problem, none a wait."""
    opened = []

    def noting(*arguments: Any, **_: Any) -> storage.ImageSet:
        opened.append(arguments[:2])
        return storage.open_images(*arguments[:3])

    monkeypatch.setattr(datasets, "open_or_download", noting)
    again = ", ".join(["*one"] * 200)
    path = write_grid(f"models: [flat.safetensors]\ndatasets: [&one {{name: digits}}, {again}]\n")
    with pytest.raises(BadInputError, match="the data set digits/test is given twice"):
        read(path)
    assert opened == [("digits", "test")]


BASE = {"models": "[flat.safetensors, dynn.safetensors]", "datasets": "[digits]"}

WRONG = [  # key, value, line, words that the message has
    ("models", "[]", 1, "an empty list"),
    ("models", "[digits-gfnot]", 1, "unknown model 'digits-gfnot'"),
    ("models", "[none/x.safetensors]", 1, "no such checkpoint or bundle: 'none/x.safetensors'"),
    ("models", "[flat.safetensors, flat.safetensors]", 1, "2 models are called 'flat'"),
    ("models", "[{name: a}]", 1, "the key checkpoint is missing"),
    ("models", "[{checkpoint: flat.safetensors, exit_blocks: [1]}]", 1, "no early exits"),
    ("models", "[{checkpoint: dynn.safetensors, exit_blocks: [4]}]", 1, "0..3"),
    ("models", "[{checkpoint: dynn.safetensors, exitblocks: [1]}]", 1, "mean 'exit_blocks'?"),
    ("models", "[[1]]", 1, "models[0]: a list"),
    ("datasets", "[]", 2, "an empty list"),
    ("datasets", "[digit]", 2, "digits"),
    ("datasets", "[{split: test}]", 2, "the key name is missing"),
    ("datasets", "[{name: digits, limit: 0}]", 2, "datasets[0].limit: '0'"),
    ("datasets", "[{name: digits, split: dev}]", 2, "no split 'dev'"),
    ("datasets", "[digits, digits]", 2, "is given twice"),
    ("datasets", "['parquet:none.parquet']", 2, "none.parquet"),
    ("datasets", "['imagefolder:none']", 2, "none"),
    ("thresholds", "[]", 3, "an empty list"),
    ("thresholds", "[1.5]", 3, "thresholds[0]: '1.5'"),
    ("thresholds", "[-0.1]", 3, "a number from 0 to 1"),
    ("thresholds", "[.nan]", 3, "thresholds[0]: '.nan'"),
    ("thresholds", "[high]", 3, "or default"),
    ("thresholds", "[[0.5, .nan]]", 3, "thresholds[0][1]: '.nan'"),
    ("thresholds", "[[0.1, 0.2, 0.3]]", 3, "3 thresholds for the model 'dynn'"),
    ("thresholds", "[[0.5]]", 3, "a list of one number"),
    ("thresholds", "[{start: 0, stop: 2, num: 3}]", 3, "thresholds[0].stop: '2'"),
    ("thresholds", "[{start: 0, num: 3}]", 3, "the key stop is missing"),
    ("thresholds", "[{start: 0, stop: 1, num: 0}]", 3, "thresholds[0].num: '0'"),
    ("devices", "[jetsn]", 3, "unknown device 'jetsn'; did you mean 'jetson'?"),
    ("devices", "[]", 3, "an empty list"),
    ("runtimes", "[onnxx]", 3, "unknown runtime 'onnxx'"),
    ("precisions", "[int4]", 3, "unknown precision 'int4'"),
    ("threads", "[-1]", 3, "threads[0]: '-1'"),
    ("threads", "2", 3, "a list of at least one value"),
    ("batch_sizes", "{latency: 0}", 3, "batch_sizes.latency: '0'"),
    ("batch_sizes", "[1, 8]", 3, "one size for each, as {latency: 1, accuracy: 256}"),
    ("batch_sizes", "{speed: 1}", 3, "unknown key"),
    ("measure", "[speed]", 3, "energy, exit_costs, profile, throughput, serving"),
    ("measure", "[]", 3, "an empty list"),
    ("latency", "{rounds: 0}", 3, "latency.rounds: '0'"),
    ("latency", "{rounds: 1.5}", 3, "a whole number"),
    ("measure", "[serving]", 3, "serving: {arrivals: [10, 20, 40], seconds: 60}"),
    ("batch_sizes", "{throughput: 8}", 3, "a list of at least one value"),
    ("batch_sizes", "{throughput: [0]}", 3, "batch_sizes.throughput[0]: '0'"),
    ("serving", "{seconds: 60}", 3, "the key arrivals is missing"),
    ("serving", "{arrivals: [0]}", 3, "a number from 0.001 to 100000"),
    ("serving", "{arrivals: []}", 3, "an empty list"),
    ("serving", "{arrivals: [10], seconds: 0}", 3, "a number from 0.1 to 3600"),
    ("serving", "{arrivals: [1, 2000]}", 3, "arrivals x seconds of at most 100,000"),
    ("latency", "{until: 0.01}", 3, "a percentage from 0.01% to 50%"),
    ("latency", "{until: 1 %}", 3, "latency.until: '1 %'"),
    ("latency", "{until: 0%}", 3, "latency.until: '0%'"),
    ("latency", "{until: 51%}", 3, "latency.until: '51%'"),
    ("latency", "{until: .5%}", 3, "latency.until: '.5%'"),
    ("latency", "{until: []}", 3, "latency.until: an empty list"),
    ("latency", "{until: 1%, rounds: 3}", 3, "'3' together with `until`, which decides"),
    ("latency", "{until: 1%, rounds: 3}", 3, "a range, as {min: 3, max: 40}"),
    ("latency", "{until: 1%, rounds: {min: 2}}", 3, "latency.rounds.min: '2'"),
    ("latency", "{until: 1%, rounds: {min: 9, max: 4}}", 3, "min 9 is more than max 4"),
    ("latency", "{until: 1%, rounds: {most: 4}}", 3, "unknown key"),
    ("latency", "{rounds: {min: 3, max: 40}}", 3, "a range of rounds without `until`"),
    ("latency", "{until: {}}", 3, "one of mean, ratio, as {ratio: 1%}"),
    ("latency", "{until: {mean: 1%, ratio: 1%}}", 3, "2 figures"),
    ("latency", "{until: {mean: 1}}", 3, "latency.until.mean: '1'"),
    ("latency", "{until: {median: 1%}}", 3, "unknown key"),
    ("energy", "{idle_s: -1}", 3, "energy.idle_s: '-1'"),
    ("energy", "{idle_s: soon}", 3, "a number from 0 to 3600"),
    ("energy", "{idle: 1}", 3, "did you mean 'idle_s'?"),
    ("latency", "[3]", 3, "a mapping with the keys rounds"),
    ("devices", "[gpu]", 3, "gpu, which grids call cuda: this machine has none"),
    ("devices", "[cuda]", 3, "cuda: this machine has none"),
    ("devices", "[tpu]", 3, "with --address, also every device of the cluster's nodes"),
    ("datasets", "[nowhere]", 2, "allowed: digits, cifar10, cifar100, a folder below"),
    ("baseline", "flet", 3, "did you mean 'flat'?"),
    ("exclude", "[{model: none}]", 3, "unknown model 'none'"),
    ("exclude", "[{}]", 3, "an empty mapping"),
    ("exclude", "[{threshold: 0.5}]", 3, "unknown key"),
    ("models", f"[{'a' * 300}.pth]", 1, "no such checkpoint"),
    ("models", '[{name: "\\ud800", checkpoint: flat.safetensors}]', 1, "models[0].name"),
    ("datasets", "['parquet:~nobody-of-that-name/x']", 2, "cannot be read"),
    ("datasets", f"['parquet:{'a' * 300}']", 2, "cannot be read"),
    ("batch_sizes", "{latency: 1001}", 3, "a whole number from 1 to 1000"),
    ("latency", "{rounds: 100000000000}", 3, "from 1 to 10000"),
    ("thresholds", "[{start: 0, stop: 1, num: 99999}, {start: 0, stop: 1, num: 9}]", 3, "too many"),
    ("name", "../escape", 3, "'../escape'"),
    ("treshold", "[0.5]", 3, "did you mean 'thresholds'?"),
]


@pytest.mark.parametrize(("key", "value", "line", "words"), WRONG)
def test_each_wrong_value_is_named_with_its_place(
    key: str, value: str, line: int, words: str, write_grid: Callable, read: Callable
) -> None:
    """File, line, key, what was found and what is allowed."""
    entries = BASE | {key: value}
    path = write_grid("".join(f"{name}: {text}\n" for name, text in entries.items()))
    with pytest.raises(BadInputError) as caught:
        read(path)
    message = str(caught.value)
    assert words in message
    assert f"{path}:{line}: {key}" in message
    assert "allowed: " in message


def test_all_problems_of_rounds_until_known_at_once(write_grid: Callable, read: Callable) -> None:
    """The width and both ends of the range, each with its line."""
    path = write_grid(
        "models: [flat.safetensors]\ndatasets: [digits]\n"
        "latency:\n  until: 1\n  rounds:\n    min: 0\n    max: many\n  images: 0\n"
    )
    with pytest.raises(BadInputError) as caught:
        read(path)
    assert [problem.line for problem in caught.value.problems] == [4, 6, 7, 8]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{until: 1%}", Until(1.0)),
        ("{until: 0.5%, rounds: {min: 4, max: 12}}", Until(0.5, "mean", 4, 12)),
        ("{until: 2%, rounds: {max: 12}}", Until(2.0, "mean", 3, 12)),
        ("{until: 2%, rounds: {min: 40}}", Until(2.0, "mean", 40, 40)),
        ("{until: {mean: 3%}}", Until(3.0)),
        ("{until: {ratio: 1%}}", Until(1.0, "ratio")),
    ],
)
def test_rounds_until_a_figure_is_known(
    text: str, expected: Until, write_grid: Callable, read: Callable
) -> None:
    """A width and a range of rounds, whose most are the rounds; without a range 3 to 40."""
    models = "[flat.safetensors, dynn.safetensors]"
    path = write_grid(f"models: {models}\ndatasets: [digits]\nlatency: {text}\n")
    latency = read(path).latency
    assert (latency.until, latency.rounds) == (expected, expected.most)


def test_ratios_need_a_second_model(write_grid: Callable, read: Callable) -> None:
    """That of the baseline to itself is known at once, however wide its mean is."""
    path = write_grid(
        "models: [flat.safetensors]\ndatasets: [digits]\nlatency: {until: {ratio: 1%}}\n"
    )
    with pytest.raises(BadInputError, match="flat, the baseline, is the only model"):
        read(path)


@pytest.mark.parametrize("more", ["", "baseline: dynn\n"])
def test_ratios_need_a_baseline_without_exits(
    more: str, write_grid: Callable, read: Callable
) -> None:
    """Exits have a time for each threshold: ratios to them would be many."""
    models = "[flat.safetensors, dynn.safetensors]" if more else "[dynn.safetensors]"
    path = write_grid(
        f"models: {models}\ndatasets: [digits]\nlatency: {{until: {{ratio: 1%}}}}\n{more}"
    )
    with pytest.raises(BadInputError, match="to a baseline without exits, and the grid has none"):
        read(path)


def test_all_problems_at_once(write_grid: Callable, read: Callable) -> None:
    """Five mistakes, five reports, in the order of the file."""
    path = write_grid(
        """\
        models: [nope, flat.safetensors]
        datasets: [digts]
        tresholds: [0.5]
        devices: [any, xyz]
        measure: [accuracy, speed]
        latency: {rounds: many}
        """
    )
    with pytest.raises(BadInputError) as caught:
        read(path)
    assert [problem.line for problem in caught.value.problems] == [1, 2, 3, 4, 5, 6]


def test_a_baseline_is_not_blamed_for_models_that_are_not_there(
    write_grid: Callable, read: Callable
) -> None:
    """One mistake, one report."""
    path = write_grid("models: [nope]\ndatasets: [digits]\nbaseline: nope\n")
    with pytest.raises(BadInputError) as caught:
        read(path)
    assert [problem.key for problem in caught.value.problems] == ["models[0]"]


def test_a_vector_may_leave_a_gate_shut(write_grid: Callable, read: Callable) -> None:
    """`.inf` is +inf, which no score reaches; a plain threshold cannot be it."""
    grid = read(
        write_grid("models: [dynn.safetensors]\ndatasets: [digits]\nthresholds: [[0.5, .inf]]\n")
    )
    assert [t.values for t in grid.thresholds] == [(0.5, math.inf)]
    with pytest.raises(BadInputError, match=r"'\.inf'"):
        read(write_grid("models: [dynn.safetensors]\ndatasets: [digits]\nthresholds: [.inf]\n"))


def test_a_range_needs_accuracy(write_grid: Callable, read: Callable) -> None:
    """Nothing else answers thresholds that are not written out."""
    grid = (
        "models: [dynn.safetensors]\ndatasets: [digits]\nmeasure: [latency]\n"
        "thresholds: [{start: 0, stop: 1, num: 5}]\n"
    )
    with pytest.raises(BadInputError, match="a range without accuracy"):
        read(write_grid(grid))


def png(value: int = 0) -> bytes:
    """One small grey image."""
    file = io.BytesIO()
    Image.fromarray(np.full((4, 4), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


def write_parquet(path: Path, labels: list[int], names: list[str] | None = None) -> None:
    """Images in the Hugging Face layout."""
    images = [{"bytes": png(i), "path": f"{i}.png"} for i in range(len(labels))]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(images, kind), "label": pa.array(labels, pa.int64())})
    if names:
        features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(table, path)


@pytest.mark.parametrize(
    ("labels", "names", "words"),
    [
        ([], None, "no images"),
        ([0, 12], None, "13 classes, the model 'flat' has 10\n"),
        (list(range(1, 11)), None, "has 10; its labels start at 1, and the first class is 0"),
        ([0, -1], None, "labels outside"),
        ([0, 2**40], None, "names no classes"),
        ([0, 2], ["a", "b"], "labels outside its 2 classes"),
    ],
)
def test_data_sets_that_do_not_fit(
    labels: list[int], names: list[str] | None, words: str, write_grid: Callable, read: Callable
) -> None:
    """No images, and labels outside the classes of data set or model."""
    path = write_grid("models: [flat.safetensors]\ndatasets: ['parquet:data.parquet']\n")
    write_parquet(path.parent / "data.parquet", labels, names)
    with pytest.raises(BadInputError, match=words):
        read(path)


@pytest.mark.parametrize(
    ("names", "is_fine"),
    [
        (["ant", "bee", "cat"], True),
        (["ant", "cat"], False),  # the folder of bees is missing: cats are labelled as bees
        (["ameise", "biene"], True),  # other names for them
        (None, True),
    ],
)
def test_classes_must_mean_what_the_model_calls_so(
    names: list[str] | None, write_grid: Callable, read: Callable, *, is_fine: bool
) -> None:
    """A class that both name, at different labels, would be scored wrongly in silence."""
    path = write_grid("models: [named.safetensors]\ndatasets: ['parquet:data.parquet']\n")
    model = gfnet.create("gfnet", img_size=8, patch_size=4, embed_dim=8, depth=2, num_classes=3)
    metadata = replace(model.metadata, class_names=("ant", "bee", "cat"))
    gfnet.save_checkpoint(model, path.parent / "named.safetensors", metadata)
    write_parquet(path.parent / "data.parquet", [0, 1], names)
    if is_fine:
        read(path)
        return
    with pytest.raises(BadInputError, match="class 'cat' is label 1 of data and label 2 of"):
        read(path)


def test_checkpoints_that_cannot_be_used(write_grid: Callable, read: Callable) -> None:
    """Truncated, a pickle that runs code, of another family: all named at once."""
    path = write_grid("models: [cut.safetensors, bomb.pth, other.pth]\ndatasets: [digits]\n")
    folder = path.parent
    (folder / "cut.safetensors").write_bytes((folder / "flat.safetensors").read_bytes()[:500])
    torch.save({"model": print}, folder / "bomb.pth")
    torch.save({"conv.weight": torch.zeros(2)}, folder / "other.pth")
    with pytest.raises(BadInputError) as caught:
        read(path)
    text = str(caught.value)
    assert len(caught.value.problems) == 3
    for words in ("truncated", "could run code", "not a Global Filter Network"):
        assert words in text


def test_a_header_with_an_enormous_claim(write_grid: Callable, read: Callable) -> None:
    """A header that claims exabytes is refused, not read."""
    path = write_grid("models: [huge.safetensors]\ndatasets: [digits]\n")
    (path.parent / "huge.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    with pytest.raises(BadInputError, match="truncated"):
        read(path)


def test_a_folder_without_the_split_that_is_asked_for(write_grid: Callable, read: Callable) -> None:
    """Its split folders are not taken for classes."""
    path = write_grid("models: [flat.safetensors]\ndatasets: ['imagefolder:data']\n")
    folder = path.parent / "data" / "train" / "a"
    folder.mkdir(parents=True)
    (folder / "1.png").write_bytes(png())
    with pytest.raises(BadInputError, match=r"has no split 'test'; it has train"):
        read(path)
