"""Charts of two runs' frontiers over each other: accuracy against cost, a colour per model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import altair as alt

from jobs.analysis.comparison.run_data import Side
from jobs.analysis.curve import thin_out
from jobs.common.formatting import (
    Row,
    energy_sources,
    format_accuracy,
    format_error,
    format_float32,
    format_setting,
    format_threshold,
)
from jobs.report.figures.frontier import COSTS, describe_accuracy, format_cost
from jobs.report.figures.style import (
    HEIGHT,
    Figure,
    add_title,
    colour_models,
    finish_chart,
    make_chart,
    make_legend,
)
from jobs.report.pair import PairReport, SideReport
from jobs.report.terminal.summary import is_invalid

_LISTED = 9  # points of a frontier in the table

DRAWN_FRONTIER = 100
"""Points of a frontier in a chart, evenly spaced: both runs' charts fit a page of a site."""

_OVERLAID = ("dataset", "device", "runtime", "precision", "threads")
"""What both runs must agree in to share a chart: a setting but for the node, which may differ."""

_STYLES: tuple[dict[str, Any], ...] = (
    {"strokeWidth": 1.5, "opacity": 0.85},
    {"strokeWidth": 3, "opacity": 1},
)
_DASH = [5, 4]
_LEGENDS = {"layout": {"top": {"direction": "vertical", "anchor": "start", "margin": 4}}}
"""Models above runs: side by side, they would not fit a phone."""


def overlay_figures(pair: PairReport) -> Iterator[Figure]:
    """Draw both frontiers in each setting and cost that both sides have, or one of them alone.

    Lines are points that no other point of the run beats, at one threshold for all gates; dots are
    measurements of routed images.
    """
    settings = dict.fromkeys(
        _key(row) for side in pair.sides for row in (*side.frontier, *side.measured)
    )
    for number, setting in enumerate(settings, 1):
        for cost in COSTS:
            if figure := _overlay(pair, setting, cost, number):
                yield figure


def side_labels(pair: PairReport) -> tuple[str, str]:
    """Return what the page calls both sides: `A: monday`, with their model and threshold, if any.

    Of one run, only what the sides are of it.
    """
    first, second = (_name_side(side.side, is_one_run=pair.is_one_run) for side in pair.sides)
    return f"A: {first}", f"B: {second}"


def _name_side(side: Side, *, is_one_run: bool) -> str:
    threshold = "" if side.threshold is None else f"at {format_float32(side.threshold)}"
    limits = " ".join(filter(None, (side.model, threshold)))
    return ", ".join(filter(None, ("" if is_one_run else side.run_id, limits)))


def _key(row: Row) -> tuple[object, ...]:
    return tuple(row[name] for name in _OVERLAID)


def _overlay(
    pair: PairReport, setting: tuple[object, ...], cost: str, number: int
) -> Figure | None:
    labels = side_labels(pair)
    frontiers = [[row for row in side.frontier if _key(row) == setting] for side in pair.sides]
    if cost == "mean_blocks" and not any(map(_lacks_ms, frontiers)):
        return None  # blocks only replace unknown milliseconds
    lines = [
        list(_frontier(rows, cost, label)) for rows, label in zip(frontiers, labels, strict=True)
    ]
    dots = [
        list(_routed(side, setting, cost, label))
        for side, label in zip(pair.sides, labels, strict=True)
    ]
    if not any((*lines, *dots)):
        return None
    known = [row for rows in (*lines, *dots) for row in rows]
    names = list(dict.fromkeys(row["model"] for row in known))
    axis, word, unit = COSTS[cost]
    sources = energy_sources(row for side in pair.sides for row in side.measured)
    of_setting: Row = {**dict(zip(_OVERLAID, setting, strict=True)), "node": None}
    title = f"Accuracy against {word}: {format_setting(of_setting)}"
    composed = "replayed" if cost == "mean_blocks" else "composed"
    colour = colour_models(names, pair.models)
    spec = finish_chart(_chart(lines, dots, labels, colour, axis), HEIGHT + 60)
    spec["config"] = {**spec["config"], "legend": {**spec["config"]["legend"], **_LEGENDS}}
    return Figure(
        name=f"both-by-{word}-{number}",
        title=add_title(title, sources if cost == "energy_mj" else []),
        alternative=" ".join(_words(lines, dots, labels, axis, unit)),
        spec=spec,
        columns=("run", "model", "threshold", "acc@1", unit, "measured"),
        rows=[
            (
                row["run"],
                row["model"],
                row["threshold"],
                format_accuracy(row),
                format_cost(row),
                "routed" if row["is_routed"] else composed,
            )
            for name in names
            for line, points in zip(lines, dots, strict=True)
            for row in (
                *thin_out([row for row in line if row["model"] == name], _LISTED),
                *(row for row in points if row["model"] == name),
            )
        ],
    )


