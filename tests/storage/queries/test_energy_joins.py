"""Energy where everything has a neighbour: shards, rounds, nodes, exits, and a run of equal cells.

Each figure is worked out by hand; what is joined one key short takes a neighbour's.
"""

from __future__ import annotations

import math
import statistics
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

import storage
from tests.storage.conftest import NOON, Builder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Row = dict[str, Any]
A, B = "node-a", "node-b"
EARLY: Row = {"model": "early", "exit_blocks": (1,)}
NO_IDLE = "energy: no idle power samples, only gross energy is known"


def _power(
    build: Builder,
    cell: storage.CellRow,
    samples: Sequence[tuple[float, float | None]],
    phase: str = "active",
    **columns: Any,
) -> None:
    """Plan readings of one window, each at its second and in watts."""
    round_ = columns.pop("round", 0)
    rows = {"node": A, "rail": "total", "shard": 0, "phase": phase} | columns
    rows["sampled_at"] = [NOON + timedelta(seconds=second) for second, _ in samples]
    rows["power_mw"] = [None if watts is None else 1000.0 * watts for _, watts in samples]
    build.commit(cell, round_, 100 + len(build.tables), power=rows)


def _for(seconds: float, watts: float) -> list[tuple[float, float]]:
    """A window of even power."""
    return [(0.0, watts), (seconds, watts)]


def _asked(root: Path, sql: str) -> list[Row]:
    rows: list[Row] = storage.query(root, sql).to_pylist()
    return rows


def test_windows_by_hand(build: Builder) -> None:
    """Each is of its own task, phase and exit, though another ran at the same time."""
    other = Builder(build.root, "run-2")
    for each, more in ((build, 0.0), (other, 50.0)):
        cell = each.cell(rounds=4)
        for columns, samples in (
            ({"phase": "idle_before"}, [(0, 8), (1, 8), (2, 8)]),
            # Not in the order of time, nor evenly: 10 W to 20 W in 1 s, then 20 W for 2 s.
            ({}, [(13, 20), (10, 10), (11, 20)]),
            ({}, [(10.5, None)]),  # a mark
            ({"rail": "VDD"}, [(10, 99), (12, 99)]),
            ({"shard": 1}, [(10.2, 30), (12.2, 30)]),
            ({"node": B}, [(10.4, 40), (11.4, 42)]),
            ({"exit_block": 1}, [(10.6, 5), (12.6, 5)]),
            ({"exit_block": 3}, [(10.7, 7)]),
            ({"round": 1}, [(12, 50), (14, 60)]),
            ({"phase": "idle_after"}, [(20, 6), (20, 8)]),  # no time passed
            ({"round": 2}, [(1, 90), (2, 90)]),
        ):
            moved = [(at + more / 1000, watts and watts + more) for at, watts in samples]
            _power(each, cell, moved, **columns)
        each.commit(cell, 2 if each is build else 1, 90, rounds={"is_throttled": True})
        each.store()
    found = {
        (row["node"], row["round"], row["shard"], row["phase"], row["exit_block"]): (
            row["samples"],
            row["duration_us"],
            row["power_w"],
        )
        for row in _asked(build.root, "FROM power_windows WHERE run_id = 'run-1'")
    }
    assert found == {
        (A, 0, 0, "idle_before", None): (3, 2_000_000, 8.0),
        (A, 0, 0, "active", None): (3, 3_000_000, pytest.approx((15 + 40) / 3)),
        (A, 0, 1, "active", None): (2, 2_000_000, 30.0),
        (B, 0, 0, "active", None): (2, 1_000_000, 41.0),
        (A, 0, 0, "active", 1): (2, 2_000_000, 5.0),
        (A, 0, 0, "active", 3): (1, 0, 7.0),
        (A, 1, 0, "active", None): (2, 2_000_000, 55.0),
        (A, 0, 0, "idle_after", None): (2, 0, 7.0),
    }


