"""What the ladder's rows may be believed: validity, conditions, and the baselines they allow."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

import storage
from tests.storage.conftest import NOON, Builder

if TYPE_CHECKING:
    from pathlib import Path

Row = dict[str, Any]


def _rows(root: Path, columns: str) -> dict[str, list[tuple[Any, ...]]]:
    """Columns of the first run's rows, by model."""
    sql = f"SELECT model, {columns} FROM ladder WHERE run_id = 'run-1'"  # noqa: S608 (ours)
    found: dict[str, list[tuple[Any, ...]]] = {}
    for row in storage.query(root, sql).to_pylist():
        model, *values = row.values()
        found.setdefault(model, []).append(tuple(values))
    return found


def _mode(build: Builder, cell: storage.CellRow, mode: str, round_: int = 0, **more: Any) -> None:
    rows = {"node": cell.node, "power_mode": mode, **more}
    build.commit(cell, round_, 60 + len(build.tables), rounds=rows)


def _answered(build: Builder, model: str, loss: float) -> None:
    """An all-exit pass whose first exit has such a loss, where nobody leaves; and a routed cell."""
    common: Row = {"model": model, "exit_blocks": (1,)}
    exits: Row = {"image_id": [0, 0], "exit_block": [1, 3], "gate_score": [0.1, None]}
    passes = build.cell("exits", **common)
    build.commit(passes, exits={**exits, "is_correct": True, "loss": [loss, 1.0]})
    build.records(build.cell(threshold=0.5, **common), 1)


def test_what_spoils_a_row_by_hand(build: Builder) -> None:
    """Each for its own reason; figures of others stay."""
    for each, more in ((Builder(build.root, "run-2"), "9"), (build, "")):
        changed = each.cell(model="changed", rounds=2)
        steady = each.cell(model="steady", rounds=2)
        for round_, mode in enumerate(("15W", "25W")):
            for cell in (changed, steady):
                each.records(cell, 2, round_)
                _mode(each, cell, more + (mode if cell is changed else "15W"), round_)
        each.cell(model="empty", is_valid=None)
        each.cell(model="running", is_valid=None, status="running")
        _answered(each, "torn", float("nan"))
        _answered(each, "whole", 1.0)
        slow = each.cell(model="slow", is_valid=False)
        each.records(slow, 2, is_throttled=True)
        each.records(each.cell(model="eleven"), 11)
        moved = each.cell(model="moved", node=None)
        for shard, node in enumerate(("node-a", "node-b")):
            records = {"image_id": [shard], "node": node, "forward_ms": 1.0}
            each.commit(moved, 0, shard, records=records)
            _mode(each, moved, f"{more}{shard}W", node=node)
        each.store(
            [
                storage.NodeRow(each.run.run_id, node, power_mode="MAXN")
                for node in ("node-a", "node-b")
            ]
        )
    rows = _rows(build.root, "node, is_valid, power_mode, acc1, samples, p50_ms")
    assert rows == {
        "changed": [("node-a", False, "15W, 25W", 100.0, 4, None)],
        "steady": [("node-a", True, "15W", 100.0, 4, None)],
        "empty": [("node-a", False, "MAXN", None, 0, None)],
        "running": [("node-a", None, "MAXN", None, 0, None)],
        "torn": [("node-a", True, "MAXN", None, 1, None)],
        "whole": [("node-a", True, "MAXN", 100.0, 1, None)],
        "slow": [("node-a", False, "MAXN", 100.0, 0, None)],
        "eleven": [("node-a", True, "MAXN", 100.0, 11, 2.0)],
        "moved": [
            ("node-a", True, "0W", None, 1, None),
            ("node-b", True, "1W", None, 1, None),
        ],
    }
    notes = {model: found[0][0] for model, found in _rows(build.root, "note").items()}
    assert "accuracy: images with logits that are not finite: 1; " in notes["torn"]
    assert notes["slow"] == "latency: every round was throttled"
    assert "latency: no timed rows (cell is done)" in notes["empty"]


def _watts(build: Builder, watts: float, mode: str, **changes: Any) -> None:
    """A cell of two images of 2 ms over 1 W, in a mode."""
    cell = build.cell(**changes)
    build.records(cell, 2)
    times = [NOON + timedelta(seconds=second) for second in range(4)]
    power: Row = {"node": cell.node, "rail": "total", "shard": 0, "sampled_at": times}
    power |= {"phase": ["active"] * 2 + ["idle_after"] * 2}
    build.commit(cell, 0, 50, power={**power, "power_mw": [1e3 * watts] * 2 + [1e3] * 2})
    _mode(build, cell, mode)


def test_a_baseline_is_valid_and_of_the_same_power_mode(build: Builder) -> None:
    """Before it is alike in anything else: 4 W over that of 8 W of other threads save half."""
    build.run = storage.RunRow("run-1", baseline="base", submitted_at=NOON)
    _watts(build, 101.0, "15W", model="base", is_valid=False)
    _watts(build, 41.0, "25W", model="base")
    _watts(build, 9.0, "15W", model="base", threads=2)
    _watts(build, 5.0, "15W", model="of 15W")
    _watts(build, 5.0, "25W", model="of 25W")
    _watts(build, 5.0, "35W", model="of 35W")
    build.store()
    rows = _rows(build.root, "energy_saving_pct")
    assert rows["of 15W"] == [(pytest.approx(50.0),)]
    assert rows["of 25W"] == [(pytest.approx(90.0),)]
    assert rows["of 35W"] == [(None,)]
