"""Charts of models under load: the response by rate of arrivals, and images per second by batch."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from jobs.common.formatting import Row, format_fixed, format_model, format_threshold
from jobs.report.figures.style import HEIGHT, Figure, finish_chart, make_chart, style_lines

_PERCENTILES = (99, 90, 50)  # the first that any cell has is drawn


def responses_figure(rows: Sequence[Row], models: Sequence[str], number: int) -> Figure | None:
    """Draws a percentile of the response by rate: measured as a line, simulated as crosses.

    Args:
        rows: `ServedCell.figures` of one setting.
        models: all of the page.
        number: of the setting.

    Returns: None if no cell has a percentile.
    """
    found = (p for p in _PERCENTILES if any(_measured(row, p) is not None for row in rows))
    percentile = next(found, None)
    if percentile is None:
        return None
    points = [
        {"model": _name(row), "rate": row["arrivals_per_s"], "ms": ms, "how": how}
        for row in rows
        for how, ms in (
            ("measured", _measured(row, percentile)),
            ("simulated", row[f"simulated_p{percentile}_ms"]),
        )
        if ms is not None
    ]
    drawn = {point["model"] for point in points}
    lines = {name: row["model"] for row in rows if (name := _name(row)) in drawn}
    style = style_lines("model", lines, models)
    base = make_chart(points).encode(
        x=alt.X("rate:Q", title="requests per second"),
        y=alt.Y("ms:Q", title=f"p{percentile} of the response, ms"),
        color=style["color"],
        tooltip=[alt.Tooltip(f"{each}:N") for each in ("model", "rate", "ms", "how")],
    )
    line = base.transform_filter("datum.how == 'measured'").mark_line(point=True, strokeWidth=2)
    line = line.encode(**style)
    cross = base.transform_filter("datum.how == 'simulated'").mark_point(shape="cross", size=60)
    said = "; ".join(
        f"{point['model']} at {point['rate']:g} per second: {point['ms']:.3g} ms"
        for point in points
        if point["how"] == "measured"
    )
    overloaded = sum(row["is_overloaded"] is True for row in rows)
    more = f" Overloaded, without a point: {overloaded}." if overloaded else ""
    return Figure(
        name=f"response-by-rate-{number}",
        title=f"Response under load, p{percentile}; crosses are simulated from exit costs",
        alternative=f"p{percentile} of the response, as measured. {said}.{more}",
        spec=finish_chart(line + cross, HEIGHT),
        columns=(
            *("model", "threshold", "per second", "busy %", "p50", "p90", "p99"),
            *("simulated p99", "error of p99"),
        ),
        rows=[
            (
                row["model"],
                format_threshold(row),
                f"{row['arrivals_per_s']:g}",
                format_fixed(row["busy_pct"], 0),
                *_percentiles(row),
                format_fixed(row["simulated_p99_ms"], 2),
                _percent(row["p99_error_pct"]),
            )
            for row in rows
        ],
    )


def _measured(row: Row, percentile: int) -> float | None:
    value: float | None = row[f"p{percentile}_ms"]
    return None if row["is_valid"] is False else value


def _percentiles(row: Row) -> list[str]:
    if row["is_valid"] is False:
        return ["INVALID", "–", "–"]
    if row["is_overloaded"]:
        return ["overloaded", "–", "–"]
    return [format_fixed(row[f"p{percentile}_ms"], 2) for percentile in (50, 90, 99)]


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:+.1f} %"


def throughput_figure(rows: Sequence[Row], models: Sequence[str], number: int) -> Figure | None:
    """Draws images per second by batch size, a line per model and threshold; None without any."""
    known = [
        row for row in rows if row["images_per_s"] is not None and row["is_valid"] is not False
    ]
    if not known:
        return None
    points = [
        {"model": _name(row), "batch": row["batch_size"], "rate": row["images_per_s"]}
        for row in known
    ]
    lines = {_name(row): row["model"] for row in known}
    chart = (
        make_chart(points)
        .mark_line(point=True, strokeWidth=2)
        .encode(
            x=alt.X("batch:Q", title="images per batch", scale=alt.Scale(type="log", base=2)),
            y=alt.Y("rate:Q", title="images per second"),
            tooltip=[alt.Tooltip(f"{each}:N") for each in ("model", "batch", "rate")],
            **style_lines("model", lines, models),
        )
    )
    said = "; ".join(
        f"{_name(row)}: {row['images_per_s']:.4g} at batch {row['batch_size']}"
        for row in known
        if row["is_best"]
    )
    return Figure(
        name=f"throughput-by-batch-{number}",
        title="Images per second by batch size",
        alternative=f"The most images per second of each model, with loading. {said}.",
        spec=finish_chart(chart, HEIGHT),
        columns=("model", "threshold", "batch", "images/s", "forward images/s", "best"),
        rows=[
            (
                row["model"],
                format_threshold(row),
                row["batch_size"],
                format_fixed(row["images_per_s"], 1),
                format_fixed(row["forward_images_per_s"], 1),
                "yes" if row["is_best"] else "",
            )
            for row in known
        ],
    )


def _name(row: Row) -> str:
    return format_model(row["model"], format_threshold(row))
