"""A verdict as text: what is reported, what was measured again, what could not be judged."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator

import storage
from jobs.analysis.regressions.judge import WORST_FIRST, NightVerdict
from jobs.common.formatting import format_host, format_model, format_threshold
from jobs.common.tables import text_table
from jobs.common.text import WIDTH, format_remarks

_DIGITS = {"accuracy": 2, "latency": 3, "energy": 3}
_NAMED = 2
_METRICS = {"accuracy": "acc@1 %", "latency": "ms", "energy": "mJ"}


def describe_judgements(verdict: NightVerdict) -> str:
    """Format all rows, worst first; a table for each data set, the one with the worst row first."""
    counts = Counter(row.verdict for row in verdict.rows)
    counted = ", ".join(f"{counts[name]} {name}" for name in WORST_FIRST if counts[name])
    ordered = sorted(verdict.rows, key=lambda row: WORST_FIRST.index(row.verdict))
    notes = format_remarks(_notes(ordered))
    datasets = dict.fromkeys(row.dataset for row in ordered)
    tables = [
        text_table(
            _COLUMNS,
            [_cells(row) for row in ordered if row.dataset == dataset],
            dataset if len(datasets) > 1 else None,
            pipe_width=WIDTH,
        )
        for dataset in datasets
    ]
    parts = [f"{verdict.run_id}: {counted or 'nothing to judge'}\n", *tables, notes]
    return "\n".join(part for part in parts if part)


_COLUMNS = ("verdict", "model", "t", "metric", "expected", "found", "change", "95 %")


def _cells(row: storage.RegressionRow) -> tuple[object, ...]:
    unit = "" if row.metric == "accuracy" else " %"
    digits = _DIGITS[row.metric]
    expected, value = (
        "–" if number is None else f"{number:.{digits}f}" for number in (row.expected, row.value)
    )
    change, interval = "–", "–"
    if row.effect_pct is not None and row.low is not None and row.high is not None:
        change = f"{row.effect_pct:+.1f}{unit}"
        interval = f"{row.low:+.1f}…{row.high:+.1f}"
    threshold = format_threshold(dataclasses.asdict(row))
    metric = _METRICS[row.metric] + (" drift" if row.kind == "drift" else "")
    return row.verdict, row.model, threshold, metric, expected, value, change, interval


def _notes(rows: list[storage.RegressionRow]) -> Iterator[str]:
    """Yield each remark on rows once, with the rows it applies to."""
    about: dict[str, list[str]] = {}
    for row in rows:
        said = [row.note] if row.note else []
        if row.verdict in ("regression", "suspect", "improvement") and row.metric != "accuracy":
            kind = "from the pinned baseline" if row.kind == "drift" else "from the nights before"
            said.insert(0, f"{row.kind} {kind}, {row.nights} nights")
        if row.confirmed_run_id:
            said.append(f"measured again in {row.confirmed_run_id}")
        if row.known_since:
            said.append(f"known since {row.known_since}, not reported again")
        if said:
            where = format_host(dataclasses.asdict(row))
            model = format_model(row.model or "–", format_threshold(dataclasses.asdict(row)))
            name = f"{row.metric} of {model}, {where}"
            about.setdefault("; ".join(said), []).append(name)
    for text, named in about.items():
        rest = len(named) - _NAMED
        more = f" and {rest} more" if rest > 0 else ""
        yield f"{'; '.join(named[:_NAMED])}{more}: {text}"
