"""The curve of a run for the terminal: a text chart, with tables of some of its points."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.analysis.curve import Curves, explain_borrowed, select_undominated, thin_out
from jobs.common.formatting import (
    Row,
    energy_sources,
    format_accuracy,
    format_blocks,
    format_error,
    format_fixed,
    format_float32,
    format_model,
    format_threshold,
)
from jobs.common.tables import long_table, text_table
from jobs.common.text import fold, format_paragraphs
from jobs.common.text_chart import character_chart

_VERDICTS = {"within": "", "unclear": ", unclear", "beyond": ", too much"}
"""Said after an error."""


def draw_curves(curves: Curves, *, is_all: bool = False) -> str:
    """Formats a setting's curves as a text chart, with a table of some of their points.

    Args:
        curves: of one setting.
        is_all: whether the table includes dominated points.
    """
    named = {
        name: [(row[curves.cost], row["acc1"]) for row in points]
        for name, points in curves.models.items()
    }
    heading = f"{fold(curves.title)}\nacc@1, percent, by {curves.cost_label}"
    if not named:
        return f"{heading}\n\nno model has a curve\n"
    chart = character_chart(named, "ms" if curves.cost == "forward_ms" else "blocks", "acc@1")
    tables = [_points_table(curves, is_all=is_all)]
    if curves.routed:
        tables.append(_routed_table(curves.routed, "forward_ms", is_all=is_all))
    if curves.energies:
        tables.append(_energies(curves.energies, is_all=is_all))
    return f"{heading}\n\n{chart}\n\n" + "\n".join(tables)


def _points_table(curves: Curves, *, is_all: bool) -> str:
    """Some points of each model: of the undominated ones, or of all."""
    shown = {**curves.models, **curves.untimed}
    has_errors = any(format_error(row) for points in shown.values() for row in points)
    columns = (
        *("model", "t", "acc@1", "blocks", "ms"),
        *(["error"] if has_errors else []),
        *(["dominated"] if is_all else []),
    )
    rows = [
        (
            name,
            "–" if row["threshold"] is None else format_float32(row["threshold"]),
            format_accuracy(row),
            format_blocks(row),
            format_fixed(row["forward_ms"], 3),
            *([format_error(row)] if has_errors else []),
            *(["yes" if row["is_dominated"] else ""] if is_all else []),
        )
        for name, points in shown.items()
        for row in thin_out(points if is_all else select_undominated(points))
    ]
    title = "some of all operating points" if is_all else "the frontier: points that no other beats"
    return f"{text_table(columns, rows, title)}\n{_explained(curves, is_all=is_all)}"


def _explained(curves: Curves, *, is_all: bool) -> str:
    """Explains the columns, and what the table omits."""
    cost = "ms" if curves.cost == "forward_ms" else "blocks"
    beaten = f"another point is as accurate for fewer {cost}, or more accurate for no more"
    said = ["– t: an image exits at the first gate whose score is at least t"]
    if is_all:
        said.append(f"– dominated: {beaten}")
    else:
        for name, points in {**curves.models, **curves.untimed}.items():
            if points[0]["threshold"] is not None:
                best = points[0]["undominated_points"]
                listed = len([*thin_out(select_undominated(points))])
                of_all = f"{best} of {points[0]['points']:,} points are on the frontier"
                shown = f" ({listed} listed)" if listed < best else ""
                said.append(f"– {name}: {of_all}{shown}; for each other one (--all), {beaten}")
            elif points[0]["is_dominated"]:
                said.append(f"– {name} is not on the frontier: {beaten}")
    every = [row for points in {**curves.models, **curves.untimed}.values() for row in points]
    said += [f"– {line}" for line in explain_borrowed(every)]
    verdicts = {points[0].get("forward_ms_verdict") for points in curves.models.values()}
    if verdicts & {"unclear", "beyond"}:
        said.append(
            "– error: of composed ms, at the routed threshold where it is worst; not shown to be"
            " within 2 %"
        )
    if "beyond" in verdicts:
        said.append(
            "– ?: beyond 2 %, so these ms are not promised: `gfjobs choose` uses blocks, and no"
            " other model is compared"
        )
    return format_paragraphs(said)


def _routed_table(routed: Sequence[Row], figure: str, *, is_all: bool) -> str:
    """Compares the values composed of exit costs with the routed measurements."""
    unit = figure.rpartition("_")[2]
    shown, cost = {"ms": ("ms", "costs"), "mj": ("mJ", "energies")}[unit]
    has_interval = any(row.get("error_low_pct") is not None for row in routed)
    columns = (
        *("model", "t", f"routed {shown}", f"composed {shown}", "error"),
        *(["95 %"] if has_interval else []),
    )
    rows = [
        (
            row["model"],
            format_threshold(row),
            format_fixed(row[figure], 3),
            format_fixed(row[f"composed_{unit}"], 3),
            _error(row),
            *([_interval(row)] if has_interval else []),
        )
        for row in routed
    ]
    title = f"composed of exit {cost}, compared with routed"
    return long_table(columns, rows, "rows", title, is_all=is_all)


def _error(row: Row) -> str:
    """The error of a composed value, with the verdict; of energies, whose intervals are unknown."""
    if row["error_pct"] is None:
        return "–"
    verdict = row.get("verdict") or ("within" if row["is_within"] else "beyond")
    return f"{row['error_pct']:+.1f} %" + _VERDICTS[verdict]


def _interval(row: Row) -> str:
    if row["error_low_pct"] is None:
        return "–"
    return f"{row['error_low_pct']:+.1f} to {row['error_high_pct']:+.1f} %"


def _energies(rows: Sequence[Row], *, is_all: bool) -> str:
    """Composed energies compared with routed ones, their sources, and why some are missing."""
    composed = [row for row in rows if row["composed_mj"] is not None]
    noted = [row for row in rows if row.get("note")]
    said = [
        f"– {format_model(row['model'], format_threshold(row))}: {row['note']}" for row in noted
    ]
    said += [f"– {line}" for line in energy_sources(rows)]
    tables = [_routed_table(composed, "energy_mj", is_all=is_all)] if composed else []
    return "\n".join([*tables, *([format_paragraphs(said)] if said else [])])
