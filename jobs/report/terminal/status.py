"""The runs under a root, and the cells of one run, as tables for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import storage
from jobs.common.errors import NEW_BUNDLE
from jobs.common.formatting import (
    Row,
    find_varying,
    format_counted,
    format_kind,
    format_model,
    format_threshold,
    format_variant,
    last_line,
)
from jobs.common.tables import fitting_table, take_first
from jobs.common.text import fold
from jobs.report.terminal.summary import describe_known
from jobs.runs.watch import driver_lines


def runs(root: storage.Root, *, is_all: bool = False) -> str:
    """Lists the runs under a root, newest first; all, or as many as fit a terminal."""
    found = storage.named_query(root, "run_progress").to_pylist()
    skipped = ("skipped",) if any(row["skipped"] for row in found) else ()
    columns = ("run", "status", "submitted, UTC", "done", "failed", *skipped, "images")
    rows = [
        (
            row["run_id"],
            row["status"],
            f"{row['submitted_at']:%Y-%m-%d %H:%M}" if row["submitted_at"] else None,
            f"{row['done']} of {row['cells'] - row['skipped']}",
            row["failed"],
            *(row[name] for name in skipped),
            row["rows"],
        )
        for row in found
    ]
    return fitting_table(columns, rows, "runs", droppable=("images", *skipped), is_all=is_all)


def status(root: storage.Root, run_id: str, *, options: str = "", is_all: bool = False) -> str:
    """Lists a run's cells, counted by status, with the errors and notes of cells.

    Args:
        root: of the run.
        run_id: its name.
        options: what a command to copy needs to find the same root, as ` --results DIR`.
        is_all: all cells, or as many as fit a terminal.
    """
    (run,) = [run for run in storage.list_runs(root) if run.run_id == run_id]
    cells = storage.named_query(root, "status", run_ids=[run_id], run_id=run_id).to_pylist()
    counts = Counter(cell["status"] for cell in cells)
    counted = ", ".join(f"{number} {status}" for status, number in counts.items())
    lines = [f"run {run_id} is {run.status}: {counted}", *driver_lines(root, run_id), ""]
    names = find_varying(cells)
    columns = ("kind", "model", "dataset", *names, "t", "status", "tries", "rows", "of")
    is_one_dataset = len({cell["dataset"] for cell in cells}) == 1
    droppable = ("tries", *(["dataset"] if is_one_dataset else []), "of")
    rows = [
        (
            _kind(cell),
            cell["model"],
            cell["dataset"],
            *(cell[name] for name in names),
            format_threshold(cell),
            cell["status"],
            cell["attempts"],
            cell["rows"],
            _expected_rows(cell),
        )
        for cell in cells
    ]
    table = fitting_table(columns, rows, "cells", droppable=droppable, is_all=is_all)
    lines.append(table.rstrip("\n"))
    aside = storage.named_query(root, "set_aside", run_ids=[run_id], run_id=run_id).to_pylist()
    said, more = take_first([*_remarks(cells, names)], "remarks on cells", is_all=is_all)
    said = [
        *_ended_rounds(cells),
        *said,
        *filter(None, [more]),
        *(f"node {row['node']}: {row['note']}" for row in aside),
    ]
    lines += [*([""] if said else []), *map(fold, said)]
    if run.status == "failed" and not counts["failed"]:
        lines.append("no cell failed: rows are missing, as after `gfjobs fsck --repair`")
    if run.status in ("failed", "interrupted", "cancelled"):
        lines += _resume_advice(cells, f"gfjobs resume {run_id}{options}")
    return "\n".join(lines) + "\n"


def _ended_rounds(cells: Sequence[Row]) -> Iterator[str]:
    """Yields after how many rounds cells were known well enough, with their number."""
    known = Counter(filter(None, map(describe_known, cells)))
    for said, number in known.items():
        yield f"{said}: {format_counted(number, 'cell', 'cells')}"


def _resume_advice(cells: Sequence[Row], command: str) -> list[str]:
    """Return how to go on; not by resuming, if nothing is left but bundles that must be repaired.

    What failed says so itself.
    """
    spoilt = [cell for cell in cells if (cell["error"] or "").endswith(NEW_BUNDLE)]
    if not spoilt:
        return [f"resume with: {command}"]
    to_run = [cell for cell in cells if cell["status"] in ("queued", "failed")]
    is_more = any(cell not in spoilt for cell in to_run)
    return [f"resume the other cells with: {command}"] if is_more else []


def _remarks(cells: Sequence[Row], names: Sequence[str]) -> Iterator[str]:
    """Yields each error and note once, with the first cell that has it and how many more do."""
    about: dict[str, list[str]] = {}
    for cell in cells:
        setting = format_variant(cell, names)
        model = format_model(cell["model"], format_threshold(cell))
        name = f"{_kind(cell)} of {model} on {cell['dataset']}"
        name += setting and f" ({setting})"
        if cell["error"]:
            about.setdefault(f" failed: {last_line(cell['error'])}", []).append(name)
        said = cell["note"] or ""
        for note in filter(None, [said] if cell["status"] == "skipped" else said.split("; ")):
            about.setdefault(f": {note}", []).append(name)
    for said, (first, *others) in about.items():
        more = f" and {format_counted(len(others), 'more cell', 'more cells')}" if others else ""
        yield f"{first}{more}{said}"


def _kind(cell: Row) -> str:
    return format_kind(cell["kind"], cell["arrivals_per_s"], cell["batch_size"])


def _expected_rows(cell: Row) -> int:
    an_image = storage.rows_per_image(cell["kind"], len(cell["exit_blocks"] or ()))
    return int(cell["images"] * cell["rounds"] * an_image)
