"""The ladder's clock and power side: percentiles, throttling, energy, savings, notes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest

import storage

if TYPE_CHECKING:
    from tests.storage.conftest import Builder
    from tests.storage.in_memory import InMemory

NOON = datetime(2026, 11, 24, 12)  # noqa: DTZ001 (naive UTC throughout)


@pytest.fixture
def build(in_memory: InMemory) -> InMemory:
    """Give a builder of one run, to be asked."""
    return in_memory


@pytest.mark.parametrize(
    ("n", "known"),
    [
        (10, ()),
        (11, ("p50",)),
        (63, ("p50",)),
        (64, ("p50", "p90")),
        (661, ("p50", "p90")),
        (662, ("p50", "p90", "p99")),
    ],
)
def test_percentile_needs_enough_samples(build: Builder, n: int, known: tuple[str, ...]) -> None:
    """Below 11, 64 and 662 rows a percentile is NULL and the note says what it has."""
    timed = build.cell()
    values = np.random.default_rng(1).permutation(n) + 1.0
    build.records(timed, n, forward_ms=values)
    build.store()
    (row,) = build.ladder()
    quantiles = {"p50": (0.5, 11), "p90": (0.9, 64), "p99": (0.99, 662)}
    for name, (quantile, needed) in quantiles.items():
        if name in known:
            assert row[f"{name}_ms"] == pytest.approx(np.quantile(values, quantile))
        else:
            assert row[f"{name}_ms"] is None
            assert f"{name} needs {needed} samples, has {n}" in row["note"]
    assert row["forward_ms"] == pytest.approx((n + 1) / 2)


@pytest.mark.parametrize("where", ["rounds", "records"])
def test_throttled_round_is_left_out_whole(build: Builder, where: str) -> None:
    """One sign of throttling, in either table, takes the round out of times and power."""
    timed = build.cell(rounds=2)
    build.records(timed, 20, round_=0, forward_ms=2.0)
    build.power(timed, "active", [0, 1], [10, 10], round_=0)
    build.power(timed, "idle_before", [-1, 0], [4, 4], round_=0, shard=51)
    flags = [where == "records" and image == 7 for image in range(20)]
    build.records(timed, 20, round_=1, forward_ms=50.0, is_throttled=flags)
    build.power(timed, "active", [10, 20], [90, 90], round_=1)
    if where == "rounds":
        build.commit(timed, 1, 60, rounds={"is_throttled": True})
    build.store()
    (row,) = build.ladder()
    assert (row["samples"], row["forward_ms"], row["power_w"]) == (20, 2.0, 10.0)
    assert row["energy_mj"] == pytest.approx((10 - 4) * 2)


@pytest.mark.parametrize("merge", [False, True])
def test_a_round_of_several_shards_has_several_rows(stored: Builder, merge: bool) -> None:
    """One throttled shard takes its whole round out; no row counts twice, each mode shows once."""
    timed = stored.cell(rounds=2)
    for round_ in (0, 1):
        for shard in (0, 1):
            stored.commit(
                timed,
                round_,
                shard,
                records={"image_id": np.arange(20), "forward_ms": 2.0 + round_},
                rounds={"power_mode": str(shard), "is_throttled": (round_, shard) == (1, 1)},
            )
    stored.store(merge=merge)
    (row,) = stored.ladder()
    assert (row["samples"], row["forward_ms"], row["power_mode"]) == (40, 2.0, "0, 1")
    rows = storage.query(stored.root, "select round from rounds order by all").to_pylist()
    assert [row["round"] for row in rows] == [0, 0, 1, 1]
    throttled = storage.query(stored.root, "from throttled_rounds").to_pylist()
    assert [row["round"] for row in throttled] == [1]
    with storage.RunStore.open(stored.root, stored.run.run_id) as store:
        assert store.throttled_rounds() == {(timed.cell_id, 1)}


def test_unknown_throttling_counts(build: Builder) -> None:
    """is_throttled NULL means that nobody looked, and the round stays."""
    timed = build.cell()
    build.records(timed, 20, is_throttled=None)
    build.commit(timed, 0, 60, rounds={"is_throttled": None})
    build.store()
    assert build.ladder()[0]["samples"] == 20


def test_all_rounds_throttled_is_null_with_a_reason(build: Builder) -> None:
    """Nothing left is said, not shown as 0."""
    timed = build.cell(is_valid=False)
    build.records(timed, 20, is_throttled=True)
    build.store()
    (row,) = build.ladder()
    assert row["forward_ms"] is None
    assert row["note"] == "latency: every round was throttled"
    assert row["acc1"] == 100.0


@pytest.mark.parametrize("is_valid", [True, False, None])
def test_a_cells_own_verdict_on_its_rounds_holds(build: Builder, *, is_valid: bool | None) -> None:
    """It is given once, when a cell ends; three of five throttled rounds leave enough or not."""
    timed = build.cell(rounds=5, is_valid=is_valid, note="throttled: 3 of 5 rounds")
    for round_ in range(5):
        build.records(timed, 400, round_=round_, is_throttled=round_ < 3)
    build.store()
    (row,) = build.ladder()
    assert row["is_valid"] is is_valid
    assert row["samples"] == 800
    assert row["note"].startswith("throttled: 3 of 5 rounds; ")


@pytest.mark.parametrize(("status", "is_valid"), [("done", False), ("running", None)])
def test_a_timed_cell_without_samples(
    build: Builder, status: storage.CellStatus, is_valid: bool | None
) -> None:
    """It is not valid once it is done; before, nobody knows."""
    timed = build.cell(status=status, is_valid=None)
    build.records(timed, 20, forward_ms=None)
    build.store()
    (row,) = build.ladder()
    assert row["is_valid"] is is_valid
    assert f"latency: no timed rows (cell is {status})" in row["note"]


def test_nothing_is_saved_against_an_invalid_baseline(build: Builder) -> None:
    """Its energy is wrong, so that no row compares itself with it."""
    timed_model(build, "large", 5, is_valid=False)
    timed_model(build, "small", 4)
    build.store()
    for row in build.ladder():
        assert row["energy_mj"] is not None
        assert row["energy_saving_pct"] is None
        assert "saving: no valid energy of the baseline large" in row["note"]


def test_missing_power_is_explained_by_the_node(build: Builder) -> None:
    """Without samples energy is NULL, with the node's own words why."""
    timed = build.cell()
    build.records(timed, 700)
    build.store([storage.NodeRow("run-1", "node-a", power_mode="15W", note="RAPL: not readable")])
    (row,) = build.ladder()
    assert row["energy_mj"] is None
    assert row["power_mode"] == "15W"
    assert row["note"] == "energy: no power samples; RAPL: not readable"


