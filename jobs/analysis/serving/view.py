"""Formats what `gfjobs choose --max-p99-ms` prints."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jobs.analysis.serving.gaps import (
    explain_candidates,
    explain_few_times,
    explain_rates,
    explain_refuted,
)
from jobs.analysis.serving.limit import P99_SAMPLES, Candidate, RateLimit
from jobs.common.formatting import (
    SETTING,
    Row,
    format_accuracy,
    format_axes,
    format_fixed,
    format_setting,
)
from jobs.common.tables import text_table
from jobs.common.text import fold

MOST_LISTED = 12
"""Simulated candidates that are listed: those nearest to the chosen one in accuracy."""


def describe_candidates(
    best: Candidate, every: Sequence[Candidate], limit_ms: float, left_out: Sequence[str] = ()
) -> str:
    """Describe the chosen model and threshold, what it was compared with, and what it was not."""
    how = "simulated from exit costs, not measured" if best.is_simulated else "as measured"
    listed = sorted(
        every, key=lambda each: (each is not best, abs((each.acc1 or 0.0) - (best.acc1 or 0.0)))
    )
    shown = {id(each) for each in listed[:MOST_LISTED]}
    axes = _find_varying([each.row for each in every])
    rows = [
        (
            each.name,
            *format_axes(each.row, axes),
            format_fixed(each.acc1, 2),
            format_fixed(each.p99_ms, 2),
            "chosen" if each is best else "" if _is_within(each, limit_ms) else "no",
        )
        for each in every
        if id(each) in shown
    ]
    accuracy = format_accuracy({**best.row, "acc1": best.acc1}) if best.acc1 is not None else ""
    lines = [
        f"asked: the highest accuracy with a p99 of at most {limit_ms:g} ms at {best.per_s:g}/s",
        f"chosen: {best.name}, acc@1 {accuracy or 'not known'}, p99 {best.p99_ms:.2f} ms, {how}",
        format_setting(best.row),
    ]
    more = len(every) - len(rows)
    said = explain_refuted([each for each in listed[:MOST_LISTED] if _is_within(each, limit_ms)])
    said += [f"{more} more were simulated"] if more else []
    if not best.is_simulated:
        said.append("only what was served at this rate is compared, no other threshold")
    if best.is_simulated:
        seconds = math.ceil(P99_SAMPLES / best.per_s)
        said.append(
            "to be sure, serve it for as long as a p99 needs: measure: [serving], serving:"
            f" {{arrivals: [{best.per_s:g}], seconds: {seconds}}}"
        )
    said += explain_few_times(each.timed for each in every)
    said += explain_candidates([each for each in every if id(each) in shown])
    said += [f"not compared: {reason}" for reason in left_out]
    if lender := best.row.get("accuracy_from"):
        said.append(
            f"accuracy is borrowed from {lender}; ±: the device's own is within this in 95 % of"
            " samples"
        )
    table = text_table(("", *axes, "acc@1", "p99 ms", f"within {limit_ms:g} ms"), rows)
    parts = ["".join(f"{fold(line, indent='')}\n" for line in lines), table]
    return "\n".join([*parts, "".join(f"{fold(f'– {each}')}\n" for each in said)])


def _find_varying(rows: Sequence[Row]) -> list[str]:
    """Return the parts of the setting of which the rows have several values."""
    return [name for name in SETTING if len({row[name] for row in rows}) > 1]


def _is_within(each: Candidate, limit_ms: float) -> bool:
    return each.p99_ms is not None and each.p99_ms <= limit_ms


def describe_rates(found: Sequence[RateLimit], limit_ms: float) -> str:
    """Tabulate how fast requests may arrive at each model and threshold."""
    axes = _find_varying([each.row for each in found])
    rows = [
        (
            each.name,
            *format_axes(each.row, axes),
            format_fixed(each.acc1, 2),
            f"{each.measured.per_s:g}" if each.measured else "–",
            format_fixed(each.measured.p99_ms if each.measured else None, 2),
            _rate(each.simulated_per_s),
        )
        for each in found
    ]
    columns = ("", *axes, "acc@1", "measured\n/s", "p99 ms\nthere", "simulated\n/s")
    best = max(
        (each for each in found if each.measured),
        key=lambda each: (each.measured.per_s if each.measured else 0.0, each.acc1 or 0.0),
        default=None,
    )
    places = dict.fromkeys(format_setting(each.row) for each in found)
    lines = [
        f"asked: the highest rate of arrivals with a p99 of at most {limit_ms:g} ms",
        f"chosen: {best.name}, at {best.measured.per_s:g}/s as measured"
        if best and best.measured
        else "chosen: none; no served rate is known to be within it",
        *places,
    ]
    head = "".join(f"{fold(line, indent='')}\n" for line in lines)
    note = (
        "– measured: the highest served rate up to which every one is within the limit; simulated:"
        " from exit costs, at any rate"
    )
    lenders = sorted({lender for each in found if (lender := each.row.get("accuracy_from"))})
    borrowed = "".join(
        f"{fold(f'– accuracy is borrowed from {lender}; `gfjobs curve` has its bound')}\n"
        for lender in lenders
    )
    said = [
        *filter(None, map(_explain_refuted, found)),
        *explain_few_times(each.timed for each in found),
        *explain_rates(found),
    ]
    why = "".join(f"{fold(f'– {each}')}\n" for each in said)
    return f"{head}\n{text_table(columns, rows)}\n{fold(note)}\n{why}{borrowed}"


def _explain_refuted(each: RateLimit) -> str | None:
    """Say if a lower rate than the simulated one was measured to be above the limit."""
    cell = each.refuting
    if cell is None or cell.per_s > (each.simulated_per_s or 0.0):
        return None
    of = f" of {cell.name}" if cell.name != each.name else ""
    return (
        f"{each.name}: do not rely on {_rate(each.simulated_per_s)}/s as simulated, since"
        f" {cell.floor[1]} was measured{of} at {cell.per_s:g}/s"
    )


def _rate(per_s: float | None) -> str:
    if per_s is None:
        return "–"
    return f"{per_s:.3g}" if per_s else "none"
