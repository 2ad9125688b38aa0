"""Charts of accuracy against cost: each model's frontier, and one model's curve in the explorer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import altair as alt

from jobs.analysis.curve import make_curves, thin_out
from jobs.analysis.latency_intervals import make_key
from jobs.analysis.thresholds.bands import Band
from jobs.common.formatting import (
    Row,
    format_accuracy,
    format_error,
    format_fixed,
    format_float32,
    format_threshold,
    name_lender,
)
from jobs.report.figures.style import (
    HEIGHT,
    INK,
    Doubtful,
    Figure,
    add_title,
    colour_models,
    finish_chart,
    make_chart,
    pick_colour,
)
from jobs.report.ladder import collect_sources
from jobs.report.read import Report, Setting, select_setting
from jobs.report.terminal.summary import is_invalid

_INTERVAL = ("low_cost", "high_cost")
_MOST_LONGER = 0.5  # of the points' span: what an interval may add to an axis, to each side
_PADDING = 0.04  # of the points' span
_LISTED = 12  # points of a curve in its table
_LINE = {"strokeWidth": 2}
_DOUBTFUL_LINE = {"strokeWidth": 2, "strokeDash": [5, 4], "opacity": 0.5}

COSTS = {
    "forward_ms": ("forward latency, ms", "latency", "ms"),
    "energy_mj": ("energy, mJ", "energy", "mJ"),
    "mean_blocks": ("mean blocks", "blocks", "blocks"),
}
"""The costs that accuracy is drawn against: axis title, word, unit."""


def frontier_figure(report: Report, setting: Setting, cost: str, number: int) -> Figure | None:
    """Draws accuracy against cost: all thresholds as a line in its band, routed ones as points."""
    rows = select_setting(report.curve, setting)
    ladder = select_setting(report.ladder, setting)
    if cost == "mean_blocks" and not _lack_ms(rows):
        return None  # blocks only replace unknown milliseconds
    points = _curve_points(report, rows, cost)
    measured = list(_measured(report, ladder, cost))
    if not points and not measured:
        return None
    label, shown, unit = COSTS[cost]
    axis = _cost_axis([*points, *measured])
    measured = [{**row, **_clip_interval(row, axis)} for row in measured]
    x = alt.X("cost:Q", title=label, scale=alt.Scale(domain=list(axis), nice=False, zero=False))
    y = alt.Y("acc1:Q", title="acc@1, percent", scale=alt.Scale(zero=False))
    names = list(dict.fromkeys(row["model"] for row in (*rows, *ladder)))
    colour = colour_models(names, report.models)
    line = make_chart(points)
    # A layer without rows would have no extent.
    band = line.mark_area(opacity=0.18).encode(
        x=x, y=alt.Y("low:Q", title="acc@1, percent"), y2="high:Q", color=colour
    )
    tips = _tips("model", "threshold", cost)
    promised, doubtful = (
        make_chart([row for row in points if row["is_doubtful"] == is_doubtful])
        .mark_line(**style)
        .encode(x=x, y=y, color=colour, order=alt.Order("cost:Q"), tooltip=tips)
        for is_doubtful, style in ((False, _LINE), (True, _DOUBTFUL_LINE))
    )
    point = make_chart(measured)
    interval = point.mark_rule(strokeWidth=1.5).encode(
        x=alt.X("low_cost:Q", title=label), x2="high_cost:Q", y=y, color=colour
    )
    arrows = [
        make_chart([row for row in measured if row[edge] is not None])
        .mark_point(filled=True, size=60, opacity=1, shape=shape)
        .encode(x=alt.X(f"{edge}:Q", title=label), y=y, color=colour)
        for edge, shape in (("below", "triangle-left"), ("above", "triangle-right"))
        if any(row[edge] is not None for row in measured)
    ]
    routed = point.mark_point(filled=True, size=70, opacity=1).encode(
        x=x, y=y, color=colour, tooltip=tips
    )
    layers = [
        *([band] if any(row["low"] is not None for row in points) else []),
        *([promised] if any(not row["is_doubtful"] for row in points) else []),
        *([doubtful] if any(row["is_doubtful"] for row in points) else []),
        *([interval] if any(row["low_cost"] is not None for row in measured) else []),
        *arrows,
        *([routed] if measured else []),
    ]
    sources = collect_sources(report, setting) if cost == "energy_mj" else []
    lenders = "".join(dict.fromkeys(map(name_lender, (*points, *measured))))
    cut = " An arrow marks an interval that ends beyond the axis." if arrows else ""
    best = max((*points, *measured), key=lambda row: row["acc1"])
    least = min((*points, *measured), key=lambda row: row["cost"])
    table = [
        (
            row["model"],
            row["threshold"],
            format_accuracy(row),
            _band(row),
            format_cost(row),
        )
        for name in names
        for row in (
            *thin_out([row for row in points if row["model"] == name], _LISTED),
            *(row for row in measured if row["model"] == name),
        )
    ]
    return Figure(
        name=f"accuracy-by-{shown}-{number}",
        title=add_title(f"Accuracy against {shown}{lenders}", sources),
        alternative=(
            f"Accuracy against {label} of {len(names)} models. Highest: {best['model']} at"
            f" {best['acc1']:.2f} percent for {best['cost']:.3g} {unit}. Cheapest:"
            f" {least['model']} at {least['acc1']:.2f} percent for {least['cost']:.3g} {unit}.{cut}"
        ),
        spec=finish_chart(alt.layer(*layers), HEIGHT + 60),
        columns=("model", "threshold", "acc@1", "95 % band", unit),
        rows=table,
    )


def _curve_points(report: Report, rows: Sequence[Row], cost: str) -> list[dict[str, Any]]:
    """The operating points of models with gates for which this cost is known, with their band."""
    bands = {each.cell["cell_id"]: each.bands for each in report.passes}
    points, is_ms = [], cost == "forward_ms"
    for cell_id, group in groupby(rows, key=lambda row: row["cell_id"]):
        own = list(group)
        known: Sequence[Band | None] = bands.get(cell_id) or [None] * len(own)
        for row, band in zip(own, known, strict=True):
            if row["threshold"] is None or row[cost] is None or row["acc1"] is None:
                continue
            low, high = accuracy_band(row, band)
            points.append(
                {
                    "model": row["model"],
                    "threshold": format_float32(row["threshold"]),
                    "cost": row[cost],
                    **describe_accuracy(row),
                    "low": low,
                    "high": high,
                    "is_doubtful": is_ms and row["is_forward_ms_promised"] is False,
                    "error": format_error(row) if is_ms else "",
                }
            )
    return points


def describe_accuracy(row: Row) -> dict[str, Any]:
    """Returns the accuracy of a point, and if it is borrowed, from where and within what."""
    names = ("acc1", *(("accuracy_from", "acc1_bound_points") if row.get("accuracy_from") else ()))
    return {name: row[name] for name in names}


def accuracy_band(row: Row, band: Band | None) -> tuple[float | None, float | None]:
    """Returns the accuracy interval of a point, percent: full depth minus the interval of the drop.

    Of a borrowed accuracy, what its bound leaves. It is clipped: with few images, most of them
    right, it would reach beyond 100 %. None if there is no band.
    """
    acc1 = row["acc1"]
    if row.get("accuracy_from"):
        bound = row["acc1_bound_points"]
        return max(acc1 - bound, 0.0), min(acc1 + bound, 100.0)
    if band is None:
        return None, None
    full = acc1 + band.drop
    return max(full - band.high, 0.0), min(full - band.low, 100.0)


def _measured(report: Report, ladder: Sequence[Row], cost: str) -> Iterator[dict[str, Any]]:
    """The measured cost of each row of the ladder, with its interval."""
    for row in ladder:
        if row["acc1"] is None or row[cost] is None or is_invalid(row):
            continue
        mean = report.means.get(make_key(row)) if report.means and cost == "forward_ms" else None
        interval = mean.interval_ms if mean else None
        yield {
            "model": row["model"],
            "threshold": format_threshold(row),
            "cost": row[cost],
            **describe_accuracy(row),
            "low_cost": interval.low if interval else None,
            "high_cost": interval.high if interval else None,
        }


def _cost_axis(rows: Sequence[Row]) -> tuple[float, float]:
    """The ends of the axis of cost: around all points, and intervals as far as they let points be.

    An interval may make the axis longer by half of what the points take, to each side.
    """
    costs = [row["cost"] for row in rows]
    ends = [row[name] for row in rows for name in _INTERVAL if row.get(name) is not None]
    low, high = min(costs), max(costs)
    span = (high - low) or abs(high) or 1.0
    first = max(min([low, *ends]), low - _MOST_LONGER * span)
    last = min(max([high, *ends]), high + _MOST_LONGER * span)
    padding = _PADDING * span
    return max(first - padding, 0.0), last + padding


def _clip_interval(row: Row, axis: tuple[float, float]) -> Row:
    """Ends an interval where the axis does; `below` and `above` say where an arrow marks that."""
    if row["low_cost"] is None:
        return {"below": None, "above": None}
    low, high = axis
    return {
        "low_cost": max(row["low_cost"], low),
        "high_cost": min(row["high_cost"], high),
        "below": low if row["low_cost"] < low else None,
        "above": high if row["high_cost"] > high else None,
    }


def explorer_figure(report: Report, setting: Setting, cell: Row) -> dict[str, Any]:
    """Draws the explorer's chart of one pass: its curve, and a point `now` that the script moves.

    Returns: a specification; `usermeta` has the cost on the horizontal axis, and the points with
        the thresholds that a click on them sets.
    """
    rows = [
        row for row in select_setting(report.curve, setting) if row["cell_id"] == cell["cell_id"]
    ]
    curves = make_curves(rows)
    points = [
        {
            "cost": row[curves.cost],
            "acc1": row["acc1"],
            "threshold": format_float32(row["threshold"]),
        }
        for row in rows
    ]
    axes = {
        "x": alt.X("cost:Q", title=curves.cost_label, scale=alt.Scale(zero=False)),
        "y": alt.Y("acc1:Q", title="acc@1, percent", scale=alt.Scale(zero=False)),
    }
    line = (
        make_chart(points)
        .mark_line(color=pick_colour(cell["model"], report.models), strokeWidth=2)
        .encode(order=alt.Order("cost:Q"), **axes)
    )
    now = (
        make_chart(points[:1], "now")
        .mark_point(filled=True, size=160, color=INK, opacity=1)
        .encode(**axes)
    )
    spec = finish_chart(line + now, HEIGHT)
    return spec | {"usermeta": {"cost": curves.cost, "points": points}}


def _tips(*names: str) -> list[alt.Tooltip]:
    shown = {"forward_ms": "cost", "energy_mj": "cost", "mean_blocks": "cost"}
    return [alt.Tooltip(f"{shown.get(name, name)}:N", title=name) for name in (*names, "acc1")]


def _lack_ms(rows: Sequence[Row]) -> bool:
    """Whether a model of these rows of `curve` has no milliseconds to be drawn by."""
    curves = make_curves(rows) if rows else None
    return curves is not None and (curves.cost == "mean_blocks" or bool(curves.untimed))


def format_cost(row: Row) -> str:
    """Formats the cost of a point; if it is composed and in doubt, with its error."""
    cost, error = format_fixed(row["cost"], 3), row.get("error")
    if not error:
        return cost
    return Doubtful(f"{cost} {error}") if row["is_doubtful"] else f"{cost} {error}"


def _band(row: Row) -> str:
    if row.get("low") is None:
        return "–"
    return f"{row['low']:.2f} to {row['high']:.2f}"
