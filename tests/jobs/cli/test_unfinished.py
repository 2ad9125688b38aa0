"""Commands that read results say once, on stderr, that a run is not finished."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import storage
from jobs.cli import main
from tests.jobs.conftest import SMALL_GRID

READING = [
    ["summary", "RUN"],
    ["summary", "RUN", "--classes"],
    ["summary", "RUN", "--load", "--format", "json"],
    ["curve", "RUN"],
    ["curve", "RUN", "--rules"],
    ["choose", "RUN", "--max-drop", "90"],
    ["choose", "RUN", "--max-p99-ms", "100"],
    ["certify", "RUN"],
    ["compare", "RUN", "RUN", "--models", "flat", "dynn"],
    ["compare", "RUN", "RUN", "--models", "flat", "dynn", "--html", "PAGE"],
    ["judge", "RUN", "--no-again"],
]


def _read(command: list[str], run_id: str, root: Path) -> Result:
    names = {"RUN": run_id, "PAGE": str(root.parent / "page.html")}
    words = [names.get(word, word) for word in command]
    return CliRunner().invoke(main, [*words, "--results", str(root)])


def test_what_is_missing_comes_with_resume(cut_before: Callable[[str], Path]) -> None:
    """Whatever is asked of a stopped run, once each, and not on stdout."""
    root = cut_before("dynn")
    for command in READING:
        result = _read(command, "cut", root)
        line = "run cut is not finished (2 of 4 cells done): what is missing below comes with `"
        assert result.stderr.count(line) == 1, command
        assert result.stderr.count("resume cut") == 1, command
        assert "not finished" not in result.stdout


def test_a_run_that_is_still_running(cut_before: Callable[[str], Path]) -> None:
    """Nothing is to be resumed: a driver is at it."""
    root = cut_before("dynn")
    with storage.RunStore.open(root, "cut"):
        said = _read(["summary", "latest"], "cut", root).stderr
    assert said == (
        "run cut is still running (2 of 4 cells done): what is missing below is still to come\n"
    )


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_nothing_is_said_of_a_finished_run(command: list[str], ran: Callable[[str], Path]) -> None:
    """Its missing figures have other reasons."""
    assert "finished (" not in _read(command, "r", ran(SMALL_GRID)).output
