"""The charts of a report, drawn by Altair, each with its words and its figures as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import altair as alt

from jobs.choice.bands import Band
from jobs.curve import curves_of, some_of
from jobs.intervals import key_of
from jobs.report.reading import Report, Setting, of_setting
from jobs.summary import is_invalid
from jobs.wording import Row, fixed, threshold_of

# Told apart in any colour vision (Okabe and Ito), without the yellow that white swallows.
_COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8c8c8c"]
_INK = "currentColor"  # of the text around: readable in light, dark and print
_HEIGHT = 260  # pixels
_ROW_HEIGHT = 34
_SHORT_NAME = 18  # characters
_LISTED = 12  # points of a curve in its table
_CONFIG: dict[str, Any] = {
    "background": None,
    "font": "system-ui, 'DejaVu Sans', sans-serif",  # the page's, so that text is measured as it is
    "view": {"stroke": None},
    "axis": {
        "labelColor": _INK,
        "titleColor": _INK,
        "tickColor": _INK,
        "domainColor": _INK,
        "gridColor": _INK,
        "gridOpacity": 0.15,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelLimit": 150,
    },
    "axisX": {"labelFlush": False, "labelOverlap": "greedy", "labelSeparation": 6},
    "legend": {
        "orient": "top",
        "labelColor": _INK,
        "titleColor": _INK,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "columns": 2,
        "symbolStrokeWidth": 3,
    },
    "range": {"category": _COLOURS},
}


_COSTS = {
    "forward_ms": ("forward latency, ms", "latency", "ms"),
    "energy_mj": ("energy, mJ", "energy", "mJ"),
    "mean_blocks": ("mean blocks", "blocks", "blocks"),
}
"""What accuracy is drawn against: the axis, the word, the unit."""


@dataclass(frozen=True)
class Figure:
    """One chart.

    Attributes:
        name: of its file, and its identifier in a page: letters, digits and dashes.
        title: what it shows.
        alternative: in words, what is to be seen there.
        spec: Vega-Lite, as wide as what holds it.
        columns, rows: its figures, or some of them.
    """

    name: str
    title: str
    alternative: str
    spec: dict[str, Any]
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


def figures_of(report: Report, setting: Setting, number: int) -> dict[str, Figure]:
    """The charts of one setting by what they show; those without figures are left out.

    Args:
        report: the run.
        setting: one of its settings.
        number: of the setting, for names.
    """
    drawn = (
        *(_frontier(report, setting, cost, number) for cost in _COSTS),
        _exits(of_setting(report.histogram, setting), number),
        _latencies(of_setting(report.latencies, setting), number),
        _calibration(of_setting(report.calibration, setting), number),
        *_history(report, setting, number),
    )
    return {figure.name: figure for figure in drawn if figure}


def explorer_figure(report: Report, setting: Setting, cell: Row) -> dict[str, Any]:
    """What moves with the thresholds of one pass: its curve, and a point named `now` upon it.

    Returns: a specification; `usermeta` has the cost of the horizontal axis, and the points with
        the thresholds that a click on them takes.
    """
    rows = of_setting(report.curve, setting)
    curves = curves_of(rows)
    points = [
        # Nine digits tell every float32 from its neighbours.
        {"cost": row[curves.cost], "acc1": row["acc1"], "threshold": f"{row['threshold']:.9g}"}
        for row in rows
        if row["cell_id"] == cell["cell_id"] and row[curves.cost] is not None
    ]
    axes = {
        "x": alt.X("cost:Q", title=curves.cost_label, scale=alt.Scale(zero=False)),
        "y": alt.Y("acc1:Q", title="acc@1, percent", scale=alt.Scale(zero=False)),
    }
    line = (
        _chart(points)
        .mark_line(color=_COLOURS[0], strokeWidth=2)
        .encode(order=alt.Order("cost:Q"), **axes)
    )
    now = (
        _chart(points[:1], "now")
        .mark_point(filled=True, size=160, color=_COLOURS[1], opacity=1)
        .encode(**axes)
    )
    spec = _finished(line + now, _HEIGHT)
    return spec | {"usermeta": {"cost": curves.cost, "points": points}}


def _frontier(report: Report, setting: Setting, cost: str, number: int) -> Figure | None:
    """Accuracy against cost: every threshold as a line in its band, what was routed as points."""
    rows = of_setting(report.curve, setting)
    ladder = of_setting(report.ladder, setting)
    is_composed = bool(rows) and curves_of(rows).cost == "forward_ms"
    if cost == "mean_blocks" and (is_composed or not rows):
        return None  # blocks stand in for milliseconds that are not known
    points = _curve_points(report, rows, cost)
    measured = list(_measured(report, ladder, cost))
    if not points and not measured:
        return None
    label, shown, unit = _COSTS[cost]
    x = alt.X("cost:Q", title=label, scale=alt.Scale(zero=False))
    y = alt.Y("acc1:Q", title="acc@1, percent", scale=alt.Scale(zero=False))
    names = list(dict.fromkeys(row["model"] for row in (*rows, *ladder)))
    colour = alt.Color("model:N", sort=names, title=None, legend=_legend(names))
    line = _chart(points)
    # A layer without rows would have no extent.
    band = line.mark_area(opacity=0.18).encode(
        x=x, y=alt.Y("low:Q", title="acc@1, percent"), y2="high:Q", color=colour
    )
    curve = line.mark_line(strokeWidth=2).encode(
        x=x, y=y, color=colour, order=alt.Order("cost:Q"), tooltip=_tips("model", "threshold", cost)
    )
    point = _chart(measured)
    interval = point.mark_rule(strokeWidth=1.5).encode(
        x=alt.X("low_cost:Q", title=label), x2="high_cost:Q", y=y, color=colour
    )
    routed = point.mark_point(filled=True, size=70, opacity=1).encode(
        x=x, y=y, color=colour, tooltip=_tips("model", "threshold", cost)
    )
    layers = [
        *([band] if any(row["low"] is not None for row in points) else []),
        *([curve] if points else []),
        *([interval] if any(row["low_cost"] is not None for row in measured) else []),
        *([routed] if measured else []),
    ]
    best = max((*points, *measured), key=lambda row: row["acc1"])
    least = min((*points, *measured), key=lambda row: row["cost"])
    table = [
        (row["model"], row["threshold"], fixed(row["acc1"], 2), _band(row), fixed(row["cost"], 3))
        for name in names
        for row in (
            *some_of([row for row in points if row["model"] == name], _LISTED),
            *(row for row in measured if row["model"] == name),
        )
    ]
    return Figure(
        name=f"accuracy-by-{shown}-{number}",
        title=f"Accuracy against {shown}",
        alternative=(
            f"Accuracy against {label} of {len(names)} models. Highest: {best['model']} at"
            f" {best['acc1']:.2f} percent for {best['cost']:.3g} {unit}. Cheapest:"
            f" {least['model']} at {least['acc1']:.2f} percent for {least['cost']:.3g} {unit}."
        ),
        spec=_finished(alt.layer(*layers), _HEIGHT + 60),
        columns=("model", "threshold", "acc@1", "95 % band", unit),
        rows=table,
    )


def _curve_points(report: Report, rows: Sequence[Row], cost: str) -> list[dict[str, Any]]:
    """Every operating point of the models with gates that has this cost, in its band."""
    bands = {each.cell["cell_id"]: each.bands for each in report.passes}
    points = []
    for cell_id, group in groupby(rows, key=lambda row: row["cell_id"]):
        own = list(group)
        known: Sequence[Band | None] = bands.get(cell_id) or [None] * len(own)
        for row, band in zip(own, known, strict=True):
            if row["threshold"] is None or row[cost] is None or row["acc1"] is None:
                continue
            full = row["acc1"] + band.drop if band else None
            points.append(
                {
                    "model": row["model"],
                    "threshold": f"{row['threshold']:.4g}",
                    "cost": row[cost],
                    "acc1": row["acc1"],
                    "low": None if band is None or full is None else full - band.high,
                    "high": None if band is None or full is None else full - band.low,
                }
            )
    return points


def _measured(report: Report, ladder: Sequence[Row], cost: str) -> Iterator[dict[str, Any]]:
    """What the clock or the meter said of each row of the ladder, with its interval."""
    for row in ladder:
        if row["acc1"] is None or row[cost] is None or is_invalid(row):
            continue
        mean = report.means.get(key_of(row)) if cost == "forward_ms" else None
        yield {
            "model": row["model"],
            "threshold": threshold_of(row),
            "cost": row[cost],
            "acc1": row["acc1"],
            "low_cost": max(mean.forward_ms.low, 0.0) if mean else None,
            "high_cost": mean.forward_ms.high if mean else None,
        }


def _exits(rows: Sequence[Row], number: int) -> Figure | None:
    """Where the images of each row of the ladder leave, as shares of one bar."""
    cells = [list(group) for _, group in groupby(rows, key=lambda r: (r["cell_id"], r["node"]))]
    early = [row for group in cells if len(group) > 1 for row in group]
    if not early:
        return None
    values = [
        {
            "row": f"{row['model']} {threshold_of(row)}",
            "exit": row["exit_block"],
            "share": row["share_pct"],
            "images": row["images"],
        }
        for row in early
    ]
    order = list(dict.fromkeys(value["row"] for value in values))
    chart = (
        _chart(values)
        .mark_bar()
        .encode(
            x=alt.X("sum(share):Q", title="images, percent", scale=alt.Scale(domain=[0, 100])),
            y=alt.Y("row:N", sort=order, title=None),
            color=alt.Color("exit:O", title="leave after block", scale=alt.Scale(scheme="viridis")),
            order=alt.Order("exit:O"),
            tooltip=[alt.Tooltip(f"{name}:N") for name in ("row", "exit", "images")],
        )
    )
    first = [value for value in values if value["row"] == order[0]]
    said = ", ".join(f"{value['share']:.1f} percent after block {value['exit']}" for value in first)
    return Figure(
        name=f"exits-{number}",
        title="Where images leave",
        alternative=f"Shares of the images that leave at each exit. {order[0]}: {said}.",
        spec=_finished(chart, max(len(order) * _ROW_HEIGHT, 80)),
        columns=("model", "threshold", "after block", "images", "%", "median ms"),
        rows=[
            (
                row["model"],
                threshold_of(row),
                row["exit_block"],
                row["images"],
                fixed(row["share_pct"], 1),
                fixed(row["median_forward_ms"], 3),
            )
            for row in early
        ],
    )


def _latencies(rows: Sequence[Row], number: int) -> Figure | None:
    """How long images take that leave at each exit: p10 to p90 as a line, p25 to p75 as a bar."""
    known = [row for row in rows if row["p50_ms"] is not None]
    if not known:
        return None
    values = [
        {"row": f"{row['model']}, {row['exit_block']}"}
        | {name: row[name] for name in ("model", "p10_ms", "p25_ms", "p50_ms", "p75_ms", "p90_ms")}
        for row in known
    ]
    order = [value["row"] for value in values]
    base = _chart(values).encode(
        y=alt.Y("row:N", sort=order, title=None),
        color=alt.Color("model:N", legend=None, sort=list({row["model"]: 0 for row in known})),
    )
    title = "forward latency, ms"
    whisker = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("p10_ms:Q", title=title, scale=alt.Scale(zero=True)), x2="p90_ms:Q"
    )
    box = base.mark_bar(size=12, opacity=0.75).encode(x=alt.X("p25_ms:Q", title=title), x2="p75_ms")
    median = base.mark_tick(thickness=3, size=20, color=_INK).encode(
        x=alt.X("p50_ms:Q", title=title), color=alt.value(_INK)
    )
    said = "; ".join(f"{value['row']}: {value['p50_ms']:.3g} ms" for value in values)
    return Figure(
        name=f"latency-by-exit-{number}",
        title="Latency by exit",
        alternative=f"Median forward latency by model and the block images leave after: {said}.",
        spec=_finished(whisker + box + median, max(len(order) * _ROW_HEIGHT, 80)),
        columns=("model", "after block", "samples", "p10", "p25", "p50", "p75", "p90"),
        rows=[
            (
                row["model"],
                row["exit_block"],
                row["samples"],
                *(fixed(row[f"p{p}_ms"], 3) for p in (10, 25, 50, 75, 90)),
            )
            for row in known
        ],
    )


def _calibration(rows: Sequence[Row], number: int) -> Figure | None:
    """How often each gate's exit is right, by the gate's score."""
    if not rows:
        return None
    passes = len({row["cell_id"] for row in rows})
    values = [
        {
            "gate": f"block {row['exit_block']}"
            if passes == 1
            else f"{row['model']}, block {row['exit_block']}",
            "gate_score": row["gate_score"],
            "acc1": row["acc1"],
            "images": row["images"],
        }
        for row in rows
    ]
    is_share = all(0 <= row["gate_score"] <= 1 for row in rows)
    scale = alt.Scale(domain=[0, 1]) if is_share else alt.Scale(zero=False)
    x = alt.X("gate_score:Q", title="mean gate score", scale=scale)
    y = alt.Y("acc1:Q", title="right at this exit, percent", scale=alt.Scale(domain=[0, 100]))
    gates = list(dict.fromkeys(value["gate"] for value in values))
    line = (
        _chart(values)
        .mark_line(point=alt.OverlayMarkDef(size=40), strokeWidth=2)
        .encode(x=x, y=y, color=alt.Color("gate:N", title=None, sort=gates, legend=_legend(gates)))
    )
    ends = [{"gate_score": 0, "acc1": 0}, {"gate_score": 1, "acc1": 100}]
    calibrated = _chart(ends).mark_line(strokeDash=[4, 4], color=_INK, opacity=0.5).encode(x=x, y=y)
    aurocs = {value["gate"]: row["gate_auroc"] for value, row in zip(values, rows, strict=True)}
    said = "; ".join(f"{gate}: {fixed(auroc, 3)}" for gate, auroc in aurocs.items())
    return Figure(
        name=f"gate-calibration-{number}",
        title="Gate calibration",
        alternative=(
            "How often an exit is right, by the score of its gate, in ten parts of as many images."
            f" Area under the ROC of each gate (1 is perfect, 0.5 chance): {said}."
        ),
        spec=_finished(calibrated + line if is_share else line, _HEIGHT),
        columns=("model", "after block", "part", "images", "mean score", "right, %"),
        rows=[
            (
                row["model"],
                row["exit_block"],
                row["part"],
                row["images"],
                fixed(row["gate_score"], 3),
                fixed(row["acc1"], 1),
            )
            for row in rows
        ],
    )


_STEP_COLOURS = {"regression": "#d00000", "improvement": "#008040"}
_STEP_SCALE = alt.Scale(domain=list(_STEP_COLOURS), range=list(_STEP_COLOURS.values()))
_METRICS = {
    "forward_ms": ("Latency over the nights", "forward latency, ms", "latency"),
    "acc1": ("Accuracy over the nights", "acc@1, percent", "accuracy"),
    "energy_mj": ("Energy over the nights", "energy, mJ", "energy"),
}


def _history(report: Report, setting: Setting, number: int) -> Iterator[Figure]:
    """Each model's figures over all runs, judged steps marked; none for a first run."""
    rows = of_setting(report.history, setting)
    steps = {
        (_identity(row), row["metric"]): row["verdict"]
        for row in of_setting([*report.judged, *report.told], setting)
        if row["verdict"] in _STEP_COLOURS
    }
    if len({row["run_id"] for row in rows}) < 2:  # noqa: PLR2004 - one run is no history
        return
    for metric, (title, label, short) in _METRICS.items():
        known = [row for row in rows if row[metric] is not None]
        if len({row["run_id"] for row in known}) < 2:  # noqa: PLR2004
            continue
        values = [
            {
                "line": row["model"]
                if row["threshold"] is None and not row["thresholds"]
                else f"{row['model']} {threshold_of(row)}",
                "night": row["submitted_at"].isoformat() + "Z",
                "run": row["run_id"],
                "value": row[metric],
                "valid": "no" if is_invalid(row) else "yes",
                "step": steps.get((_identity(row), short)),
            }
            for row in known
        ]
        marked = [value for value in values if value["step"]]
        lines = list(dict.fromkeys(value["line"] for value in values))
        base = _chart(values).encode(
            x=alt.X("night:T", title=None, axis=alt.Axis(labelOverlap=True, tickCount=5)),
            y=alt.Y("value:Q", title=label, scale=alt.Scale(zero=False)),
            color=alt.Color("line:N", title=None, sort=lines, legend=_legend(lines)),
        )
        line = base.mark_line(strokeWidth=2)
        dots = base.mark_point(size=50, filled=True, opacity=1).encode(
            shape=alt.Shape(
                "valid:N", scale=alt.Scale(domain=["yes", "no"], range=["circle", "cross"])
            ).legend(None),
            tooltip=[alt.Tooltip(f"{name}:N") for name in ("line", "run", "value", "valid")],
        )
        rings = (
            _chart(marked)
            .mark_point(filled=False, size=320, strokeWidth=3, opacity=1)
            .encode(
                x="night:T",
                y="value:Q",
                stroke=alt.Stroke("step:N", scale=_STEP_SCALE, legend=None),
                tooltip=[alt.Tooltip(f"{name}:N") for name in ("line", "run", "value", "step")],
            )
        )
        said = "".join(
            f" {value['step'].capitalize()} in run {value['run']}: {value['line']}."
            for value in marked
        )
        nights = len({row["run_id"] for row in known})
        yield Figure(
            name=f"{short}-over-nights-{number}",
            title=title,
            alternative=f"{label} of {len(lines)} rows of the ladder over {nights} runs: "
            + "; ".join(_ends(name, values) for name in lines)
            + f".{said}",
            spec=_finished(alt.layer(line, dots, *([rings] if marked else [])), _HEIGHT),
            columns=("run", "submitted", "model", "threshold", label, "valid", "step"),
            rows=[
                (
                    row["run_id"],
                    row["submitted_at"],
                    row["model"],
                    threshold_of(row),
                    fixed(row[metric], 3),
                    not is_invalid(row),
                    value["step"],
                )
                for row, value in zip(known, values, strict=True)
            ],
        )


