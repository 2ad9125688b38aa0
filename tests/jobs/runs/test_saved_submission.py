"""A damaged submission.json is refused with a message, and repaired as far as it can be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import storage
from jobs.cli import main
from jobs.common.errors import UsageError
from jobs.plan.cell import Later
from jobs.runs.saved_submission import read_grid_folders, read_inputs, read_later

GRID = "{name: one, models: [digits-gfnet], datasets: [{name: digits, limit: 2}], threads: [1]}"

TORN = ["null", "[]", "nope", "7", '{"grid": 7}', "\xff", "[" * 100_000, ""]


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """A grid whose run was queued and never driven."""
    path = tmp_path / "one.yaml"
    path.write_text(GRID)
    row = storage.RunRow("one", name="one", status="failed", grid=GRID)
    with storage.RunStore.create(tmp_path / "results", row, (), {"grid": GRID}):
        return path


def gfjobs(grid: Path, *words: str) -> tuple[int, str]:
    """Exit code and all output of a command."""
    done = CliRunner().invoke(main, [*words, "--results", str(grid.parent / "results")])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output + done.stderr


def damage_submission(grid: Path, text: str) -> Path:
    """Replace the file."""
    file = grid.parent / "results" / "runs" / "one" / "submission.json"
    file.write_text(text, encoding="latin-1")
    return file


@pytest.mark.parametrize("text", TORN)
def test_a_damaged_submission_is_named_and_rebuilt(grid: Path, text: str) -> None:
    """A resume says so; after the repair it says what is lost, and how to go on."""
    file = damage_submission(grid, text)
    code, said = gfjobs(grid, "resume", "one", "--inline")
    assert code == 2
    assert "submission.json is damaged" in said
    assert "gfjobs fsck" in said
    assert "submission.json is damaged" in gfjobs(grid, "status", "one")[1]
    code, said = gfjobs(grid, "fsck")
    assert code == 1
    assert "submission.json: cannot be read" in said
    assert gfjobs(grid, "fsck", "--repair")[0] == 0
    assert json.loads(file.read_bytes()) == {"grid": GRID}
    assert file.with_name("submission.json.damaged").read_text(encoding="latin-1") == text
    assert gfjobs(grid, "fsck") == (0, "nothing is wrong\n")
    code, said = gfjobs(grid, "resume", "one", "--inline")
    assert code == 2
    assert "continue it with `gfjobs submit GRID --run one`" in said


def test_a_missing_submission_is_rebuilt(grid: Path) -> None:
    """The run is there: no message says that it is not."""
    damage_submission(grid, "").unlink()
    assert "submission.json is missing" in gfjobs(grid, "resume", "one", "--inline")[1]
    assert gfjobs(grid, "fsck", "--repair")[0] == 0
    assert gfjobs(grid, "fsck")[0] == 0


@pytest.mark.parametrize("text", ["nope", "[]", '{"model a": 7}', "7"])
def test_inputs_of_another_form_are_refused(text: str) -> None:
    """Without them a changed input would not be seen."""
    with pytest.raises(storage.DamagedError, match=r"`meanings` of the run.s submission\.json"):
        read_inputs({"meanings": text})


@pytest.mark.parametrize("text", ["nope", "{}x", "7", "[7]", '[["now", 7]]', '[["now", {"c": 1}]]'])
def test_additions_of_another_form_are_refused(text: str) -> None:
    """The order of timed tasks depends on them."""
    with pytest.raises(storage.DamagedError, match=r"`later` of the run.s submission\.json"):
        read_later({"later": text})


def test_what_is_whole_is_read() -> None:
    """And what was never recorded is nothing."""
    assert read_inputs({}) is None
    assert read_inputs({"meanings": '{"model a": {"checkpoint": "c"}}'}) == {
        "model a": {"checkpoint": "c"}
    }
    assert read_later({}) == ()
    assert read_later({"later": '[["now", {"c": [0, 2]}]]'}) == (Later("now", {"c": (0, 2)}),)
    assert read_grid_folders("r", {"grid_path": "/a/g.yaml", "base": "/a"}) == (
        Path("/a/g.yaml"),
        Path("/a"),
    )
    with pytest.raises(UsageError, match=r"where its grid is \(base\)"):
        read_grid_folders("r", {"grid_path": "/a/g.yaml"})
