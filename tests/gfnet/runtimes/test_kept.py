"""Exported graphs on disk: found again by all that determines them, and never an error."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import gfnet
from gfnet.runtimes import exported
from gfnet.runtimes import kept as module
from gfnet.runtimes.gpu_graphs import for_gpu_graphs
from gfnet.runtimes.kept import graph_folder, kept
from gfnet.runtimes.stages import cut, with_matrix_filters

KEY = "0" * 64
SIZES = {"img_size": 8, "patch_size": 2, "embed_dim": 8, "depth": 3, "num_classes": 4}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own, not there yet."""
    monkeypatch.setenv("GFJOBS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "graphs"


class Maker:
    """Makes some bytes, and counts how often it had to."""

    def __init__(self, data: bytes = b"graph") -> None:
        self.data = data
        self.calls = 0

    def __call__(self) -> bytes:
        """Make them."""
        self.calls += 1
        return self.data


def dynn(seed: int = 0, **sizes: object) -> gfnet.GFNet:
    """The same weights for the same seed, as a process that loads a checkpoint again has them."""
    torch.manual_seed(seed)
    return gfnet.create("gfnet-distil-dynn", **(SIZES | {"exit_blocks": (1,)} | sizes))


def test_each_stage_is_exported_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept a file a stage; the same model, made again, finds them."""
    exports = Maker()
    monkeypatch.setattr(exported, "_export", lambda *_: exports())
    for _ in range(2):
        graphs = [exported.to_onnx(stage) for stage in cut(with_matrix_filters(dynn()))]
        assert graphs == [b"graph"] * 2
        assert exports.calls == len(list(folder.iterdir())) == 2


def test_graphs_are_told_apart_by_all_that_determines_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Weights, those of filters included, bounds, sizes, and what exports."""

    def keys(model: gfnet.GFNet) -> list[str]:
        return [exported._key(stage) for stage in cut(with_matrix_filters(model))]

    every = keys(dynn())
    assert keys(dynn()) == every
    every += keys(dynn(seed=1)) + keys(dynn(exit_blocks=(0,))) + keys(dynn(num_classes=5))
    filtering = dynn()
    with torch.no_grad():
        filtering.get_parameter("blocks.2.filter.complex_weight")[0, 0, 0, 0] += 1e-3
    every += keys(filtering)
    every += [exported._key(stage, opset=18) for stage in cut(with_matrix_filters(dynn()))]
    every += [exported._key(stage) for stage in cut(for_gpu_graphs(dynn(), "bfloat16"))]
    versions = (*exported._exporter()[:-1], "0.0.1")
    monkeypatch.setattr(exported, "_exporter", lambda: versions)
    every += keys(dynn())
    assert len(every) == len(set(every)) == 16


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[:-1] + b"?",
        lambda content: b"?" + content[1:],
        lambda _: b"",
    ],
    ids=["torn", "other bytes", "other sum", "empty"],
)
def test_what_is_damaged_is_made_anew(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    """And kept again."""
    make = Maker()
    assert kept(KEY, make) == b"graph"
    file = folder / KEY
    file.write_bytes(damage(file.read_bytes()))
    assert kept(KEY, make) == b"graph"
    assert make.calls == 2
    assert kept(KEY, make) == b"graph"
    assert make.calls == 2


def test_a_folder_that_cannot_be_used_costs_only_time(folder: Path) -> None:
    """A file is in its place, or a folder in the place of a graph."""
    make = Maker()
    folder.parent.write_bytes(b"in the way")
    assert [kept(KEY, make), kept(KEY, make)] == [b"graph"] * 2
    assert make.calls == 2
    folder.parent.unlink()
    (folder / KEY).mkdir(parents=True)
    assert kept(KEY, make) == b"graph"
    assert make.calls == 3
    assert [file.name for file in folder.iterdir()] == [KEY], "no half-written file is left"


def test_the_least_recently_used_goes_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed process left half-written included; what alone is too large is not kept."""
    monkeypatch.setattr(module, "MOST_BYTES", 300)
    for age, name in enumerate(("used", "newer", "older", ".torn.tmp")):
        kept(name, Maker(b"x" * 60))  # 92 with its sum
        os.utime(folder / name, (1000 - age, 1000 - age))
    assert kept("used", Maker()) == b"x" * 60
    kept("last", Maker(b"x" * 60))
    assert {file.name for file in folder.iterdir()} == {"last", "used", "newer"}
    kept("large", Maker(b"x" * 301))
    assert {file.name for file in folder.iterdir()} == {"last", "used", "newer"}


def test_where_graphs_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder of ours, else in the user's general cache; nowhere without a home."""
    monkeypatch.setenv("GFJOBS_CACHE", "/c")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert graph_folder() == Path("/c/graphs")
    monkeypatch.delenv("GFJOBS_CACHE")
    assert graph_folder() == Path("/x/gfjobs/graphs")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert graph_folder() == tmp_path / ".cache/gfjobs/graphs"

    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", homeless)
    assert graph_folder() is None
    assert kept(KEY, Maker()) == b"graph"