def _routed(build: Builder, more: float, throttled: int) -> storage.CellRow:
    """A cell of two nodes and five rounds, of which one is throttled and two have no power."""
    cell = build.cell(rounds=5, node=None)
    for round_, node, forward_ms, elapsed_ms in (
        (0, A, [2.0, 1.0, 3.0, None], [3.0, 3.0, 3.0, 11.0]),
        (0, B, [4.0, 4.0], [5.0, 5.0]),
        (1, A, [6.0], [8.0]),
        (2, A, [99.0], [99.0]),
        (3, A, [100.0, 100.0], [100.0, 100.0]),
    ):
        build.commit(
            cell,
            round_,
            int(node == B),
            records={
                "node": node,
                "image_id": list(range(len(forward_ms))),
                "is_correct": True,
                "forward_ms": forward_ms,
                "elapsed_ms": elapsed_ms,
            },
        )
    for columns, seconds, watts in (
        ({"phase": "idle_before"}, 2, 8),
        ({}, 2, 10),
        ({"phase": "idle_after"}, 1, 5),
        ({"shard": 1}, 1, 13),
        ({"shard": 1, "phase": "idle_before"}, 1, 3),
        ({"round": 1}, 4, 20),
        ({"round": 1, "phase": "idle_after"}, 2, 9),
        ({"round": 1, "shard": 1}, 5, 50),  # no idle power of this task
        ({"node": B}, 1, 30),  # nor on this node
        ({"round": 2}, 1, 99),
        ({"round": 2, "phase": "idle_before"}, 1, 1),
    ):
        _power(build, cell, _for(seconds, watts + more), **columns)
    build.commit(cell, throttled, 90, rounds={"is_throttled": True})
    return cell


def _forced(build: Builder, more: float) -> storage.CellRow:
    """Forced exits in two rounds: what is known of one exit is not known of the other."""
    cell = build.cell("exit_costs", rounds=2, **EARLY)
    for round_, times in enumerate(([1.0, 1.0, 3.0], [2.0, 2.0, 5.0])):
        columns = {"image_id": [0, 1, 0], "exit_block": [1, 1, 3], "forward_ms": times}
        build.commit(cell, round_, exit_costs=columns)
    _power(build, cell, _for(2, 4 + more), "idle_before")
    _power(build, cell, _for(1, 6 + more), exit_block=1)
    _power(build, cell, _for(9, 50 + more), round=1, exit_block=1)
    _power(build, cell, _for(1, 9 + more), round=1, exit_block=3)
    return cell


@pytest.fixture
def root(build: Builder) -> Path:
    """Give two runs of the same cells: of the second all powers and one round are others."""
    for each, more, throttled in ((build, 0.0, 2), (Builder(build.root, "run-2"), 70.0, 1)):
        _routed(each, more, throttled)
        _forced(each, more)
        idling = each.cell()
        each.records(idling, 2)
        _power(each, idling, _for(1, 5), "idle_before")
        each.store()
    return build.root


def test_routed_energy_by_hand(root: Path) -> None:
    """Of node a three tasks: 10 over 7 W and 13 over 3 W in 2 ms, and 20 over 9 W in 6 ms."""
    sql = "FROM cell_energies WHERE run_id = 'run-1' AND exit_block IS NULL ORDER BY cell_id, node"
    on_a, on_b, idling = _asked(root, sql)
    energies = [(10 - 7) * 2.0, (13 - 3) * 2.0, (20 - 9) * 6.0]
    power_w, idle_w = (2 * 10 + 13 + 4 * 20) / 7, (3 * 7 + 3 + 2 * 9) / 6
    # Three images, and of one image the half that is the complete task's.
    forward_ms, elapsed_ms = (3 * 2 + 0.5 * 6) / 3.5, (3 * 3 + 0.5 * 8) / 3.5
    assert {**on_a, "run_id": None, "cell_id": None} == {
        "run_id": None,
        "cell_id": None,
        "node": A,
        "exit_block": None,
        "windows": 3,
        "rounds": 2,
        "timed_rounds": 3,
        "power_w": pytest.approx(power_w),
        "idle_w": pytest.approx(idle_w),
        "forward_ms": pytest.approx(forward_ms),
        "elapsed_ms": pytest.approx(elapsed_ms),
        "energy_mj": pytest.approx((power_w - idle_w) * forward_ms),
        "margin_mj": pytest.approx(4.303 * statistics.stdev(energies) / math.sqrt(3)),
        "energy_elapsed_mj": pytest.approx((power_w - idle_w) * elapsed_ms),
        "energy_gross_mj": pytest.approx(power_w * forward_ms),
        "reason": None,
        "note": "energy from 2 of 3 rounds",
    }
    assert (on_b["node"], on_b["windows"], on_b["timed_rounds"]) == (B, 0, 1)
    assert (on_b["power_w"], on_b["idle_w"], on_b["energy_mj"]) == (30.0, None, None)
    assert (on_b["energy_gross_mj"], on_b["note"]) == (120.0, NO_IDLE)
    assert (idling["idle_w"], idling["power_w"], idling["windows"]) == (5.0, None, 0)
    assert idling["note"] == "energy: no power samples while it ran"
    powers = _asked(root, "FROM cell_powers WHERE run_id = 'run-1' ORDER BY cell_id, node")
    found = [(row["node"], row["power_w"], row["idle_w"]) for row in powers]
    assert found == [
        (A, pytest.approx(power_w), pytest.approx(idle_w)),
        (B, 30.0, None),
        (A, None, 5.0),
    ]


