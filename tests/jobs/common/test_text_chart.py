"""Axes with round ticks, and what is drawn between them."""

from __future__ import annotations

import random

import pytest

from jobs.common.text_chart import axis_of, character_chart


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([91.6, 99.4], ["90", "92", "94", "96", "98", "100"]),
        ([2.0, 8.0], ["2", "3", "4", "5", "6", "7", "8"]),
        ([0.1, 0.2, 0.3], ["0.10", "0.15", "0.20", "0.25", "0.30"]),
        ([99.93, 100.0], ["99.92", "99.94", "99.96", "99.98", "100.00"]),
        ([1.2, 4800.0], ["0", "1000", "2000", "3000", "4000", "5000"]),
        ([100.0], ["90", "92", "94", "96", "98", "100"]),
        ([0.0, 0.0], ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
    ],
)
def test_ticks_are_round(values: list[float], labels: list[str]) -> None:
    """Steps of 1, 2 or 5 times a power of ten, with the digits that tell them apart."""
    axis = axis_of(values, 6)
    assert axis.labels == labels
    assert axis.ticks == [float(label) for label in labels]


def test_an_axis_holds_all_values_and_no_percentage_over_100() -> None:
    """Whatever the values: between the first and the last tick, and few steps between."""
    chance = random.Random(0)  # noqa: S311 - no secret
    for _ in range(2000):
        scale = 10 ** chance.uniform(-4, 2)
        values = [100 - chance.random() * scale for _ in range(chance.randint(1, 4))]
        for most in (2, 6, 8):
            ticks = axis_of(values, most).ticks
            assert ticks[0] <= min(values) + 1e-6
            assert max(values) - 1e-6 <= ticks[-1] <= 100
            assert 2 <= len(ticks) <= most + 1
            assert ticks == sorted(set(ticks))


def test_points_at_both_ends_are_drawn_beside_their_ticks() -> None:
    """Also one of exactly 100 percent, in the row of that tick and above that column."""
    text = character_chart({"low": [(0.0, 90.0)], "high": [(4.0, 100.0)]}, "ms", "acc@1")
    lines = text.splitlines()
    assert lines[0] == "   (acc@1) ^"
    assert lines[1].startswith("       100 | ")
    assert lines[1].endswith("+")
    assert lines[16].startswith("        90 | o")
    line, below = lines[17:19]
    assert line.endswith("|-> (ms)")
    assert below.index("4") == len(lines[1]) - 1 == line.rindex("|")
    assert below.index("0") == lines[16].index("o") == line.index("|", 12)
    assert below.split() == ["0", "1", "2", "3", "4"]
    assert lines[-2:] == ["", "             o low   + high"]


def test_a_chart_fits_a_terminal() -> None:
    """With the longest labels that its values can have."""
    points = [(12345.678, 99.99001), (12346.0, 99.99202)]
    text = character_chart({"a": points}, "blocks", "acc@1")
    assert max(map(len, text.splitlines())) <= 80
    assert len({line.index("|") for line in text.splitlines()[1:18]}) == 1
    assert len(text.splitlines()[18].split()) >= 3


def test_several_lines_are_told_apart_without_colour() -> None:
    """Each has its marker here and there along it; a line alone needs none."""
    lines = {
        "gate": [(2.0, 90.0), (8.0, 99.0)],
        "flat": [(2.0, 91.0), (3.0, 91.0), (3.0, 92.0), (8.0, 92.0)],
        "point": [(5.0, 99.0)],
    }
    text = character_chart(lines, "blocks", "acc@1")
    assert text.splitlines()[-1].split() == ["⠤o⠤", "gate", "⠤+⠤", "flat", "x", "point"]
    canvas = "\n".join(text.splitlines()[1:17])
    assert [canvas.count(marker) for marker in "o+x"] == [5, 5, 1]
    alone = character_chart({"gate": lines["gate"]}, "blocks", "acc@1")
    assert alone.splitlines()[-1].split() == ["⠤⠤", "gate"]
    assert "o" not in "".join(alone.splitlines()[1:17])


def test_a_long_legend_takes_several_rows() -> None:
    """Each name is whole, and the rows fit a terminal."""
    names = [f"digits-dynn under rule {number}" for number in range(5)]
    text = character_chart({name: [(1.0, 2.0), (3.0, 4.0)] for name in names}, "ms", "acc@1")
    rows = text.splitlines()[20:]
    assert len(rows) == 3
    assert max(map(len, rows)) <= 80
    assert all(name in text for name in names)