def _identity(row: Row) -> tuple[object, ...]:
    """Which row of which run's ladder, in one setting."""
    names = ("run_id", "model", "batch_size", "threshold")
    return (*(row[name] for name in names), tuple(row["thresholds"] or ()))


def _ends(name: str, values: Sequence[dict[str, Any]]) -> str:
    own = [value["value"] for value in values if value["line"] == name]
    return f"{name} from {own[0]:.3g} to {own[-1]:.3g}"


def _chart(rows: Sequence[Row], name: str = "") -> Any:
    """A chart of rows, which a page's script may replace where they have a name."""
    data: Any = alt.Data  # untyped there
    return alt.Chart(data(values=list(rows), **({"name": name} if name else {})))


def _finished(chart: Any, height: int) -> dict[str, Any]:
    """A chart as JSON, as wide as what holds it; without the address of its schema."""
    spec: dict[str, Any] = chart.properties(width="container", height=height).to_dict()
    del spec["$schema"]
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    spec["config"] = _CONFIG
    return spec


def _legend(names: Sequence[str]) -> alt.Legend:
    """In columns that fit a phone: two of short names, one of long ones, which are cut there."""
    is_short = max(map(len, names), default=0) <= _SHORT_NAME
    return alt.Legend(
        columns=2 if is_short else 1, labelLimit=135 if is_short else 270, symbolOpacity=1
    )


def _tips(*names: str) -> list[alt.Tooltip]:
    shown = {"forward_ms": "cost", "energy_mj": "cost", "mean_blocks": "cost"}
    return [alt.Tooltip(f"{shown.get(name, name)}:N", title=name) for name in (*names, "acc1")]


def _band(row: Row) -> str:
    if row.get("low") is None:
        return "–"
    return f"{row['low']:.2f} to {row['high']:.2f}"
