"""Results, nights and trainings that an earlier gfjobs wrote are read as it read them."""

from __future__ import annotations

import json
import math
import tarfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import storage
from jobs.cli import main

MADE = Path(__file__).parents[1] / "data" / "before_packages" / "made.tar.gz"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what it wrote, as working directory."""
    with tarfile.open(MADE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GFJOBS_RESULTS", "results")
    monkeypatch.setenv("GFJOBS_LEDGER", "nights.sqlite")
    return tmp_path


def _gfjobs(*words: str) -> str:
    """The output of a command that ends well."""
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    return result.output


def test_queries_have_the_same_rows(folder: Path) -> None:
    """Of a compacted run, a finished one, one that was killed, and two nights."""
    answers = json.loads((folder / "answers.json").read_text())
    assert len(answers) == 6
    for name, each in answers.items():
        rows = storage.query("results", each["sql"]).to_pylist()
        assert _equals(json.loads(json.dumps(rows, default=str)), each["rows"]), name


def _equals(found: Any, expected: Any) -> bool:
    """Whether JSON is equal, floats in nine digits: DuckDB's threads add up in any order."""
    if isinstance(expected, float):
        return isinstance(found, float) and math.isclose(found, expected, rel_tol=1e-9)
    if isinstance(expected, list) and isinstance(found, list):
        return len(found) == len(expected) and all(map(_equals, found, expected))
    if isinstance(expected, dict) and isinstance(found, dict):
        added = list(found)[len(expected) :]  # columns that later versions added
        return [*expected, *added] == list(found) and all(
            _equals(found[key], expected.get(key)) for key in found
        )
    return bool(found == expected)


@pytest.mark.usefixtures("folder")
def test_all_files_are_whole() -> None:
    """By their digests, as they were sealed."""
    assert "nothing is wrong" in _gfjobs("fsck")


@pytest.mark.usefixtures("folder")
def test_a_killed_run_is_resumed() -> None:
    """With what is committed of it, under the names that it was planned with."""
    before = {entry.key for entry in _entries()}
    assert 0 < len(before) < 22
    _gfjobs("resume", "cut", "--inline")
    assert {cell.status for cell in storage.read_cells("results", "cut")} == {"done"}
    rows = storage.query("results", "FROM rounds WHERE run_id = 'cut'", run_ids=["cut"])
    assert len(rows) == 20


def _entries() -> list[storage.CommitEntry]:
    with storage.RunStore.open("results", "cut") as store:
        return list(store.entries())


@pytest.mark.usefixtures("folder")
def test_a_finished_run_gets_another_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its inputs, as they were written down, are found unchanged."""
    monkeypatch.setenv("GFJOBS_POWER", "replay:power.csv")
    grid = Path("all.yaml")
    grid.write_text(grid.read_text().replace("rounds: 2", "rounds: 3"))
    _gfjobs("submit", str(grid), "--run", "done", "--inline")
    sql = "SELECT count(DISTINCT round) AS n FROM power WHERE run_id = 'done'"
    assert storage.query("results", sql).to_pylist() == [{"n": 3}]


@pytest.mark.usefixtures("folder")
def test_nights_are_listed() -> None:
    """The schedule and what became of its last night."""
    assert "learning" in _gfjobs("schedule", "list")


def test_a_killed_training_is_resumed(folder: Path) -> None:
    """From the state after its first epoch."""
    _gfjobs("train", "recipe.yaml", "--resume")
    assert (folder / "trained.safetensors").is_file()
    rows = storage.query("results", "SELECT epoch FROM training ORDER BY epoch").to_pylist()
    assert [row["epoch"] for row in rows] == [1, 2, 3]
