"""Charts of each model's figures over the nights, with judged regressions and improvements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import altair as alt

from jobs.common.formatting import Row, energy_sources, format_fixed, format_threshold
from jobs.report.figures.style import (
    HEIGHT,
    Figure,
    add_title,
    finish_chart,
    make_data,
    make_legend,
    style_lines,
)
from jobs.report.read import Report, Setting, select_setting
from jobs.report.terminal.summary import is_invalid

_STEP_COLOURS = {"regression": "#d00000", "improvement": "#008040"}
_STEP_SCALE = alt.Scale(domain=list(_STEP_COLOURS), range=list(_STEP_COLOURS.values()))
_CLOCK = {
    "month": "%b %Y",
    "week": "%d %b",
    "day": "%d %b",
    "date": "%d %b",
    "hours": "%H:%M",
    "minutes": "%H:%M",
    "seconds": "%H:%M:%S",
}
"""Labels of times, by what they differ in."""

_DATA = "nights"
_TOLD = ("line", "run", "grid", "value", "valid")
_METRICS = {
    "forward_ms": ("Latency over the nights", "forward latency, ms", "latency"),
    "acc1": ("Accuracy over the nights", "acc@1, percent", "accuracy"),
    "energy_mj": ("Energy over the nights", "energy, mJ", "energy"),
}


def history_figures(report: Report, setting: Setting, number: int) -> Iterator[Figure]:
    """Draws each model's figures over all runs and marks judged changes; none for a first run.

    Runs of one grid are joined by a line; those of grids with other names are other nights.
    """
    rows = select_setting(report.history, setting)
    steps = {
        (_identity(row), row["metric"]): row["verdict"]
        for row in select_setting([*report.judged, *report.told], setting)
        if row["verdict"] in _STEP_COLOURS
    }
    if len({row["run_id"] for row in rows}) <= 1:  # one run is no history
        return
    for metric, (title, label, short) in _METRICS.items():
        known = [
            row
            for row in rows
            if row[metric] is not None and not (metric == "acc1" and row.get("accuracy_from"))
        ]
        if len({row["run_id"] for row in known}) <= 1:
            continue
        values = [
            {
                "line": row["model"]
                if row["threshold"] is None and not row["thresholds"]
                else f"{row['model']} {format_threshold(row)}",
                "night": row["submitted_at"].isoformat() + "Z",
                "run": row["run_id"],
                "grid": row["run_name"],
                "value": row[metric],
                "valid": "no" if is_invalid(row) else "yes",
                "step": steps.get((_identity(row), short)),
            }
            for row in known
        ]
        marked = [value for value in values if value["step"]]
        lines = {value["line"]: row["model"] for row, value in zip(known, values, strict=True)}
        said = "".join(
            f" {value['step'].capitalize()} in run {value['run']}: {value['line']}."
            for value in marked
        )
        nights = len({row["run_id"] for row in known})
        yield Figure(
            name=f"{short}-over-nights-{number}",
            title=add_title(title, energy_sources(known) if metric == "energy_mj" else []),
            alternative=f"{label} of {len(lines)} rows of the ladder over {nights} runs: "
            + "; ".join(_ends(values))
            + f".{said}",
            spec=finish_chart(
                _chart(values, style_lines("line", lines, report.models), label), HEIGHT
            ),
            columns=("run", "grid", "submitted, UTC", "model", "threshold", label, "valid", "step"),
            rows=[
                (
                    row["run_id"],
                    row["run_name"],
                    row["submitted_at"],
                    row["model"],
                    format_threshold(row),
                    format_fixed(row[metric], 3),
                    not is_invalid(row),
                    value["step"],
                )
                for row, value in zip(known, values, strict=True)
            ],
        )


def nights_specs() -> dict[str, dict[str, Any]]:
    """Draws the same charts without rows, by metric: a script gives them theirs, and their names.

    Their data is named `nights`, with the fields that `history_figures` draws.
    """
    style = {"color": alt.Color("line:N", title=None, legend=make_legend(()))}
    return {
        metric: finish_chart(_chart((), style, label), HEIGHT)
        for metric, (_, label, _) in _METRICS.items()
    }


def _chart(
    values: Sequence[dict[str, Any]], style: Mapping[str, Any], label: str
) -> alt.LayerChart | alt.FacetChart:
    """Draws lines with a point per night, a cross if it is not valid, and rings around steps.

    Args:
        values: the rows.
        style: how its lines are encoded.
        label: of the vertical axis.
    """
    chart: Any = alt.Chart()  # its rows are those of the whole
    base = chart.encode(
        x=alt.X(
            "night:T",
            title="UTC",
            scale=alt.Scale(type="utc"),
            axis=alt.Axis(labelOverlap=True, tickCount=5, format=_CLOCK),
        ),
        # In full: figures that are all alike have one label, which would be rounded to a digit.
        y=alt.Y("value:Q", title=label, scale=alt.Scale(zero=False), axis=alt.Axis(format=".6~g")),
        color=style["color"],
    )
    line = base.mark_line(strokeWidth=2).encode(detail="grid:N", **style)
    dots = base.mark_point(size=50, filled=True, opacity=1).encode(
        shape=alt.Shape(
            "valid:N", scale=alt.Scale(domain=["yes", "no"], range=["circle", "cross"])
        ).legend(None),
        tooltip=[alt.Tooltip(f"{name}:N") for name in _TOLD],
    )
    rings = chart.mark_point(filled=False, strokeWidth=3, opacity=1).encode(
        # Not a filter: rows that it leaves none of have no extent, of which Vega warns.
        size=alt.condition("isValid(datum.step)", alt.value(320), alt.value(0)),
        x="night:T",
        y="value:Q",
        stroke=alt.Stroke("step:N", scale=_STEP_SCALE, legend=None),
        tooltip=[alt.Tooltip(f"{name}:N") for name in ("line", "run", "value", "step")],
    )
    return alt.layer(line, dots, rings, data=make_data(values, _DATA))


def _identity(row: Row) -> tuple[object, ...]:
    """Identifies a row of a run's ladder within a setting."""
    names = ("run_id", "model", "batch_size", "threshold")
    return (*(row[name] for name in names), tuple(row["thresholds"] or ()))


def _ends(values: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yields where each line begins and ends; its grid, if there are several."""
    several = len({value["grid"] for value in values}) > 1
    lines: dict[tuple[str, str], list[float]] = {}
    for value in values:
        lines.setdefault((value["line"], value["grid"]), []).append(value["value"])
    for (name, grid), own in lines.items():
        of = f" of grid {grid}" if several else ""
        yield f"{name}{of} from {own[0]:.3g} to {own[-1]:.3g}"
