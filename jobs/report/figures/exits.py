"""Charts by exit and gate: share of images, latency, and calibration."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import altair as alt

from jobs.common.formatting import (
    EXIT_COLUMNS,
    Row,
    format_exit,
    format_fixed,
    format_threshold,
)
from jobs.report.figures.style import (
    HEIGHT,
    INK,
    ROW_HEIGHT,
    Figure,
    colour_models,
    finish_chart,
    make_chart,
    make_legend,
    style_lines,
)


def exits_figure(rows: Sequence[Row], number: int) -> Figure | None:
    """Draws where images exit, one bar per row of the ladder; None without early exits."""
    cells = [list(group) for _, group in groupby(rows, key=lambda r: (r["cell_id"], r["node"]))]
    early = [row for group in cells if len(group) > 1 for row in group]
    if not early:
        return None
    values = [
        {
            "row": f"{row['model']} {format_threshold(row)}"
            + (", borrowed" if row.get("accuracy_from") else ""),
            "exit": row["exit_block"],
            "share": row["share_pct"],
            "images": row["images"],
        }
        for row in early
    ]
    order = list(dict.fromkeys(value["row"] for value in values))
    chart = (
        make_chart(values)
        .mark_bar()
        .encode(
            x=alt.X("sum(share):Q", title="images, percent", scale=alt.Scale(domain=[0, 100])),
            y=alt.Y("row:N", sort=order, title=None),
            color=alt.Color("exit:O", title="exit after block", scale=alt.Scale(scheme="viridis")),
            order=alt.Order("exit:O"),
            tooltip=[alt.Tooltip(f"{name}:N") for name in ("row", "exit", "images")],
        )
    )
    first = [value for value in values if value["row"] == order[0]]
    said = ", ".join(f"{value['share']:.1f} percent after block {value['exit']}" for value in first)
    return Figure(
        name=f"exits-{number}",
        title="Where images exit",
        alternative=f"Share of the images at each exit. {order[0]}: {said}.",
        spec=finish_chart(chart, max(len(order) * ROW_HEIGHT, 80)),
        columns=("model", "threshold", *EXIT_COLUMNS, "images", "%", "median ms"),
        rows=[
            (
                row["model"],
                format_threshold(row),
                *format_exit(row["exit_block"], row["depth"]),
                row["images"],
                format_fixed(row["share_pct"], 1),
                format_fixed(row["median_forward_ms"], 3),
            )
            for row in early
        ],
    )


def latencies_figure(rows: Sequence[Row], models: Sequence[str], number: int) -> Figure | None:
    """Draws the latency of images by exit: p10 to p90 as a line, p25 to p75 as a bar."""
    known = [row for row in rows if row["p50_ms"] is not None]
    if not known:
        return None
    values = [
        {"row": f"{row['model']}, {row['exit_block']}"}
        | {name: row[name] for name in ("model", "p10_ms", "p25_ms", "p50_ms", "p75_ms", "p90_ms")}
        for row in known
    ]
    order = [value["row"] for value in values]
    base = make_chart(values).encode(
        y=alt.Y("row:N", sort=order, title=None),
        color=colour_models((), models),
    )
    title = "forward latency, ms"
    whisker = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("p10_ms:Q", title=title, scale=alt.Scale(zero=True)), x2="p90_ms:Q"
    )
    box = base.mark_bar(size=12, opacity=0.75).encode(x=alt.X("p25_ms:Q", title=title), x2="p75_ms")
    median = base.mark_tick(thickness=3, size=20, color=INK).encode(
        x=alt.X("p50_ms:Q", title=title), color=alt.value(INK)
    )
    said = "; ".join(f"{value['row']}: {value['p50_ms']:.3g} ms" for value in values)
    return Figure(
        name=f"latency-by-exit-{number}",
        title="Latency by exit",
        alternative=f"Median forward latency by model and block of the exit: {said}.",
        spec=finish_chart(whisker + box + median, max(len(order) * ROW_HEIGHT, 80)),
        columns=("model", *EXIT_COLUMNS, "samples", "p10", "p25", "p50", "p75", "p90"),
        rows=[
            (
                row["model"],
                *format_exit(row["exit_block"], row["depth"]),
                row["samples"],
                *(format_fixed(row[f"p{p}_ms"], 3) for p in (10, 25, 50, 75, 90)),
            )
            for row in known
        ],
    )


def calibration_figure(rows: Sequence[Row], models: Sequence[str], number: int) -> Figure | None:
    """Draws how often each gate's exit is right, by the gate's score.

    Colours are gates; of several passes, models, whose gates differ by dashes.
    """
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
    gates = {value["gate"]: row["model"] for value, row in zip(values, rows, strict=True)}
    if passes == 1:
        legend = make_legend(list(gates))
        style = {"color": alt.Color("gate:N", title=None, sort=list(gates), legend=legend)}
    else:
        style = style_lines("gate", gates, models)
    line = (
        make_chart(values)
        .mark_line(point=alt.OverlayMarkDef(size=40), strokeWidth=2)
        .encode(x=x, y=y, **style)
    )
    ends = [{"gate_score": 0, "acc1": 0}, {"gate_score": 1, "acc1": 100}]
    calibrated = (
        make_chart(ends).mark_line(strokeDash=[4, 4], color=INK, opacity=0.5).encode(x=x, y=y)
    )
    aurocs = {value["gate"]: row["gate_auroc"] for value, row in zip(values, rows, strict=True)}
    said = "; ".join(f"{gate}: {format_fixed(auroc, 3)}" for gate, auroc in aurocs.items())
    return Figure(
        name=f"gate-calibration-{number}",
        title="Gate calibration",
        alternative=(
            "How often an exit is right, by the score of its gate, in ten parts of equal size."
            f" Area under the ROC of each gate (1 is perfect, 0.5 chance): {said}."
        ),
        spec=finish_chart(calibrated + line if is_share else line, HEIGHT),
        columns=("model", *EXIT_COLUMNS, "part", "images", "mean score", "right, %"),
        rows=[
            (
                row["model"],
                *format_exit(row["exit_block"], None),  # exits with a gate
                row["part"],
                row["images"],
                format_fixed(row["gate_score"], 3),
                format_fixed(row["acc1"], 1),
            )
            for row in rows
        ],
    )
