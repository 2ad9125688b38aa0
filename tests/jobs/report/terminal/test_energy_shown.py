"""Wherever millijoules are shown: what measured them, and why there are none."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import storage
from jobs.analysis.comparison.compare import compare
from jobs.analysis.comparison.run_data import Side
from jobs.analysis.comparison.view import describe_comparison, encode_comparison
from jobs.cli import main
from tests.jobs.analysis.regressions.conftest import Nights

SOURCE = "energy: replay: made.csv"
LOW = "power while running was not above idle: 4.9 W against 5.0 W"


@pytest.fixture(scope="module")
def root(shown_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with energy, and one a day later that took less power than idling; to be judged."""
    return Path(shutil.copytree(shown_root, tmp_path_factory.mktemp("judged") / "results"))


def shown(root: Path, *command: str, exit_code: int = 0) -> str:
    """What a command says, its lines joined."""
    result = CliRunner().invoke(main, [*command, "--results", str(root)])
    assert result.exit_code == exit_code, result.output
    return " ".join(result.output.split())


@pytest.mark.parametrize(
    "command",
    [
        ["summary"],
        ["curve"],
        ["choose", "--max-energy-mj", "50", "--model", "dynn"],
        ["judge", "--no-again"],
    ],
)
def test_what_measured_energy_stands_beside_it(root: Path, command: list[str]) -> None:
    """Once, in the words of the view `energy_sources`."""
    text = shown(root, command[0], "made", *command[1:])
    assert text.count(SOURCE) == 1


def test_a_choice_that_limits_no_energy_says_nothing_of_it(root: Path) -> None:
    """There are no millijoules in it."""
    assert "energy" not in shown(root, "choose", "made", "--max-blocks", "4")


@pytest.mark.parametrize("command", [["summary"], ["curve"], ["judge", "--no-again"]])
def test_why_there_is_no_energy_is_said(root: Path, command: list[str]) -> None:
    """Neither 0 mJ nor 100 % saved; the source stays."""
    text = shown(root, command[0], "low", *command[1:])
    assert LOW in text
    assert SOURCE in text
    assert not re.search(r"(?<![\d.+])0\.0+ |100\.0 %", text)
    if command[0] == "judge":  # the night is invalid, not missing; its reason is with it
        rows = storage.query(
            root, "from regressions where run_id = 'low' and metric = 'energy'"
        ).to_pylist()
        assert {(row["verdict"], row["value"]) for row in rows} == {("invalid", None)}
        assert all(LOW in row["note"] for row in rows)


def test_a_limit_on_energy_that_is_not_known_is_refused(root: Path) -> None:
    """With the power of each exit."""
    text = shown(root, "choose", "low", "--max-energy-mj", "9", exit_code=2)
    assert f"is not known: exit after block 1: {LOW}; exit after block 3: {LOW}" in text


def test_a_comparison_names_sources_and_reasons(root: Path) -> None:
    """In its text and in its JSON, where an energy that is not known is null."""
    within = shown(root, "compare", "made", "made", "--models", "static", "dynn")
    assert f"{SOURCE} (energy of static)" in within
    comparison = compare(root, Side("made"), Side("low"))
    text = " ".join(describe_comparison(comparison).split())
    assert f"not compared: {LOW} (energy of static, energy of dynn at 0.5)" in text
    rows = json.loads(encode_comparison(comparison, "json"))
    energies = [row for row in rows if row["figure"] == "energy"]
    assert {row["reason"] for row in energies} == {LOW}
    assert {(row["second"], row["change"], row["energy_source"]) for row in energies} == {
        (None, None, SOURCE)
    }


def test_a_comparison_is_of_the_rounds_that_have_power(tmp_path: Path) -> None:
    """10 ms without power, then 1 ms at 6 W over 5 W, and at 7 W in the second run."""
    nights = Nights(tmp_path / "results")
    for run_id, watts in {"a": 6.0, "b": 7.0}.items():
        nights.add({"dynn": 1.0}, run_id=run_id, power_w={"dynn": watts}, unread=1)
    rows = compare(nights.root, Side("a"), Side("b")).rows
    (row,) = [row for row in rows if row.figure == "energy"]
    mean_ms = np.mean(1 + 0.2 * np.sin(np.arange(200)))
    assert (row.first, row.second) == (pytest.approx(mean_ms), pytest.approx(2 * mean_ms))
    assert row.change == pytest.approx(100)
    assert row.note == "energy from 1 of 2 rounds"
    assert row.p_reason is not None
    assert row.p_reason.startswith("one unthrottled round in the first")
