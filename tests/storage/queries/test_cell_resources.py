"""What a cell took of its workers besides time, from the entries of its commits."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tests.storage.conftest import NOON

if TYPE_CHECKING:
    import storage
    from tests.storage.in_memory import InMemory

QUERY = "SELECT * EXCLUDE (run_id, cell_id, kind, model, dataset, device) FROM cell_resources"


def commit(build: InMemory, cell: storage.CellRow, shard: int, **taken: Any) -> None:
    """Plan a commit, `shard` minutes after noon, of a task that took something."""
    build.commit(cell, 0, shard)
    entry, tables = build.tables[-1]
    at = NOON + timedelta(minutes=shard)
    build.tables[-1] = dataclasses.replace(entry, committed_at=at, **taken), tables


def test_start_of_the_first_worker_and_peaks_of_all(in_memory: InMemory) -> None:
    """The second worker's start is warm, and its peak higher."""
    cell = in_memory.cell(runtime="onnx", checkpoint_bytes=4096)
    commit(in_memory, cell, 2, load_s=0.1, build_s=0.2, first_answer_s=0.4, peak_process_bytes=900)
    commit(in_memory, cell, 1, load_s=1.0, build_s=9.0, first_answer_s=11.0, peak_process_bytes=800)
    commit(in_memory, cell, 0, peak_process_bytes=700)
    in_memory.store()
    (row,) = in_memory.query(QUERY)
    assert row["checkpoint_bytes"] == 4096
    assert (row["load_s"], row["build_s"], row["first_answer_s"]) == (1.0, 9.0, 11.0)
    assert (row["peak_process_bytes"], row["peak_device_bytes"]) == (900, None)
    assert row["note"] == "peak_device_bytes: torch counts none there"


def test_each_figure_that_is_null_has_a_reason(in_memory: InMemory) -> None:
    """Also those of a run from before there were any."""
    for runtime in ("torch", "compile"):
        commit(in_memory, in_memory.cell(runtime=runtime), 0)
    in_memory.store()
    eager, compiled = (row["note"].split("; ") for row in in_memory.query(QUERY))
    assert [reason.split(":")[0] for reason in eager] == [
        "load_s",
        "build_s",
        "peak_process_bytes",
        "peak_device_bytes",
    ]
    assert eager[1] == "build_s: eager float32 is the model itself"
    assert compiled[1] == "build_s: built for an earlier cell, or by an earlier gfjobs"