def _lacks_ms(frontier: Sequence[Row]) -> bool:
    """Whether a model with gates has no milliseconds to be drawn by."""
    return any(row["threshold"] is not None and row["forward_ms"] is None for row in frontier)


def _frontier(rows: Sequence[Row], cost: str, label: str) -> Iterator[dict[str, Any]]:
    """Yield points of models with gates for which this cost is known, some of each cell."""
    is_ms = cost == "forward_ms"
    known = [row for row in rows if None not in (row["threshold"], row[cost], row["acc1"])]
    cells = [list(points) for _, points in groupby(known, key=itemgetter("cell_id"))]
    for row in (each for points in cells for each in thin_out(points, DRAWN_FRONTIER)):
        yield {
            "run": label,
            "model": row["model"],
            "cell": row["cell_id"],
            "threshold": format_float32(row["threshold"]),
            "cost": row[cost],
            **describe_accuracy(row),
            "is_routed": False,
            "is_doubtful": is_ms and row["is_forward_ms_promised"] is False,
            "error": format_error(row) if is_ms else "",
        }


def _routed(
    side: SideReport, setting: tuple[object, ...], cost: str, label: str
) -> Iterator[dict[str, Any]]:
    """Yield the measurements of a side that are valid."""
    for row in side.measured:
        if _key(row) != setting or None in (row["acc1"], row[cost]) or is_invalid(row):
            continue
        yield {
            "run": label,
            "model": row["model"],
            "threshold": format_threshold(row),
            "cost": row[cost],
            **describe_accuracy(row),
            "is_routed": True,
            "is_doubtful": False,
            "error": "",
        }


def _chart(
    lines: Sequence[Sequence[Row]],
    dots: Sequence[Sequence[Row]],
    labels: tuple[str, str],
    colour: alt.Color,
    axis: str,
) -> Any:
    """Draw A thin and hollow, B thick and filled; what is composed in doubt is dashed."""
    x = alt.X("cost:Q", title=axis, scale=alt.Scale(zero=False))
    y = alt.Y("acc1:Q", title="acc@1, percent", scale=alt.Scale(zero=False))
    tips = [alt.Tooltip(f"{name}:N") for name in ("run", "model", "threshold", "cost", "acc1")]
    shape = alt.Shape(
        "run:N",
        title=None,
        sort=list(labels),
        scale=alt.Scale(domain=list(labels), range=["circle", "diamond"]),
        legend=make_legend(labels),
    )
    layers = []
    for rows, style in zip(lines, _STYLES, strict=True):
        for is_doubtful in (False, True):
            if own := [row for row in rows if row["is_doubtful"] == is_doubtful]:
                dash = {"strokeDash": _DASH} if is_doubtful else {}
                line = make_chart(own).mark_line(**style, **dash)
                order = alt.Order("cost:Q")
                layers.append(
                    line.encode(x=x, y=y, color=colour, detail="cell:N", order=order, tooltip=tips)
                )
    for rows, is_filled in zip(dots, (False, True), strict=True):
        if rows:
            dot = make_chart(rows).mark_point(filled=is_filled, size=90, strokeWidth=2, opacity=1)
            layers.append(dot.encode(x=x, y=y, color=colour, shape=shape, tooltip=tips))
    return alt.layer(*layers)


def _words(
    lines: Sequence[Sequence[Row]],
    dots: Sequence[Sequence[Row]],
    labels: tuple[str, str],
    axis: str,
    unit: str,
) -> Iterator[str]:
    """Yield sentences: what is drawn, then the highest accuracy and the lowest cost of each run."""
    yield (
        f"Accuracy against {axis} of {labels[0]}, thin and hollow, and of {labels[1]}, thick and"
        " filled."
    )
    for label, line, points in zip(labels, lines, dots, strict=True):
        rows = [*line, *points]
        if not rows:
            yield f"{label} has no such points."
            continue
        best = max(rows, key=lambda row: row["acc1"])
        least = min(rows, key=lambda row: row["cost"])
        yield (
            f"{label}: highest {best['model']} at {best['acc1']:.2f} percent for"
            f" {best['cost']:.3g} {unit}, cheapest {least['model']} at {least['acc1']:.2f} percent"
            f" for {least['cost']:.3g} {unit}."
        )
