"""A model whose logits are not finite: no command shows an accuracy of it, and each says why."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import gfnet
import storage
from jobs.cli import main
from jobs.runs.submit import submit
from jobs.runs.target import Target
from jobs.worker import run_task

GRID = """\
models: [flat.safetensors, dynn.safetensors]
datasets: [{name: digits, limit: 12}]
thresholds: [0.5, {start: 0, stop: 1, num: 3}]
threads: [1]
measure: [accuracy, latency]
latency: {rounds: 1, warmup_images: 2, images: 12}
"""
SAID = "12 of 12 images have logits that are not finite"


@pytest.fixture
def root(
    write_grid: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Results with the run `r`, whose early-exit model breaks after its weights were checked."""
    load, threads = gfnet.load_checkpoint, torch.get_num_threads()

    def load_broken(*arguments: Any, **options: Any) -> gfnet.GFNet:
        model = load(*arguments, **options)
        if model.config.has_exits:
            torch.nn.init.constant_(model.get_parameter("norm.weight"), math.inf)
        return model

    monkeypatch.setattr(gfnet, "load_checkpoint", load_broken)
    run_task._models.clear()
    submit(write_grid(GRID), tmp_path / "results", Target(is_inline=True), lambda _: None, "r")
    yield tmp_path / "results"
    run_task._models.clear()
    torch.set_num_threads(threads)


def test_no_command_shows_an_accuracy_and_each_says_why(root: Path) -> None:
    """Cells, ladder, status, summary, curve, choose and report; the other model is as ever."""

    def told(*arguments: str) -> str:
        result = CliRunner().invoke(main, [*arguments, "--results", str(root)])
        assert result.exit_code in {0, 2}, result.output
        return " ".join(result.output.split())

    cells = storage.query(root, "FROM cells WHERE model = 'dynn'").to_pylist()
    assert {cell["kind"] for cell in cells} == {"exits", "latency"}
    assert {(cell["is_valid"], cell["note"]) for cell in cells} == {(False, SAID)}
    rows = storage.query(root, "FROM ladder ORDER BY model").to_pylist()
    assert [(row["model"], row["acc1"] is None, row["is_valid"]) for row in rows] == [
        ("dynn", True, False),
        ("flat", False, True),
    ]
    answers = "SELECT DISTINCT prediction, is_correct, is_top5, isnan(loss) FROM exits"
    found = storage.query(root, f"{answers} WHERE model = 'dynn'").to_pylist()
    assert [list(row.values()) for row in found] == [[None, None, None, True]]
    assert f"exits of dynn on digits and 1 more cell: {SAID}" in told("status", "r")
    assert f"{SAID} (dynn)" in told("summary", "r")
    assert "dynn: no accuracy: see its all-exit pass in `gfjobs status`" in told("curve", "r")
    assert "36 of 36 answers of dynn" in told("choose", "r", "--max-drop", "1")
    page = root / "report.md"
    assert "report.md" in told("report", "r", "--markdown", "-o", str(page))
    assert SAID in page.read_text(encoding="utf-8")
