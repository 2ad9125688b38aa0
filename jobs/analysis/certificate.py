"""The certificate of a run: whether routed images match the replay of their thresholds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import storage
from jobs.common.errors import UsageError
from jobs.common.formatting import (
    SETTING,
    Row,
    find_varying,
    format_fixed,
    format_model,
    format_setting,
    format_threshold,
    format_variant,
)
from jobs.common.tables import text_table
from jobs.common.text import format_paragraphs

NAMED_FLIPS = 10
"""Number of flips shown; `FROM flips(run)` lists all of them."""


@dataclass(frozen=True)
class Certificate:
    """The result of certifying a run.

    Attributes:
        text: tables and verdict.
        is_clean: whether every route of the run's plan is there and equals its replay.
    """

    text: str
    is_clean: bool


def certify(root: storage.Root, run_id: str) -> Certificate:
    """Compare every routed image of a run with the all-exit pass of the same setting.

    Raises:
        UsageError: the run has nothing to compare, by its plan.
    """
    rows = storage.named_query(root, "certify", run_ids=[run_id], run_id=run_id).to_pylist()
    cells = storage.named_query(root, "status", run_ids=[run_id], run_id=run_id).to_pylist()
    missing = list(_missing(cells))
    if not missing and not any(row["routes"] for row in rows):
        raise UsageError(
            f"run {run_id} has no routed rows with an all-exit pass of the same model, data set,"
            " device, runtime, precision and threads; to certify a run, its grid needs"
            " `measure: [accuracy, latency]` and thresholds written out"
        )
    flips = storage.named_query(
        root, "certify_flips", run_ids=[run_id], run_id=run_id, most=NAMED_FLIPS
    ).to_pylist()
    parts = [_table(list(group)) for _, group in groupby(rows, key=_group)]
    parts += [_flips(flips)] if flips else []
    total = sum(row["flips"] for row in rows)
    verdict = _verdict(rows, total, missing)
    return Certificate("\n".join([*parts, verdict]), is_clean=total == 0 and not missing)


def _missing(cells: Sequence[Row]) -> Iterator[str]:
    """Yields which cells of the plan a certificate lacks, or lacks a part of: a line per kind."""
    routed = {_replayed(cell) for cell in cells if cell["kind"] == "latency"}
    names, found = find_varying(cells), dict[str, dict[str, None]]()
    is_one_dataset = len({cell["dataset"] for cell in cells}) == 1
    for cell in cells:
        if cell["status"] in ("done", "skipped") or _replayed(cell) not in routed:
            continue
        name = format_model(cell["model"], format_threshold(cell))
        name += "" if is_one_dataset else f" on {cell['dataset']}"
        variant = format_variant(cell, names)
        name += variant and f" ({variant})"
        if cell["kind"] == "exits":
            found.setdefault("all-exit pass not done", {})[name] = None
        elif cell["kind"] == "latency":
            lacks = "routed in part" if cell["rows"] else "not routed"
            found.setdefault(lacks, {})[name] = None
    for lacks in sorted(found):
        yield f"{lacks}: {', '.join(found[lacks])}"


def _replayed(cell: Row) -> tuple[object, ...]:
    """What a routed cell has in common with its all-exit pass, before either has a node."""
    return tuple(cell[key] for key in ("model", "dataset", "runtime", "precision", "threads"))


def _group(row: Row) -> tuple[object, ...]:
    return tuple(row[key] for key in SETTING)


def _table(rows: Sequence[Row]) -> str:
    columns = ("model", "t", "batch", "pass", "images", "routes", "flips", "farthest")
    cells = [
        (
            row["model"],
            format_threshold(row),
            row["batch_size"],
            row["exits_batch_size"],
            row["images"],
            row["routes"],
            row["flips"],
            _distance(row["max_gate_distance"]),
        )
        for row in rows
    ]
    return text_table(columns, cells, format_setting(rows[0]))


def _flips(rows: Sequence[Row]) -> str:
    columns = ("model", "image", "round", "routed", "replayed", "t", "score", "distance")
    cells = [
        (
            row["model"],
            row["image_id"],
            row["round"],
            f"{row['routed_prediction']} at {row['routed_exit_block']}",
            f"{row['replayed_prediction']} at {row['replayed_exit_block']}",
            format_fixed(row["threshold"], 6),
            format_fixed(row["gate_score"], 6),
            _distance(row["gate_distance"]),
        )
        for row in rows
    ]
    return text_table(columns, cells, "flips, farthest first: prediction at exit block")


def _distance(value: float | None) -> str | None:
    return None if value is None else f"{value:.1e}"


def _verdict(rows: Sequence[Row], flips: int, missing: Sequence[str]) -> str:
    routes = sum(row["routes"] for row in rows)
    batches = sorted(
        {(row["batch_size"], row["exits_batch_size"]) for row in rows if row["routes"]}
    )
    sizes = ", ".join(f"{routed} against {replayed}" for routed, replayed in batches)
    lines = [f"batch sizes, routed against all-exit pass: {sizes}"] if sizes else []
    if unmatched := sum(row["unmatched"] for row in rows):
        lines.append(f"{unmatched:,} routed rows have no counterpart in the all-exit pass")
    if flips:
        lines.insert(0, f"NOT certified: {flips:,} of {routes:,} routes differ")
        if any(routed != replayed for routed, replayed in batches):
            lines.append("kernels round differently at other batch sizes; to match the router:")
            lines.append("  batch_sizes: {accuracy: 1}")
    elif missing:
        so_far = f" as a whole: all {routes:,} routes so far equal the all-exit pass"
        none = ": no route has its all-exit pass yet"
        lines.insert(0, f"NOT certified{so_far if routes else none}")
    else:
        lines.insert(0, f"certified: all {routes:,} routes equal the all-exit pass")
    return format_paragraphs([*lines, *missing])
