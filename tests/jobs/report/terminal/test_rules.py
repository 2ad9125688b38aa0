"""Exit rules in a terminal and as a figure, of a run that measured nothing but answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import gfnet
from jobs.cli import main

GRID = """\
models: [{models}]
datasets: [{{name: digits, limit: 30}}]
threads: [1]
thresholds: [{{start: 0, stop: 1, num: 3}}]
measure: [{measure}]
latency: {{rounds: 1, warmup_images: 2, images: 12}}
"""


@pytest.fixture(scope="module")
def curve(ran: Callable[[str], Path]) -> Callable[..., Result]:
    """`gfjobs curve --rules` of a run of some models and measures."""

    def call(models: str, measure: str, *options: str) -> Result:
        root = ran(GRID.format(models=models, measure=measure))
        return CliRunner().invoke(main, ["curve", "r", "--rules", "--results", str(root), *options])

    return call


def test_all_rules_and_one_line_that_judges(curve: Callable[..., Result]) -> None:
    """Readable at 80 columns; at full depth every rule has the same accuracy."""
    result = curve("dynn.safetensors, flat.safetensors", "accuracy")
    assert result.exit_code == 0, result.output
    assert max(map(len, result.output.splitlines())) <= 80
    (names,) = [line for line in result.output.splitlines() if line.startswith(" blocks ")]
    assert names.split() == ["blocks", *gfnet.EXIT_RULES]
    (full,) = [line for line in result.output.splitlines() if line.startswith("   5.00 ")]
    assert len(set(full.split()[1:])) == 1
    assert result.output.count("paired") == 1
    assert "points of acc@1 at equal mean blocks" in " ".join(result.output.split())


def test_a_figure_of_the_rules(curve: Callable[..., Result], tmp_path: Path) -> None:
    """One chart per pass."""
    path = tmp_path / "rules.svg"
    result = curve("dynn.safetensors, flat.safetensors", "accuracy", "-o", str(path))
    assert f"curve: {path}" in result.output
    drawn = path.read_text(encoding="utf-8")
    assert all(rule in drawn for rule in gfnet.EXIT_RULES)


def test_a_run_under_other_rules_alone_is_refused(ran: Callable[[str], Path]) -> None:
    """Nothing to judge is no empty answer."""
    grid = GRID.format(models="dynn.safetensors", measure="accuracy")
    root = ran(f"{grid}exit_rules: [margin]\n")
    result = CliRunner().invoke(main, ["curve", "r", "--rules", "--results", str(root)])
    assert (result.exit_code, "no rules to compare" in " ".join(result.output.split())) == (2, True)


def test_a_run_without_gates_has_no_rules(curve: Callable[..., Result]) -> None:
    """And what makes them is said."""
    result = curve("flat.safetensors", "accuracy")
    assert (result.exit_code, "no rules to compare" in result.output) == (2, True)