def test_no_energy_has_no_interval(build: Builder) -> None:
    """Of two tasks that took less than idling the windows are known, and nothing of their mean."""
    cell = build.cell()
    build.records(cell, 2)
    for shard, watts in enumerate((7.0, 6.0)):
        _power(build, cell, _for(1, watts), shard=shard)
        _power(build, cell, _for(1, 8), "idle_after", shard=shard)
    build.store()
    (row,) = _asked(build.root, "FROM cell_energies")
    assert (row["windows"], row["energy_mj"], row["margin_mj"]) == (2, None, None)


def test_a_round_is_throttled_once(build: Builder) -> None:
    """Whichever of its tasks and rows say so."""
    cell = build.cell()
    build.records(cell, 3, is_throttled=[True, False, True])
    for shard in (90, 91):
        build.commit(cell, 0, shard, rounds={"is_throttled": True})
    build.store()
    found = [tuple(row.values()) for row in _asked(build.root, "FROM throttled_rounds")]
    assert found == [("run-1", cell.cell_id, 0)]


def test_tasks_by_hand(root: Path) -> None:
    """Each has its own idle power; tasks of one round share its images."""
    sql = "FROM task_energies WHERE run_id = 'run-1' AND cell_id LIKE 'latency-0' ORDER BY ALL"
    names = ("node", "round", "shard", "power_w", "power_us", "idle_w", "idle_us", "images")
    assert [tuple(row[name] for name in names) for row in _asked(root, sql)] == [
        (A, 0, 0, 10.0, 2_000_000, 7.0, 3_000_000, 1.5),
        (A, 0, 1, 13.0, 1_000_000, 3.0, 1_000_000, 1.5),
        (A, 1, 0, 20.0, 4_000_000, 9.0, 2_000_000, 0.5),
        (B, 0, 0, 30.0, 1_000_000, None, None, 2.0),
    ]


def test_energy_of_forced_exits_by_hand(root: Path) -> None:
    """6 over 4 W for 1 ms; of the other exit no idle power is known, of either one round."""
    sql = "FROM exit_energies WHERE run_id = 'run-1' ORDER BY exit_block"
    names = ("exit_block", "windows", "power_w", "idle_w", "forward_ms", "energy_mj", "note")
    assert [tuple(row[name] for name in names) for row in _asked(root, sql)] == [
        (1, 1, 6.0, 4.0, 1.0, 2.0, "energy from 1 of 2 rounds"),
        (3, 0, 9.0, None, 5.0, None, f"{NO_IDLE}; energy from 1 of 2 rounds"),
    ]


def test_energies_by_round_by_hand(root: Path) -> None:
    """By time over the tasks of each round: 11 over 6 W in 2 ms, and 20 over 9 W in 6 ms."""
    found = storage.named_query(root, "energies_in", run_id="run-1").to_pylist()
    assert [(row["cell_id"], row["node"], row["round"], row["energy_mj"]) for row in found] == [
        ("latency-0", A, 0, pytest.approx(10.0)),
        ("latency-0", A, 1, pytest.approx(66.0)),
    ]
    assert {row["note"] for row in found} == {None}


def test_energy_in_the_ladder_is_of_the_rows_own_node(root: Path) -> None:
    """Of the other node only the gross energy is known."""
    rows = _asked(root, "FROM ladder WHERE run_id = 'run-1' ORDER BY cell_id, node")
    assert [(row["node"], row["power_w"], row["energy_gross_mj"]) for row in rows] == [
        (A, pytest.approx(113 / 7), pytest.approx(113 / 7 * 9 / 3.5)),
        (B, 30.0, 120.0),
        (A, None, None),
    ]
