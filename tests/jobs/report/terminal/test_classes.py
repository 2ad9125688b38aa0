"""`gfjobs summary --classes`: the classes of each cell of the ladder, the worst first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from click.testing import CliRunner, Result

import storage
from jobs.cli import main
from jobs.report.terminal.classes import classes


def _summary(root: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["summary", "made", *options, "--results", str(root)])


def test_the_figures_are_those_of_sql(shown_root: Path) -> None:
    """Every class of every cell, the lowest accuracy first, in 80 columns."""
    text = classes(shown_root, "made")
    rows = storage.query(
        shown_root,
        "SELECT k.* FROM class_accuracy('made') k JOIN cells c USING (run_id, cell_id)"
        " ORDER BY c.position, k.acc1, k.label",
    ).to_pylist()
    shown = [line.split() for line in text.splitlines() if line[-1:].isdigit() or " –" in line]
    assert len(shown) == len(rows)
    for words, row in zip(shown, rows, strict=True):
        assert words[:4] == [
            row["class_name"],
            str(row["images"]),
            f"{row['acc1']:.2f}",
            f"{row['mean_blocks']:.2f}",
        ]
        mistaken = [row["mistaken_for_name"], str(row["mistaken_images"])]
        assert words[4:] == (["–", "–"] if row["mistaken_for"] is None else mistaken)
    assert max(map(len, text.splitlines())) <= 80


def test_the_command_shows_classes_instead_of_the_ladder(shown_root: Path) -> None:
    """One of both, and no third thing."""
    result = _summary(shown_root, "--classes")
    assert result.exit_code == 0, result.output
    assert result.stdout == classes(shown_root, "made")
    both = _summary(shown_root, "--classes", "--profile")
    assert (both.exit_code, "give one" in both.stderr) == (2, True)


def test_a_run_without_answers_says_so(
    ran: Callable[[str], Path],
) -> None:
    """Its grid measures exit costs alone."""
    root = ran(
        "models: [dynn.safetensors]\ndatasets: [{name: digits, limit: 5}]\nthreads: [1]\n"
        "measure: [exit_costs]\nlatency: {rounds: 1, warmup_images: 1, images: 5}\n"
    )
    assert classes(root, "r") == "no class has an answer yet\n"
