"""A run whose row or cells are damaged is made again from its grid and its rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

import storage
from jobs.cli import main
from jobs.runs.rebuild import rebuild_plan

GRID = """
models: [digits-gfnet, digits-dynn]
datasets: [{name: digits, limit: 12}]
thresholds: [0.5]
threads: [1]
devices: [cpu]
baseline: digits-gfnet
latency: {rounds: 2, warmup_images: 1, images: 4}
"""

LOST = {"started_at", "finished_at", "attempts"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results root of a run that is done."""
    folder = tmp_path_factory.mktemp("replanning")
    (folder / "night.yaml").write_text(GRID)
    words = ["submit", str(folder / "night.yaml"), "--run", "one", "--inline"]
    done = CliRunner().invoke(main, [*words, "--results", str(folder / "results")])
    assert done.exit_code == 0, done.output
    return folder / "results"


@pytest.fixture
def root(finished: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(finished, tmp_path / "results"))


def cells(root: Path) -> list[dict[str, object]]:
    """All that is not lost with the cells."""
    rows = storage.query(root, "FROM cells ORDER BY position").to_pylist()
    return [{name: value for name, value in row.items() if name not in LOST} for row in rows]


def ladder(root: Path) -> list[dict[str, object]]:
    """What readers make of it."""
    return storage.query(root, "FROM ladder").to_pylist()


def test_cells_are_planned_again(root: Path) -> None:
    """The very same cells, as far as rows tell; nothing is left to run."""
    expected = cells(root), ladder(root)
    assert len(expected[0]) == 4
    folder = root / "runs" / "one"
    (folder / "cells.parquet").write_bytes(b"PAR1")
    done = CliRunner().invoke(main, ["fsck", "--repair", "--results", str(root)])
    assert done.exit_code == 0, done.output
    assert "planned again from its grid" in done.stdout
    assert (cells(root), ladder(root)) == expected
    assert (folder / "cells.parquet.damaged").read_bytes() == b"PAR1"
    assert storage.fsck(root) == []
    again = CliRunner().invoke(main, ["resume", "one", "--inline", "--results", str(root)])
    assert "nothing is missing" in again.stderr


def test_a_runs_row_is_made_again(root: Path) -> None:
    """Its times are those of its commits; which gfjobs made it is not made up."""
    was = storage.find_run(root, "one")
    (root / "runs" / "one" / "run.parquet").write_bytes(b"PAR1")
    assert storage.list_runs(root)[0].status == "damaged"
    problems = storage.fsck(root, None, None, rebuild_plan, is_repair=True)
    assert all(problem.is_repaired for problem in problems)
    run = storage.find_run(root, "one")
    assert (run.name, run.grid, run.baseline) == (was.name, was.grid, was.baseline)
    assert run.status == "done"
    assert run.submitted_at
    assert was.submitted_at
    assert was.finished_at
    assert was.submitted_at <= run.submitted_at <= was.finished_at
    assert run.gfjobs_version is None
    assert storage.fsck(root) == []


def test_a_cell_without_all_its_rows_waits(root: Path) -> None:
    """What is missing is run by a resume, and nothing else."""
    folder = root / "runs" / "one"
    was = cells(root)
    lost = next(iter((folder / "data").glob("records-*")))
    lost.unlink()
    (folder / "cells.parquet").unlink()
    storage.fsck(root, None, None, rebuild_plan, is_repair=True)
    assert {row["kind"] for row in cells(root) if row["status"] == "queued"} == {"latency"}
    again = CliRunner().invoke(main, ["resume", "one", "--inline", "--results", str(root)])
    assert again.exit_code == 0, again.output
    assert cells(root) == was
    assert storage.fsck(root) == []


def test_a_grid_that_means_something_else_is_no_source(root: Path) -> None:
    """Rows of one checkpoint must not become cells of another; the file stays as it is."""
    folder = root / "runs" / "one"
    (folder / "cells.parquet").write_bytes(b"PAR1")
    submission = json.loads((folder / "submission.json").read_text())
    for changes, said in (
        ({"meanings": submission["meanings"].replace('"limit": 12', '"limit": 13')}, "now 12"),
        ({"grid": submission["grid"].replace("digits-dynn", "nobody")}, "cannot be planned"),
        ({"grid": submission["grid"].replace(", digits-dynn", "")}, "no longer has: "),
        ({"meanings": ""}, "does not record its grid and resolved inputs"),
    ):
        (folder / "submission.json").write_text(json.dumps(submission | changes))
        (problem,) = storage.fsck(root, None, None, rebuild_plan, is_repair=True)
        assert not problem.is_repaired
        assert said in problem.what
        assert (folder / "cells.parquet").read_bytes() == b"PAR1"
