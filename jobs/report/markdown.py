"""A run as Markdown, for a paper or a pull request: ladder, frontier, provenance."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from jobs.analysis.curve import make_curves, select_undominated, thin_out
from jobs.common.formatting import (
    SETTING,
    format_accuracy,
    format_blocks,
    format_error,
    format_fixed,
    format_setting,
)
from jobs.common.tables import format_value, markdown_table
from jobs.report.ladder import collect_notes, describe_missing, make_ladder
from jobs.report.read import Report, Setting, select_setting

_SPECIAL = re.compile(r"([\\`*_\[\]#~])")
# A lone pair of backquotes. Not with a pipe in it: where a table's cell ends, code would not.
_QUOTED = re.compile(r"(?<!`)(`[^`|]+`)(?!`)")
_MARKUP = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def markdown_report(report: Report) -> str:
    """Formats the report as a Markdown document."""
    details = report.details
    made = [
        f"run {text(report.run['run_id'])}",
        f"{text(report.run['status'])}, {report.run['done']} of {report.run['cells']} cells done",
        f"submitted {format_value(details.submitted_at)} UTC",
        f"gfjobs {text(details.gfjobs_version or 'of unknown version')}"
        + (f" at {text(details.git_revision[:12])}" if details.git_revision else ""),
    ]
    lines = [f"# {text(details.name or details.run_id)}\n", f"{'; '.join(made)}.\n"]
    for setting in report.settings:
        lines += _setting(report, setting)
    lines += ["## Provenance\n", _table(("what", "name", "sha256"), _inputs(report))]
    lines += [_table(("node", "device", "accelerator", "power"), _machines(report))]
    if report.unusable:
        lines += ["## Invalid or missing\n", _table(("cell", "status", "why"), _bad(report))]
    return "\n".join(lines)


def text(value: object) -> str:
    """Escapes a text for Markdown, so that nothing in it acts as markup or HTML.

    What it quotes in backquotes becomes code, in which Markdown knows no escapes.
    """
    parts = _QUOTED.split(" ".join(format_value(value).split()))
    parts[::2] = map(_escape, parts[::2])
    return "".join(parts)


def _escape(plain: str) -> str:
    escaped = "".join(_MARKUP.get(char, char) for char in plain)
    return _SPECIAL.sub(r"\\\1", escaped)


def _setting(report: Report, setting: Setting) -> Iterator[str]:
    if ladder := make_ladder(report, setting):
        yield f"## {text(ladder.title)}\n"
        yield _table(ladder.columns, ladder.rows)
    title = format_setting(dict(zip(SETTING, setting, strict=True)))
    if not ladder or ladder.title != title:
        yield f"## {text(title)}\n"
    rows = select_setting(report.curve, setting)
    if rows:
        curves = make_curves(rows)
        yield "### Frontier, one threshold for all gates\n"
        frontiers = {
            name: select_undominated(model)
            for name, model in {**curves.models, **curves.untimed}.items()
        }
        points = [
            (
                name,
                row["threshold"],
                format_accuracy(row),
                format_blocks(row),
                f"{format_fixed(row['forward_ms'], 3)} {format_error(row)}".rstrip(),
                format_fixed(row["energy_mj"], 2),
            )
            for name, frontier in frontiers.items()
            for row in thin_out(frontier)
        ]
        yield _table(("model", "t", "acc@1", "blocks", "ms", "mJ"), points)
        if (every := sum(map(len, frontiers.values()))) > len(points):
            yield (
                f"{len(points)} of {every} points, evenly spaced; each model's own frontier, at"
                " which no other threshold of that model is better in accuracy and cost.\n"
            )
    notes = [*describe_missing(report, setting), *collect_notes(report, setting)]
    if notes:
        yield "".join(f"- {text(note)}\n" for note in notes)


def _inputs(report: Report) -> Iterator[tuple[object, ...]]:
    for row in report.inputs:
        yield row["kind"], row["name"], (row["sha256"] or "–")[:16]


def _machines(report: Report) -> Iterator[tuple[object, ...]]:
    for row in report.machines:
        yield row["node"], row["device"], row["accelerator"], row["power_source"]


def _bad(report: Report) -> Iterator[tuple[object, ...]]:
    for row in report.unusable:
        status = row["status"] if row["status"] != "done" or row["is_valid"] else "not valid"
        yield f"{row['kind']} of {row['model']}", status, row["note"]


def _table(
    columns: Sequence[str], rows: Iterator[Sequence[object]] | Sequence[Sequence[object]]
) -> str:
    return markdown_table(columns, [[text(value) for value in row] for row in rows])
