"""Time of each component in a run's forward passes, as text. Figures come from SQL."""

from __future__ import annotations

from itertools import groupby

import storage
from jobs.common.errors import UsageError
from jobs.common.formatting import Row, format_fixed, format_setting
from jobs.common.tables import text_table


def profile(root: storage.Root, run_id: str) -> str:
    """Formats a table per profile of a run, with the cost of profiling.

    Raises:
        UsageError: the run has no profile, or none yet.
    """
    rows = storage.named_query(root, "component_times", run_ids=[run_id], run_id=run_id).to_pylist()
    if not rows:
        raise UsageError(_why_nothing(root, run_id))
    groups = groupby(rows, key=lambda row: row["cell_id"])
    return "\n".join(_profile_table(list(group)) for _, group in groups)


def has_profile(root: storage.Root, run_id: str) -> bool:
    """Whether a run measures a profile."""
    return bool(_states(root, run_id))


def _profile_table(rows: list[Row]) -> str:
    """The components of one cell."""
    *parts, profiling = rows  # the query puts it last
    first, total_ms = rows[0], sum(row["ms_per_image"] for row in parts)
    columns = ("component", "calls/image", "ms/image", "%")
    cells = [
        (
            row["component"],
            row["calls_per_image"],
            format_fixed(row["ms_per_image"], 4),
            format_fixed(row["share_pct"], 1),
        )
        for row in parts
    ]
    return (
        f"{first['model']} on {format_setting(first)}, batch {first['batch_size']}\n"
        f"{text_table(columns, cells)}"
        f"{total_ms:.4f} ms per image, mean of {first['images']:,}; profiling itself took"
        f" {profiling['ms_per_image']:.4f} of it ({profiling['share_pct']:.1f} %)\n"
    )


def _why_nothing(root: storage.Root, run_id: str) -> str:
    if states := _states(root, run_id):
        found = ", ".join(sorted(states))
        return f"run {run_id} has no profile yet ({found}): see gfjobs status {run_id}"
    return (
        f"run {run_id} has no profile; set measure: [accuracy, latency, profile] in its grid and"
        " submit it as a new run"
    )


def _states(root: storage.Root, run_id: str) -> set[str]:
    """The states of the cells of kind `profile`."""
    cells = storage.named_query(root, "status", run_ids=[run_id], run_id=run_id).to_pylist()
    return {cell["status"] for cell in cells if cell["kind"] == "profile"}