@pytest.mark.parametrize(
    ("phase", "gross_mj", "reason"),
    [
        ("active", 20.0, "energy: no idle power samples, only gross energy is known"),
        ("idle_before", None, "energy: no power samples while it ran"),
    ],
)
def test_half_measured_power(
    build: Builder, phase: str, gross_mj: float | None, reason: str
) -> None:
    """One phase alone gives no net energy."""
    timed = build.cell()
    build.records(timed, 700)
    build.power(timed, phase, [0, 1], [10, 10])
    build.store()
    (row,) = build.ladder()
    assert (row["energy_mj"], row["energy_gross_mj"], row["note"]) == (None, gross_mj, reason)


def test_power_is_weighted_by_time_within_and_across_rounds(build: Builder) -> None:
    """Trapezoids within a phase, durations across rounds; other rails and single samples aside."""
    timed = build.cell(rounds=2)
    for round_ in (0, 1):
        build.records(timed, 400, round_=round_)
    build.power(timed, "active", [0, 1, 3], [10, 20, 20], round_=0)  # 15 J + 40 J in 3 s
    build.power(timed, "active", [10, 11], [31, 31], round_=1)  # 31 J in 1 s
    build.power(timed, "idle_before", [-1], [5], round_=0, shard=51)
    build.power(timed, "idle_after", [20], [7], round_=1, shard=51)
    build.power(timed, "active", [0, 1], [99, 99], round_=0, shard=52, rail="VDD_CPU_CV")
    build.store()
    (row,) = build.ladder()
    assert row["power_w"] == pytest.approx((15 + 40 + 31) / 4)
    assert row["idle_w"] == pytest.approx(6.0)
    assert row["energy_elapsed_mj"] == pytest.approx((86 / 4 - 6) * 4.0)
    assert row["fps"] == pytest.approx(250)


def timed_model(build: Builder, model: str, watts: float, **changes: object) -> storage.CellRow:
    """Add a latency cell with 700 rows of 2 ms at `watts` over 1 W."""
    timed = build.cell(model=model, **changes)
    build.records(timed, 700)
    build.power(timed, "active", [0, 1], [watts, watts])
    build.power(timed, "idle_before", [-1, 0], [1, 1], shard=51)
    return timed


def test_saving_is_relative_to_the_first_static_model(build: Builder) -> None:
    """By default the first static model in the order of the cells, not the first cell."""
    timed_model(build, "early", 3, exit_blocks=(1, 3), threshold=0.5)
    timed_model(build, "large", 5)
    timed_model(build, "small", 4)
    build.store()
    savings = {row["model"]: row["energy_saving_pct"] for row in build.ladder()}
    assert savings == pytest.approx({"early": 50.0, "large": 0.0, "small": 25.0})


def test_named_baseline_wins_and_conditions_must_agree(build: Builder) -> None:
    """The run's baseline is used; on another node there is none, and the note says so."""
    build.run = storage.RunRow("run-1", baseline="small", submitted_at=build.run.submitted_at)
    timed_model(build, "large", 5)
    timed_model(build, "small", 3)
    timed_model(build, "small", 9, threads=4)
    timed_model(build, "large", 5, threads=4)
    timed_model(build, "large", 5, node="node-b")
    build.store()
    rows = {(row["model"], row["node"], row["threads"]): row for row in build.ladder()}
    assert rows["large", "node-a", 1]["energy_saving_pct"] == pytest.approx(-100.0)
    assert rows["small", "node-a", 4]["energy_saving_pct"] == pytest.approx(0.0)
    assert rows["large", "node-a", 4]["energy_saving_pct"] == pytest.approx(50.0)
    elsewhere = rows["large", "node-b", 1]
    assert elsewhere["energy_saving_pct"] is None
    assert elsewhere["note"] == (
        "saving: no valid energy of the baseline small on the same data set, "
        "device, node, runtime and precision"
    )


