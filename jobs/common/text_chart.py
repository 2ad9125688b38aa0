"""Charts of characters: lines and points on two axes with round numbers as ticks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import plotille
from rich.cells import cell_len

from jobs.common.text import WIDTH

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 54, 16  # characters of the canvas, each of 2 x 4 dots
_MOST_STEPS_X, _MOST_STEPS_Y = 6, 8  # so that a tick has 9 columns or 2 rows
_MARGIN = 10  # characters left of the vertical axis
_MARKERS = "o+x*#@"
_MARKS = 5  # on each of several lines
_LEFT = _MARGIN + 3  # with the axis
_SLACK = 1e-9  # of a step: 0.3 is not more than 3 x 0.1
_ALIKE = 1e-5  # relative: values closer than this count as equal, since labels would not fit


@dataclass(frozen=True)
class Axis:
    """An axis; every tick is a multiple of a step of 1, 2 or 5 times a power of ten.

    Attributes:
        first: the lowest tick, in steps.
        steps: from the lowest tick to the highest.
        unit, exponent: the step is unit * 10 ** exponent.
    """

    first: int
    steps: int
    unit: int
    exponent: int

    @property
    def ticks(self) -> list[float]:
        """Values of the ticks, low to high."""
        return [float(label) for label in self.labels]

    @property
    def labels(self) -> list[str]:
        """The ticks as text, with as many decimals as the step."""
        digits = max(0, -self.exponent)
        multiples = (
            number * self.unit for number in range(self.first, self.first + self.steps + 1)
        )
        if digits:
            return [f"{multiple / 10**digits:.{digits}f}" for multiple in multiples]
        return [str(multiple * 10**self.exponent) for multiple in multiples]

    def limits(self, dots: int) -> tuple[float, float]:
        """Return a canvas's limits: the lowest tick is its first dot, the highest its last."""
        low, high = self.ticks[0], self.ticks[-1]
        return low, high + (high - low) / (dots - 1)

    def dot(self, tick: float, dots: int) -> int:
        """Return the position of a tick, in dots from the first."""
        low, high = self.ticks[0], self.ticks[-1]
        return round((tick - low) / (high - low) * (dots - 1))


def axis_of(values: Sequence[float], most_steps: int) -> Axis:
    """Return the axis with the smallest step that holds all values in at most `most_steps`.

    It ends at the first tick at or above all values. For percentages that is at most 100,
    which is a multiple of every such step up to 100.

    Args:
        values: at least one, finite.
        most_steps: at least 2, since values next to a tick need one on each side.
    """
    low, high = min(values), max(values)
    if high - low <= _ALIKE * abs(high):
        low, high = (high - abs(high) / 10, high) if high else (0.0, 1.0)
    exponent = math.floor(math.log10((high - low) / most_steps))
    while True:
        for unit in (1, 2, 5):
            step = unit * 10.0**exponent
            first, last = math.floor(low / step + _SLACK), math.ceil(high / step - _SLACK)
            if last - first <= most_steps:
                return Axis(first, last - first, unit, exponent)
        exponent += 1


def character_chart(named: Mapping[str, Points], x_name: str, y_name: str) -> str:
    """Draw lines and single points, then the legend; at most 80 columns.

    A point has a marker, and so has each of several lines, here and there along it.

    Args:
        named: the points of each line by its name, or a single point.
        x_name: a short name of the horizontal axis.
        y_name: a short name of the vertical axis.
    """
    x_axis = axis_of([x for points in named.values() for x, _ in points], _MOST_STEPS_X)
    y_axis = axis_of([y for points in named.values() for _, y in points], _MOST_STEPS_Y)
    figure = plotille.Figure()
    figure.width, figure.height = _WIDTH, _HEIGHT
    figure.with_colors = figure.origin = figure.with_x_axis = figure.with_y_axis = False
    figure.set_x_limits(*x_axis.limits(2 * _WIDTH))
    figure.set_y_limits(*y_axis.limits(4 * _HEIGHT))
    lines = [name for name, points in named.items() if len(points) > 1]
    legend = []
    for number, (name, points) in enumerate(named.items()):
        marker = _MARKERS[number % len(_MARKERS)]
        if len(points) > 1:
            figure.plot([x for x, _ in points], [y for _, y in points], label=name)
        if len(points) == 1:
            marked = points
            legend.append(f"{marker} {name}")
        elif len(lines) > 1:
            marked = _marks(points, (lines.index(name) + 1) / (len(lines) + 1))
            legend.append(f"⠤{marker}⠤ {name}")
        else:
            marked = ()
            legend.append(f"⠤⠤ {name}")
        if marked:
            xs, ys = [x for x, _ in marked], [y for _, y in marked]
            figure.scatter(xs, ys, label=name, marker=marker)
    drawn: str = figure.show()  # untyped there
    rows = zip(_row_labels(y_axis), drawn.split("\n"), strict=True)
    return "\n".join(
        [
            f"{f'({y_name})':>{_MARGIN}} ^",
            *(f"{label:>{_MARGIN}} | {row}" for label, row in rows),
            *_horizontal(x_axis, x_name),
            "",
            *_rows_of(legend),
        ]
    )


def _marks(points: Points, share: float) -> Points:
    """Return points along a line at even distances in x; `share` moves those of one line on."""
    ordered = sorted(points)
    low, high = ordered[0][0], ordered[-1][0]
    wanted = [low + (high - low) * (number + share) / _MARKS for number in range(_MARKS)]
    found = []
    for x in wanted:
        (left, y), (right, next_y) = next(pair for pair in pairwise(ordered) if pair[1][0] >= x)
        part = (x - left) / (right - left) if right > left else 0.0
        found.append((x, y + part * (next_y - y)))
    return found


def _rows_of(legend: Sequence[str]) -> list[str]:
    """Put as many entries of a legend into a row as fit below the canvas; each entry is whole."""
    rows: list[str] = []
    for entry in legend:
        longer = f"{rows[-1]}   {entry}" if rows else ""
        if rows and cell_len(longer) <= WIDTH:
            rows[-1] = longer
        else:
            rows.append(" " * _LEFT + entry)
    return rows


def _row_labels(axis: Axis) -> list[str]:
    """Return the label left of each row, the highest first."""
    labels = [""] * _HEIGHT
    for tick, label in zip(axis.ticks, axis.labels, strict=True):
        labels[_HEIGHT - 1 - axis.dot(tick, 4 * _HEIGHT) // 4] = label
    return labels


def _horizontal(axis: Axis, name: str) -> tuple[str, str]:
    """Return the line below the canvas, and the labels below its ticks."""
    line, below = list("-" * _WIDTH), [" "] * (_LEFT + _WIDTH + _MARGIN)
    for tick, label in zip(axis.ticks, axis.labels, strict=True):
        column = axis.dot(tick, 2 * _WIDTH) // 2
        line[column] = "|"
        start = _LEFT + column - len(label) // 2
        below[start : start + len(label)] = label
    left = "-" * (_MARGIN + 1)
    return f"{left}|-{''.join(line)}-> ({name})", "".join(below).rstrip()
