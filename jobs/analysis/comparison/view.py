"""A comparison as tables: effects with their intervals first, p-values last."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import storage
from jobs.analysis.comparison.accuracy import Compared
from jobs.analysis.comparison.compare import Comparison
from jobs.common.formatting import (
    format_counted,
    format_fixed,
    format_model,
    format_setting,
    format_threshold,
)
from jobs.common.tables import text_table
from jobs.common.text import WIDTH, format_remarks

_TEN_MS = 10
_SMALLEST_P = 1e-4
_SMALL_P = 0.01
_LARGE = 1000
_BY_RATIO = ("latency", "energy")
"""Figures whose change is a ratio: in percent, and geometric, since it is a mean of logarithms."""

FIGURE_NAMES = {"accuracy": "acc@1", "latency": "ms", "energy": "mJ", "exits": "blocks"}
"""What a table calls each figure."""


def describe_comparison(comparison: Comparison) -> str:
    """Format the tables, then what is not compared and why."""
    first, second = comparison.first.run_id, comparison.second.run_id
    parts = [f"first:  {first}\nsecond: {second}\n" if first != second else f"within {first}\n"]
    shown = [row for row in comparison.rows if row.reason is None]
    settings: dict[tuple[object, ...], list[Compared]] = {}
    for row in shown:  # a setting's rows need not stand together
        settings.setdefault(_setting(row), []).append(row)
    parts += [
        text_table(_COLUMNS, [*map(_cells, rows)], format_pair_setting(rows[0]), WIDTH)
        for rows in settings.values()
    ]
    if comparison.changed:
        parts.append(_images(comparison.changed))
    elif comparison.changed is not None:
        parts.append(_explain_no_images(comparison))
    parts.append(format_remarks(_remarks(comparison)))
    return "\n".join(part for part in parts if part)


_COLUMNS = ("model", "t", "", "first", "second", "change", "95 %", "p")


def _cells(row: Compared) -> tuple[object, ...]:
    interval = format_change_interval(row)
    if row.figure == "exits":
        interval = f"{row.moved} of {row.images} moved"
    elif row.figure == "accuracy":
        interval += f"\n-{row.lost} +{row.won} images"
    model = row.model if row.model == row.second_model else f"{row.model}\n> {row.second_model}"
    first, second = format_both_thresholds(row)
    threshold = first if first == second else f"{first}\n> {second}"
    return (
        model,
        threshold,
        FIGURE_NAMES[row.figure],
        *format_both(row),
        format_change(row),
        interval,
        format_p(row.p_holm),
    )


def format_both_thresholds(row: Compared) -> tuple[str, str]:
    """Format the thresholds of both cells; those of static models as dashes."""
    second = {"threshold": row.second_threshold, "thresholds": row.second_thresholds}
    return format_threshold(dataclasses.asdict(row)), format_threshold(second)


def format_both(row: Compared) -> tuple[str, str]:
    """Format the values of both cells."""

    def text(value: float | None) -> str:
        small = row.figure in _BY_RATIO and value is not None and value < _TEN_MS
        return format_fixed(value, 3 if small else 2)

    return text(row.first), text(row.second)


def format_change(row: Compared) -> str:
    """Format the change with its sign; in percent if it is a ratio."""
    if row.change is None:
        return "–"
    unit = " %" if row.figure in _BY_RATIO else ""
    return f"{_signed(row.change, _digits(row))}{unit}"


def format_change_interval(row: Compared) -> str:
    """Format the 95 % interval of the change, in the change's unit."""
    if row.low is None or row.high is None:
        return "–"
    return f"{_signed(row.low, _digits(row))} to {_signed(row.high, _digits(row))}"


def _digits(row: Compared) -> int:
    return 1 if row.figure in _BY_RATIO else 2


def _signed(change: float, digits: int) -> str:
    """Format with a sign; beyond a thousand, from too few rounds for an interval, as a bound."""
    if abs(change) < _LARGE:
        return f"{change:+.{digits}f}"
    return f">+{_LARGE:,}" if change > 0 else f"<-{_LARGE:,}"


