"""The certificate: replay is what the router does, and where it is not, it says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from support.examples import examples

import gfnet
import storage
from jobs.analysis.certificate import certify
from jobs.cli import main
from jobs.common.errors import UsageError
from jobs.runs.submit import submit
from jobs.runs.target import Target
from tests.jobs.conftest import SMALL_GRID

INLINE = Target(is_inline=True)
EARLY = {"img_size": 8, "patch_size": 2, "embed_dim": 6, "num_classes": 10, "depth": 6}


@pytest.fixture(autouse=True)
def _same_threads() -> Iterator[None]:
    """Give the process its threads back: workers set them."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def _run(grid: Path, root: Path) -> str:
    return submit(grid, root, INLINE, lambda _: None).run_id


@pytest.mark.parametrize("seed", range(examples(1)))
def test_any_checkpoint_at_any_thresholds_is_replayed_exactly(seed: int, tmp_path: Path) -> None:
    """A random model, random thresholds and vectors, real images, batch 1: no flip, no difference.

    The thresholds are drawn among the model's own scores, so that some are met to the last bit.
    """
    torch.manual_seed(seed)
    model = gfnet.create("gfnet-distil-dynn", exit_blocks=(0, 2, 4), **EARLY)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.6)
    gfnet.save_checkpoint(model, tmp_path / "random.safetensors")
    grid, root = tmp_path / "grid.yaml", tmp_path / "results"
    text = (
        "models: [random.safetensors]\ndatasets: [{name: digits, limit: 40}]\nthreads: [1]\n"
        "batch_sizes: {latency: 1, accuracy: 1}\n"
        "latency: {rounds: 1, warmup_images: 2, images: 40}\n"
    )
    grid.write_text(text + "measure: [accuracy]\n")
    _run(grid, root)
    scores = storage.query(root, "select gate_score from exits where gate_score is not null")
    own = np.random.default_rng(seed).choice(scores.column(0).to_numpy(), size=(3, 4))
    vectors = own[:, :3].tolist()
    grid.write_text(f"{text}thresholds: {[*own[:, 3].tolist(), *vectors, 0.5, 0.0, 1.0]}\n")
    run_id = _run(grid, root)
    rows = storage.query(root, "from certificate('latest')").to_pylist()
    assert len(rows) == 9
    assert {row["routes"] for row in rows} == {40}
    assert {row["flips"] for row in rows} == {0}
    assert {row["unmatched"] for row in rows} == {0}
    assert max(row["max_score_difference"] or 0 for row in rows) == 0
    replayed = storage.query(root, f"from at_thresholds({vectors[0]})", run_ids=[run_id])
    routed = storage.query(root, "from ladder", run_ids=[run_id]).to_pylist()
    (same,) = [row for row in routed if row["thresholds"] == vectors[0]]
    keys = ("acc1", "acc5", "loss", "exit_counts", "mean_blocks")
    assert [replayed.to_pylist()[0][key] for key in keys] == [same[key] for key in keys]
    certificate = certify(root, run_id)
    assert certificate.is_clean
    assert "certified: all 360 routes" in certificate.text
    assert "all-exit pass: 1 against 1\n" in certificate.text


def test_flips_are_named_with_their_distance(
    small_grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A router whose scores are 0.5 higher than the pass's: whoever stayed leaves."""
    route = gfnet.GFNet.route

    def nudged(
        model: gfnet.GFNet, images: torch.Tensor, threshold: Sequence[float]
    ) -> gfnet.RoutedOutputs:
        return route(model, images, [limit - 0.5 for limit in threshold])

    monkeypatch.setattr(gfnet.GFNet, "route", nudged)
    run_id = _run(small_grid, tmp_path)
    (row,) = storage.query(tmp_path, "from certificate('latest') where model = 'dynn'").to_pylist()
    assert row["exit_flips"] > 0
    assert 0 < row["max_gate_distance"] <= 0.5
    certificate = certify(tmp_path, run_id)
    assert not certificate.is_clean
    assert f"NOT certified: {row['flips']} of 80 routes differ" in certificate.text
    assert "batch_sizes: {accuracy: 1}" in certificate.text
    assert f"{row['max_gate_distance']:.1e}" in certificate.text
    assert max(map(len, certificate.text.splitlines())) <= 80


def test_nothing_to_compare_is_said(write_grid: Callable, tmp_path: Path) -> None:
    """A run without routed cells, and what a grid needs to be certified."""
    grid = write_grid(
        "models: [dynn.safetensors]\ndatasets: [{name: digits, limit: 5}]\n"
        "threads: [1]\nmeasure: [accuracy]\n"
    )
    run_id = _run(grid, tmp_path)
    with pytest.raises(UsageError, match=r"thresholds written out"):
        certify(tmp_path, run_id)


def test_what_was_not_routed_is_named(cut_before: Callable[[str], Path]) -> None:
    """A run that was stopped before a model with gates was routed is not certified as a whole."""
    root = cut_before("dynn")
    certificate = certify(root, "cut")
    assert not certificate.is_clean
    assert "NOT certified as a whole: all 20 routes so far equal" in certificate.text
    assert "\nnot routed: dynn at 0.5\n" in certificate.text
    assert "\nrouted in part: flat\n" in certificate.text
    result = CliRunner().invoke(main, ["certify", "cut", "--results", str(root)])
    assert result.exit_code == 1
    assert result.stdout == certificate.text


def test_a_run_that_was_stopped_before_any_route(cut_before: Callable[[str], Path]) -> None:
    """It lacks routes that its grid has: the grid needs nothing else."""
    certificate = certify(cut_before("flat"), "cut")
    assert not certificate.is_clean
    assert certificate.text.startswith("NOT certified: no route has its all-exit pass yet\n")
    assert "\nnot routed: flat, dynn at 0.5\n" in certificate.text


def test_failed_cells_are_named_and_skipped_ones_are_not(copy_of: Callable[[str], Path]) -> None:
    """What was skipped cannot run: the run is done without it. A pass is named, too."""
    root = copy_of(SMALL_GRID)
    with storage.RunStore.open(root, "r") as store:
        whole = store.cells
        store.save_cells([replace(cell, status="failed") for cell in whole])
    text = certify(root, "r").text
    assert "NOT certified as a whole: all 80 routes so far equal" in text
    assert "\nall-exit pass not done: flat, dynn\nrouted in part: flat, dynn at 0.5\n" in text
    with storage.RunStore.open(root, "r") as store:
        store.save_cells([replace(cell, status="skipped") for cell in whole])
    assert certify(root, "r").is_clean
