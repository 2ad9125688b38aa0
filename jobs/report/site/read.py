"""Reads what a site shows of many runs: each question is asked once for a batch of runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import storage
from jobs.common.formatting import Row
from jobs.report.read import Report, ask_figures, make_report

BATCH = 60
"""Runs per question: more take memory, fewer take time."""

DAMAGED = "damaged"
"""The status of a run that is left out of every answer."""

_FINDINGS = """
    FROM regressions
    WHERE verdict IN ('regression', 'suspect', 'improvement')
    ORDER BY run_id, model, metric
"""


class RunFigures(NamedTuple):
    """A run's report without what takes long, and the rows of its ladder as an Arrow table."""

    report: Report
    ladder: Any


def read_progress(root: storage.Root) -> list[Row]:
    """Returns the rows of `run_progress`: all runs, newest first.

    A run that is damaged, and so left out of every answer, is there without counts.
    """
    rows: list[Row] = storage.named_query(root, "run_progress").to_pylist()
    known = {row["run_id"]: row for row in rows}
    return [known.get(run.run_id) or _damaged(run) for run in storage.list_runs(root)]


def read_figures(root: storage.Root, progress: Sequence[Row]) -> Iterator[RunFigures]:
    """Yields the report of each run, without what takes long.

    That is all that `Report.is_whole` stands for, and the intervals of mean latencies: their
    bootstrap takes longer than everything else together.

    Args:
        root: the results root.
        progress: rows of `run_progress`; a run that was removed meanwhile is left out.
    """
    details = {run.run_id: run for run in storage.list_runs(root)}
    there = [row for row in progress if row["run_id"] in details]
    for start in range(0, len(there), BATCH):
        batch = there[start : start + BATCH]
        tables, damaged = _ask(root, [row["run_id"] for row in batch])
        answers = {name: _grouped(table.to_pylist()) for name, table in tables.items()}
        ladders = _sliced(tables["summary"])
        for row in batch:
            run_id = row["run_id"]
            of_run = {name: rows.get(run_id, ()) for name, rows in answers.items()}
            run = {**row, "status": DAMAGED} if run_id in damaged else row
            report = make_report(run, details[run_id], of_run)
            yield RunFigures(report, ladders.get(run_id, tables["summary"].slice(length=0)))


def read_series(root: storage.Root) -> list[Row]:
    """Returns the rows of `series`: every model's figures over all runs."""
    rows: list[Row] = storage.named_query(root, "series").to_pylist()
    return rows


def read_findings(root: storage.Root) -> Mapping[str, Sequence[Row]]:
    """Returns the verdicts that say something, by run."""
    rows: list[Row] = storage.query(root, _FINDINGS).to_pylist()
    return _grouped(rows)


def _ask(root: storage.Root, run_ids: Sequence[str]) -> tuple[dict[str, Any], Collection[str]]:
    """Asks all questions about some runs; of those that are damaged, which it names, nothing."""
    try:
        return ask_figures(root, run_ids), ()
    except storage.DamagedError:
        damaged = {run_id for run_id in run_ids if _is_damaged(root, run_id)}
        whole = [run_id for run_id in run_ids if run_id not in damaged]
        return ask_figures(root, whole), damaged


def _is_damaged(root: storage.Root, run_id: str) -> bool:
    try:
        ask_figures(root, [run_id])
    except storage.DamagedError:
        return True
    return False


def _damaged(run: storage.RunRow) -> Row:
    """Stands for the row of a run that is left out of every answer."""
    counts = ("cells", "queued", "running", "done", "failed", "skipped", "cancelled", "rows")
    return {
        "run_id": run.run_id,
        "name": run.name,
        "status": DAMAGED,
        "submitted_at": run.submitted_at,
        "finished_at": run.finished_at,
        **dict.fromkeys(counts, 0),
    }


def _sliced(table: Any) -> dict[str, Any]:
    """Returns the rows of each run of a table in which they stand together."""
    names: list[str] = table["run_id"].to_pylist()
    counts = Counter(names)
    return {run_id: table.slice(names.index(run_id), count) for run_id, count in counts.items()}


def _grouped(rows: Sequence[Row]) -> Mapping[str, Sequence[Row]]:
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row["run_id"], []).append(row)
    return grouped
