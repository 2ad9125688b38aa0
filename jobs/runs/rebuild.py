"""Rebuilds a run's row and cells from its grid, if a file of the run is damaged."""

from __future__ import annotations

from dataclasses import replace

import gfnet
import storage
from jobs.common.errors import JobsError
from jobs.common.yaml_document import Document
from jobs.driver.cell_states import CellStates, queued_rows
from jobs.plan.plan import Plan, plan_document
from jobs.runs.amend import relabel
from jobs.runs.resolved_inputs import (
    compare_inputs,
    describe_differences,
    find_relabelled,
    resolve_inputs,
)
from jobs.runs.saved_submission import read_grid_folders, read_inputs, read_later


def rebuild_plan(remains: storage.Remains) -> storage.Replanned | str:
    """Plan a run's grid again, and check it against the commits.

    The cells are those that the run had if names resolve to what they did, and if every committed
    row belongs to a cell of the grid.

    Returns: the run; or a text why it cannot be rebuilt.
    """
    submission = remains.submission
    text = submission.get("grid") or (remains.run.grid if remains.run else None)
    if not text or not submission.get("meanings"):
        return "its submission.json does not record its grid and resolved inputs"
    try:
        path, base = read_grid_folders(remains.run_id, submission)
        then, _ = read_inputs(submission) or {}, read_later(submission)
        document = Document(path, text)
        plan = plan_document(document, base, None)
    except (JobsError, gfnet.CheckpointError, storage.StorageError) as err:
        return f"its grid cannot be planned: {err}"
    plan = relabel(plan, find_relabelled(then, resolve_inputs(plan.cells)))
    if differing := describe_differences(compare_inputs(then, resolve_inputs(plan.cells))):
        return f"its grid resolves to something else today:\n{differing}"
    rows = _rows(remains, plan)
    unknown = {entry.cell_id for entry in remains.entries}.difference(row.cell_id for row in rows)
    if unknown:
        return (
            "rows are committed for cells that its grid no longer has:"
            f" {', '.join(sorted(unknown))}"
        )
    return storage.Replanned(remains.run or _run(remains, document, plan, rows), tuple(rows))


def _rows(remains: storage.Remains, plan: Plan) -> list[storage.CellRow]:
    """The stored cells if they can be read, else cells rebuilt from the commits."""
    if remains.cells is not None:
        return list(remains.cells)
    plan = replace(plan, later=read_later(remains.submission))
    queued = queued_rows(plan, remains.run_id)
    return CellStates(
        plan,
        queued,
        remains.entries,
        remains.nodes,
        throttled=remains.throttled,
        unanswered=remains.unanswered,
    ).rows


def _run(
    remains: storage.Remains, document: Document, plan: Plan, rows: list[storage.CellRow]
) -> storage.RunRow:
    times = sorted(entry.committed_at for entry in remains.entries if entry.committed_at)
    is_done = all(row.status in ("done", "skipped") for row in rows)
    return storage.RunRow(
        run_id=remains.run_id,
        name=plan.grid.name,
        grid=document.text,
        baseline=plan.grid.baseline,
        status="done" if is_done else "failed",
        submitted_at=times[0] if times else None,
        finished_at=times[-1] if times else None,
    )
