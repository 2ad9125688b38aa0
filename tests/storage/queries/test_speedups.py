"""How many times as fast as eager float32: which row it is compared with, the ratio, reasons."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from storage import CellRow
    from tests.storage.in_memory import InMemory

T_3 = 4.303  # Student's t of three values, 95 %
ONNX = {"runtime": "onnx"}


def _timed(build: InMemory, ms: Sequence[float], **cell: Any) -> CellRow:
    """A cell with these means, one per round; of its two images one takes half as long."""
    made = build.cell(rounds=len(ms), **cell)
    for number, mean in enumerate(ms):
        build.records(made, 2, number, forward_ms=np.array([2 / 3, 4 / 3]) * mean)
    return made


def _speedups(build: InMemory) -> dict[str, dict[str, Any]]:
    build.store()
    return {row["cell_id"]: row for row in build.query("FROM speedups('run-1')")}


def test_the_ratio_of_means_and_its_interval_by_hand(in_memory: InMemory) -> None:
    """2, 2 and 4 ms over 1, 1.1 and 2 ms; that the last round is slow divides out."""
    eager = _timed(in_memory, [2.0, 2.0, 4.0])
    onnx = _timed(in_memory, [1.0, 1.1, 2.0], **ONNX)
    rows = _speedups(in_memory)
    row = rows[onnx.cell_id]
    logs = [math.log(2.0), math.log(2 / 1.1), math.log(2.0)]
    margin = T_3 * statistics.stdev(logs) / math.sqrt(3)
    assert row["speedup"] == pytest.approx(8 / 4.1)
    assert row["speedup_low"] == pytest.approx(8 / 4.1 * math.exp(-margin))
    assert row["speedup_high"] == pytest.approx(8 / 4.1 * math.exp(margin))
    assert row["speedup_note"] is None
    assert row["forward_ms"] == pytest.approx(4.1 / 3)  # and all else of the ladder
    own = rows[eager.cell_id]
    assert (own["speedup"], own["speedup_low"], own["speedup_note"]) == (1.0, None, None)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"checkpoint_sha256": "c9"},
        {"exit_blocks": (1, 3)},
        {"threshold": 0.5},
        {"thresholds": [0.5, 0.6]},
        {"dataset": "other"},
        {"dataset_sha256": "d9"},
        {"device": "gpu"},
        {"node": "node-b"},
        {"threads": 2},
        {"batch_size": 8},
        {"precision": "bfloat16"},
        {"runtime": "compile"},
    ],
)
def test_only_the_same_cell_in_eager_float32_is_compared_with(
    in_memory: InMemory, change: dict[str, Any]
) -> None:
    """Next to another one there is none, and the note says so."""
    _timed(in_memory, [2.0, 2.0], **change)
    onnx = _timed(in_memory, [1.0, 1.0], **ONNX)
    row = _speedups(in_memory)[onnx.cell_id]
    assert (row["speedup"], row["speedup_low"]) == (None, None)
    assert row["speedup_note"] == (
        "speed-up: no torch float32 with the same model, thresholds, threads and batch in this run"
        " (torch runs no bundle)"
    )


@pytest.mark.parametrize(
    ("eager", "own", "reason"),
    [
        ({"is_valid": False}, {}, "the times of torch float32 are not valid"),
        ({}, {"is_valid": False}, "its times are not valid"),
    ],
)
def test_times_that_are_not_valid_give_no_ratio(
    in_memory: InMemory, eager: dict[str, Any], own: dict[str, Any], reason: str
) -> None:
    """Of either side."""
    _timed(in_memory, [2.0, 2.0], **eager)
    onnx = _timed(in_memory, [1.0, 1.0], **ONNX, **own)
    row = _speedups(in_memory)[onnx.cell_id]
    assert (row["speedup"], row["speedup_note"]) == (None, f"speed-up: {reason}")


def test_other_power_modes_and_no_times_give_no_ratio(in_memory: InMemory) -> None:
    """Each with its reason; a throttled round counts on neither side."""
    for node, modes in (("node-a", ("15W", "25W")), ("node-b", ("15W", "15W"))):
        for cell, mode in zip(
            (_timed(in_memory, [2.0], node=node), _timed(in_memory, [1.0], node=node, **ONNX)),
            modes,
            strict=True,
        ):
            in_memory.commit(cell, 0, 9, rounds={"power_mode": mode, "node": node})
    slow = in_memory.cells[-1]
    in_memory.records(slow, 2, 1, forward_ms=99.0)
    in_memory.commit(slow, 1, 9, rounds={"is_throttled": True, "power_mode": "15W"})
    untimed = in_memory.cell(status="queued", is_valid=None, **ONNX)
    _timed(in_memory, [1.0], threads=4, **ONNX)
    never = in_memory.cell(threads=4, status="queued", is_valid=None)
    rows = _speedups(in_memory)
    assert rows["latency-1"]["speedup_note"] == (
        "speed-up: power mode 25W here, 15W for torch float32"
    )
    assert (rows["latency-3"]["speedup"], rows["latency-3"]["speedup_low"]) == (2.0, None)
    assert rows[untimed.cell_id]["speedup_note"] == "speed-up: it was not timed"
    assert rows["latency-5"]["speedup_note"] == "speed-up: torch float32 was not timed"
    assert rows[never.cell_id]["speedup_note"] == "speed-up: it was not timed"