def format_p(p: float | None) -> str:
    """Format a p-value: a tiny one as a bound."""
    if p is None:
        return "–"
    if p < _SMALLEST_P:
        return f"<{_SMALLEST_P:g}"
    return f"{p:.4f}" if p < _SMALL_P else f"{p:.2g}"


def format_pair_setting(row: Compared) -> str:
    """Format what both cells of a pair have in common: data set, machine, engine, batch size."""
    return f"{format_setting(dataclasses.asdict(row))}, batch {row.batch_size}"


def _setting(row: Compared) -> tuple[object, ...]:
    return (
        row.dataset,
        row.device,
        row.node,
        row.runtime,
        row.precision,
        row.threads,
        row.batch_size,
    )


def _images(changed: Sequence[Mapping[str, Any]]) -> str:
    columns = ("model", "t", "image", "path", "label", "first", "second", "exits")
    rows = [
        (
            each["model"],
            format_threshold(each),
            each["image_id"],
            each["path"],
            each["label"],
            each["first"],
            each["second"],
            f"{each['first_exit']} > {each['second_exit']}",
        )
        for each in changed
    ]
    return text_table(columns, rows, "images whose prediction changed")


def _explain_no_images(comparison: Comparison) -> str:
    """Say of how many images no prediction changed, or that none were compared."""
    compared = [row for row in comparison.rows if row.figure == "accuracy" and row.images]
    if not compared:
        return "images whose prediction changed: unknown, no pair has predictions of both runs\n"
    counted = format_counted(len(compared), "pair of cells", "pairs of cells")
    images = sum(row.images or 0 for row in compared)
    return f"images whose prediction changed: none of {images:,} in {counted}\n"


def _remarks(comparison: Comparison) -> Iterator[str]:
    """Yield each reason once, with what it applies to."""
    tested = [row for row in comparison.rows if row.figure != "exits" or row.reason]
    about_each = ("reason", "not compared: "), ("note", ""), ("p_reason", "no p: ")
    for attribute, start in (*about_each, ("energy_source", "")):
        about: dict[str, list[str]] = {}
        for row in tested:
            if said := getattr(row, attribute):
                name = f"{row.figure} of {format_model(row.model, format_both_thresholds(row)[0])}"
                about.setdefault(said, []).append(name)
        for text, named in about.items():
            yield f"{start}{text} ({', '.join(dict.fromkeys(named))})"
    yield from comparison.alone
    yield from comparison.notes
    if any(row.change is not None and row.figure in _BY_RATIO for row in comparison.rows):
        yield (
            "change in %: the geometric mean of the ratios over rounds, of times also over images;"
            " it need not be the ratio of the means in the columns first and second"
        )
    if any(row.p is not None for row in comparison.rows):
        yield (
            "acc@1: images lost and won. blocks: images that exit elsewhere. Intervals of times"
            " cover these rounds and images, and allow a round to resemble the one before; another"
            " night may differ by more. p: exact McNemar or from the interval, adjusted for all"
            " rows by Holm."
        )


_ROWS = """
model text, threshold float, second_model text, second_threshold float, dataset text, device text,
node text, runtime text, precision text, threads int, batch_size int, figure text, first double,
second double, change double, low double, high double, p double, p_holm double, images long,
lost long, won long, moved long, reason text, note text, p_reason text, energy_source text,
thresholds floats, second_thresholds floats, both_right long, both_wrong long
"""
_CHANGED = """
model text, threshold float, device text, image_id long, path text, label long, first long,
second long, first_exit long, second_exit long, thresholds floats, outcome text, class_name text,
first_name text, second_name text
"""


def encode_comparison(comparison: Comparison, form: str) -> bytes:
    """Encode all rows, or the changed images if asked for, as `csv` or `json`."""
    if comparison.changed is not None:
        return storage.encode_rows(_CHANGED, comparison.changed, form)
    return storage.encode_rows(_ROWS, [dataclasses.asdict(row) for row in comparison.rows], form)
