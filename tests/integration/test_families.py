"""Each family with exits, from a published file to the report: all that follows works with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import gfnet
import storage
from jobs.cli import main

pytestmark = pytest.mark.xdist_group("families")  # they share a process, and so their runs

GRID = """\
name: family
models: [model.safetensors]
datasets: [{name: digits, limit: 40}]
thresholds: [0.5, {start: 0.0, stop: 1.0, num: 11}]
threads: [1]
measure: [accuracy, latency, energy, exit_costs, profile]
energy: {idle_s: 0.05, active_s: 0.05, settle_s: 0.02}
latency: {rounds: 2, warmup_images: 2, images: 20}
"""
ENGINES = """\
models: [model.safetensors]
datasets: [{name: digits, limit: 20}]
thresholds: [0.5]
threads: [1]
runtimes: [torch, onnx, openvino]
latency: {rounds: 1, warmup_images: 2}
"""
FAMILIES: dict[str, dict[str, Any]] = {
    # One pixel of the nine is in no patch.
    "gfnet-dynn": {"img_size": 9, "patch_size": 4, "embed_dim": 6, "depth": 5},
    # Exits within the second stage and after the third.
    "gfnet-h": {"img_size": 32, "embed_dims": (4, 6, 5, 8), "depths": (1, 2, 1, 1)},
}


def gfjobs(*arguments: str | Path) -> str:
    """Run a command in this process that must succeed, and return what it said."""
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an imported file of the family, and with the run `r` of its grid."""
    folder: Path = tmp_path_factory.mktemp("family")
    torch.manual_seed(1)
    model = gfnet.create(
        request.param, exit_blocks=(1, 3), num_classes=10, **FAMILIES[request.param]
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.6)
    torch.save({"model": model.state_dict(), "epoch": 3}, folder / "published.pth")
    gfjobs(
        *("import", folder / "published.pth", "-o", folder / "model.safetensors"),
        *("--exit-blocks", "1,3", "--img-size", str(model.config.img_size)),
    )
    assert gfnet.inspect_checkpoint(folder / "model.safetensors").metadata.config == model.config
    (folder / "grid.yaml").write_text(GRID)
    (folder / "engines.yaml").write_text(ENGINES)
    (folder / "power.csv").write_text("phase,model,watts\nidle,,8.0\nactive,model,12.5\n")
    return folder


@pytest.fixture(scope="module")
def results(folder: Path) -> Iterator[Path]:
    """The results root with the runs `r` and `engines`."""
    threads = torch.get_num_threads()
    root = folder / "results"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GFJOBS_POWER", f"replay:{folder / 'power.csv'}")
        for grid, run in (("grid", "r"), ("engines", "engines")):
            path = folder / f"{grid}.yaml"
            gfjobs("submit", path, "--inline", "--run", run, "--results", root)
    yield root
    torch.set_num_threads(threads)


def _rows(root: Path, sql: str, run: str = "r") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = storage.query(root, sql, run_ids=[run]).to_pylist()
    return rows


def test_thresholds_are_folded_into_one_pass(results: Path, folder: Path) -> None:
    """Eleven points of accuracy are one cell: its scores answer each threshold."""
    assert "11 points → 4 cells: 1 all-exit pass" in gfjobs("plan", folder / "grid.yaml")
    at = "SELECT mean_blocks FROM at_threshold({:.1f})"
    blocks = [_rows(results, at.format(step / 10))[0]["mean_blocks"] for step in range(11)]
    assert blocks == sorted(blocks)
    assert len(set(blocks)) > 2, "images leave at different thresholds"


@pytest.mark.parametrize("run", ["r", "engines"])
def test_no_image_leaves_elsewhere_when_routed(results: Path, run: str) -> None:
    """The certificate finds no flip: eager, ONNX Runtime, OpenVINO."""
    assert "certified: all" in gfjobs("certify", run, "--results", results)


def test_the_frontier_and_a_choice(results: Path, folder: Path) -> None:
    """Chosen thresholds are written into a copy that routes by them."""
    assert "frontier" in gfjobs("curve", "r", "--results", results)
    chosen = folder / "chosen.safetensors"
    gfjobs("choose", "r", "--max-drop", "50", "--write", chosen, "--results", results)
    assert len(gfnet.load_checkpoint(chosen).metadata.thresholds) == 2


def test_costs_of_exits_and_parts(results: Path) -> None:
    """Forced exits have times and energies at each exit; the profile knows each part of a pass."""
    costs = _rows(results, "SELECT DISTINCT exit_block FROM exit_means ORDER BY ALL")
    assert [row["exit_block"] for row in costs] == [1, 3, 4]
    energies = _rows(results, "SELECT * FROM exit_energies")
    assert {row["exit_block"] for row in energies} == {1, 3, 4}
    parts = {row["component"] for row in _rows(results, "SELECT DISTINCT component FROM profile")}
    assert parts >= {"patch_embed", "mlp", "exit_norm", "exit_heads", "exit_gate", "head"}


def test_the_report(results: Path, folder: Path) -> None:
    """The page and the summary name the model."""
    gfjobs("report", "r", "-o", folder / "report.html", "--results", results)
    assert "model" in (folder / "report.html").read_text()
    assert "model" in gfjobs("summary", "r", "--results", results)
