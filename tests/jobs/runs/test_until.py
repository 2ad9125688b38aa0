"""Runs whose rounds end when figures are known: submitted, resumed, amended, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support.until import Timed
from support.until import make_text as text

import storage
from jobs.common.errors import RunInterruptedError, UsageError
from jobs.runs.submit import resume, submit
from jobs.runs.target import Target

CELLS = "select model, rounds, until_pct, max_rounds, reached_pct, note from cells"


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Give the process its threads back: workers set them."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def cells(root: Path) -> dict[str, dict[str, Any]]:
    """The timed cells by model."""
    return {row["model"]: row for row in storage.query(root, CELLS).to_pylist()}


def said_of(grid: Path, root: Path, target: Target | None = None) -> list[str]:
    """What submitting it as the run `r` says."""
    said: list[str] = []
    assert submit(grid, root, target or Timed(), said.append, "r").is_done
    return said


def test_a_run_ends_when_its_figures_are_known(write_grid: Callable, tmp_path: Path) -> None:
    """Its rows say so, and neither a resume nor the same grid adds anything."""
    root = tmp_path / "results"
    said_of(write_grid(text()), root)
    found = cells(root)
    rounds = found["flat"]["rounds"]
    assert found["dynn"]["rounds"] == rounds
    assert 3 <= rounds < 24
    assert found["flat"]["reached_pct"] < found["dynn"]["reached_pct"] <= 1
    counted = storage.query(root, "select count(*) n from commits").to_pylist()
    assert counted == [{"n": 2 * rounds}]
    assert said_of(write_grid(text()), root) == ["run r is done: nothing is missing"]
    assert cells(root) == found


def test_a_run_that_was_interrupted_ends_at_the_same_rounds(
    write_grid: Callable, tmp_path: Path
) -> None:
    """After each of its tasks, and goes on in the same order."""
    grid, positions = write_grid(text("0.3%")), "select cell_id, round, position from rounds"
    whole = tmp_path / "whole"
    said_of(grid, whole)
    expected, rounds = cells(whole), cells(whole)["flat"]["rounds"]
    assert 4 < rounds < 24
    for killed_after in (1, 2 * rounds - 3, 2 * rounds - 1):
        root = tmp_path / f"killed-{killed_after}"
        with pytest.raises(RunInterruptedError):
            submit(grid, root, Timed(killed_after=killed_after), lambda _: None, "r")
        said: list[str] = []
        assert resume(root, "r", Timed(), said.append).is_done
        assert cells(root) == expected
        order = f"{positions} order by all"
        assert storage.query(root, order).equals(storage.query(whole, order))


def test_a_narrower_width_adds_rounds_to_all(write_grid: Callable, tmp_path: Path) -> None:
    """After those that ran, in turns; and all is known as well as if it had been asked at first."""
    at_once, root = tmp_path / "at-once", tmp_path / "results"
    said_of(write_grid(text("0.1%")), at_once)
    said_of(write_grid(text("0.3%")), root)
    before = cells(root)
    said = said_of(write_grid(text("0.1%")), root)
    assert said[0] == "run r: 2 cells get more rounds"
    assert cells(root) == cells(at_once)
    assert cells(root)["flat"]["rounds"] > before["flat"]["rounds"]
    turns = "select cell_id, round from rounds order by position"
    assert storage.query(root, turns).equals(storage.query(at_once, turns))


def test_a_larger_width_takes_nothing_away(write_grid: Callable, tmp_path: Path) -> None:
    """The rounds stay, and the rows say what is asked now."""
    root = tmp_path / "results"
    said_of(write_grid(text("0.01%", most=8)), root)
    before = cells(root)
    assert "until 0.01 %: not reached after 8 rounds: ±" in before["dynn"]["note"]
    said_of(write_grid(text("20%", most=8)), root)
    for model, cell in cells(root).items():
        assert (cell["rounds"], cell["until_pct"], cell["note"]) == (8, 20, None)
        assert cell["reached_pct"] == pytest.approx(before[model]["reached_pct"])


def test_more_rounds_at_most_go_on_where_they_ended(write_grid: Callable, tmp_path: Path) -> None:
    """What was not reached is asked for again; fewer than have run are refused."""
    root = tmp_path / "results"
    said_of(write_grid(text("0.15%", most=6)), root)
    assert cells(root)["dynn"]["rounds"] == 6
    said_of(write_grid(text("0.15%", most=40)), root)
    rounds = cells(root)["dynn"]["rounds"]
    assert 6 < rounds < 40
    with pytest.raises(UsageError, match=f"has {rounds} rounds, and the grid asks for at most 4"):
        said_of(write_grid(text("0.15%", most=4)), root)
    assert said_of(write_grid(text("0.15%", most=40)), root)[-1].endswith("nothing is missing")


def test_what_was_looked_at_stays_looked_at(write_grid: Callable, tmp_path: Path) -> None:
    """Without `until` intervals would be too narrow: refused. A plain run may get it."""
    root = tmp_path / "results"
    said_of(write_grid(text()), root)
    plain = text().replace("until: 1%, rounds: {min: 3, max: 24}", "rounds: 24")
    with pytest.raises(UsageError, match="put `until` back"):
        said_of(write_grid(plain), root)
    other = tmp_path / "other"
    said_of(write_grid(plain.replace("rounds: 24", "rounds: 2")), other)
    said_of(write_grid(text()), other)
    assert cells(other) == cells(root)


def test_a_new_cell_has_rounds_of_its_own(write_grid: Callable, tmp_path: Path) -> None:
    """Those that ended are not touched."""
    root = tmp_path / "results"
    said_of(write_grid(text("0.3%", models="dynn.safetensors")), root)
    before = cells(root)["dynn"]
    said_of(write_grid(text("0.3%")), root)
    after = cells(root)
    assert after["dynn"] == before
    assert after["flat"]["rounds"] < before["rounds"]
    assert "timed after the rest" in after["flat"]["note"]