def test_cell_that_moved_has_one_row_a_node(build: Builder) -> None:
    """Rows of two nodes are not averaged: each node is its own machine."""
    timed = build.cell(node=None)
    build.commit(
        timed, 0, 0, records={"image_id": np.arange(20), "node": "node-a", "forward_ms": 1.0}
    )
    build.commit(
        timed, 0, 1, records={"image_id": np.arange(20, 40), "node": "node-b", "forward_ms": 3.0}
    )
    build.store()
    assert {row["node"]: row["forward_ms"] for row in build.ladder()} == {
        "node-a": 1.0,
        "node-b": 3.0,
    }


def test_exit_histogram_gives_shares_and_medians(build: Builder) -> None:
    """An enabled exit without images has a row; a median needs 11 samples."""
    timed = build.cell(model="early", exit_blocks=(0, 1, 2), threshold=0.5)
    exits = [1] * 30 + [3] * 10
    build.records(timed, 40, exit_block=exits, forward_ms=[1.0] * 30 + [9.0] * 10)
    build.store()
    rows = build.named("exit_histogram", run_id="run-1")
    found = [
        (row["exit_block"], row["images"], row["share_pct"], row["median_forward_ms"])
        for row in rows
    ]
    assert found == [(0, 0, 0.0, None), (1, 30, 75.0, 1.0), (2, 0, 0.0, None), (3, 10, 25.0, None)]


def test_the_last_block_has_a_row_also_if_all_images_exit_before_it(build: Builder) -> None:
    """As each exit has; a model that does not exit early has its last block alone."""
    build.records(build.cell(model="early", exit_blocks=(1,), threshold=0.0), 2, exit_block=1)
    build.records(build.cell(model="flat"), 2)
    build.store()
    rows = build.named("exit_histogram", run_id="run-1")
    found = [(row["model"], row["exit_block"], row["depth"], row["images"]) for row in rows]
    assert found == [("early", 1, 4, 2), ("early", 3, 4, 0), ("flat", 3, 4, 2)]


def test_progress_and_speed(build: Builder) -> None:
    """Cells are counted by status; seconds an image are the median over commits."""
    timed = build.cell()
    build.cell(status="failed")
    build.cell(status="queued")
    for shard in range(3):
        build.commit(timed, 0, shard, records={"image_id": [shard], "forward_ms": 1.0})
    build.store(merge=True)
    (progress,) = build.named("run_progress")
    assert (
        progress["cells"],
        progress["done"],
        progress["failed"],
        progress["queued"],
        progress["rows"],
        progress["status"],
    ) == (3, 1, 1, 1, 30, "done")
    (speed,) = build.named("speed")
    assert (speed["kind"], speed["seconds_per_image"], speed["commits"]) == ("latency", 0.25, 3)


def test_an_invalid_cell_has_no_medians(build: Builder) -> None:
    """Its exits are counted all the same."""
    timed = build.cell(exit_blocks=(1, 3), threshold=0.5, is_valid=False)
    build.records(timed, 20)
    build.store()
    rows = build.named("exit_histogram", run_id="run-1")
    assert [(row["images"], row["median_forward_ms"]) for row in rows] == [(0, None), (20, None)]


def test_batches_are_by_round_and_node(build: Builder) -> None:
    """Shards of a round are together, rounds and nodes apart; throttled rounds are left out."""
    timed = build.cell(rounds=2)
    for shard in (0, 1):
        build.commit(
            timed,
            0,
            shard,
            records={"image_id": np.arange(8) + 8 * shard, "forward_ms": np.arange(8.0) + shard},
        )
    build.records(timed, 20, round_=1, forward_ms=50.0, is_throttled=True)
    other = {"image_id": np.arange(11), "node": "node-b", "forward_ms": 3.0}
    build.commit(timed, 2, 0, records=other)
    build.store()
    rows = build.named("timed_batches", run_id="run-1")
    found = [(row["node"], row["round"], row["total_ms"], row["images"]) for row in rows]
    assert found == [
        ("node-a", 0, [*np.arange(8.0), *np.arange(1.0, 9.0)], [1.0] * 16),
        ("node-b", 2, [3.0] * 11, [1.0] * 11),
    ]


def test_images_of_a_batch_are_one(build: Builder) -> None:
    """They share its time; ten batches are too few to say how they vary, eleven are not."""
    for batches in (10, 11):
        timed = build.cell(batch_size=2, model=f"of-{batches}")
        starts = [NOON + timedelta(seconds=image // 2) for image in range(2 * batches)]
        build.records(timed, 2 * batches, forward_ms=3.0, started_at=starts)
    build.store()
    (row,) = build.named("timed_batches", run_id="run-1")
    assert (row["total_ms"], row["images"]) == ([6.0] * 11, [2.0] * 11)
