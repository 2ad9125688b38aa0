"""Which rounds a cell's energy is of, and what is no energy: power that was not above idle."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

import storage
from storage.sql import macros as questions
from tests.storage.conftest import NOON

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.storage.in_memory import InMemory

EARLY: dict[str, Any] = {"model": "early", "exit_blocks": (1,)}
LOW = "power while running was not above idle: 7.9 W against 8.0 W"
REPLAY = storage.NodeRow("run-1", "node-a", power_source="replay: power.csv")


@pytest.fixture
def build(in_memory: InMemory) -> InMemory:
    """Give a builder of one run, to be asked."""
    return in_memory


def _asked(build: InMemory, *questions: str) -> list[list[dict[str, Any]]]:
    """Answers to several questions."""
    return [build.query(f"FROM {each}") for each in questions]


def _windows(
    build: InMemory,
    cell: storage.CellRow,
    active: float | Mapping[int, float] | None,
    idle: float | None,
    round_: int = 0,
    shard: int = 0,
) -> None:
    """Plan the power of one task: watts while it ran, or of each forced exit, and idle."""
    forced: dict[int | None, float] = {}
    if isinstance(active, float):
        forced[None] = active
    elif active:
        forced.update(active)
    windows: Sequence[tuple[str, int | None, float]] = [
        *([("idle_before", None, idle)] if idle else []),
        *(("active", block, watts) for block, watts in forced.items()),
    ]
    rows = [
        (NOON + timedelta(seconds=10 * start + i), phase, block, 1000 * watts)
        for start, (phase, block, watts) in enumerate(windows)
        for i in range(3)
    ]
    columns = zip(*rows, strict=True)
    names = ("sampled_at", "phase", "exit_block", "power_mw")
    power: dict[str, object] = {
        name: list(values) for name, values in zip(names, columns, strict=True)
    }
    power |= {"rail": "total", "shard": shard, "node": "node-a"}
    build.commit(cell, round_, 50 + shard, power=power)


def _timed(build: InMemory, watts: float, idle: float = 8.0, **changes: Any) -> storage.CellRow:
    """A cell of one round of two images of 2 ms, with power."""
    cell = build.cell(**changes)
    build.records(cell, 2)
    _windows(build, cell, watts, idle)
    return cell


def _forced(build: InMemory, rounds: Sequence[float]) -> storage.CellRow:
    """A model with exits after blocks 1 and 3: half leaves at each; forced out, in ms a round."""
    columns = {"exit_block": [1, 1, 3, 3], "gate_score": [0.9, 0.1, None, None]}
    passes = build.cell("exits", batch_size=64, **EARLY)
    build.commit(passes, exits={"image_id": [0, 1, 0, 1], "is_correct": True, **columns})
    cell = build.cell("exit_costs", rounds=len(rounds), **EARLY)
    for round_, ms in enumerate(rounds):
        costs = {"image_id": [0, 1, 0, 1], "exit_block": [1, 1, 3, 3], "forward_ms": ms}
        build.commit(cell, round_, exit_costs=costs)
    return cell


def test_energy_is_of_the_rounds_that_have_power(build: InMemory) -> None:
    """10 ms without power, then 1 ms at 6 W over 1 W: 5 mJ, not 5 W x 5.5 ms = 27.5 mJ."""
    cell = build.cell(rounds=2)
    build.records(cell, 20, 0, forward_ms=10.0, elapsed_ms=11.0)
    build.records(cell, 20, 1, forward_ms=1.0, elapsed_ms=2.0)
    _windows(build, cell, 6.0, 1.0, round_=1)
    build.store([REPLAY])
    ((row,), (powers,)) = _asked(build, "ladder", "cell_powers")
    assert (row["forward_ms"], row["power_w"], row["idle_w"]) == pytest.approx((5.5, 6.0, 1.0))
    found = [row[f"energy_{name}mj"] for name in ("", "elapsed_", "gross_")]
    assert found == pytest.approx([5.0, 10.0, 6.0])
    assert row["energy_note"] == "energy from 1 of 2 rounds"
    assert row["energy_source"] == "energy: replay: power.csv"
    assert "energy from 1 of 2 rounds; energy: replay: power.csv" in row["note"]
    assert (powers["power_w"], powers["idle_w"]) == pytest.approx((6.0, 1.0))


def test_where_all_rounds_have_power_the_columns_multiply(build: InMemory) -> None:
    """(power_w - idle_w) x forward_ms, of rounds that differ in all three, and in their images."""
    cell = build.cell(rounds=2)
    for round_, (images, ms, watts, idle) in enumerate([(30, 4.0, 9.0, 5.0), (10, 8.0, 12.0, 6.0)]):
        build.records(cell, images, round_, forward_ms=ms, elapsed_ms=ms + 1)
        _windows(build, cell, watts, idle, round_)
    build.store()
    ((row,),) = _asked(build, "ladder")
    assert row["energy_mj"] == pytest.approx((10.5 - 5.5) * 5.0)
    assert row["energy_mj"] == pytest.approx((row["power_w"] - row["idle_w"]) * row["forward_ms"])
    assert (row["energy_note"], row["energy_source"]) == (None, None)


@pytest.mark.parametrize("is_throttled", [False, True])
def test_times_that_cannot_count_take_their_power_along(
    build: InMemory, *, is_throttled: bool
) -> None:
    """A round that was throttled, or has no milliseconds, is not in the powers either."""
    cell = build.cell(rounds=2)
    build.records(
        cell, 20, 0, forward_ms=9.0 if is_throttled else None, is_throttled=is_throttled or None
    )
    build.records(cell, 20, 1)
    _windows(build, cell, 90.0, 3.0, round_=0)
    _windows(build, cell, 6.0, 1.0, round_=1)
    build.store()
    ((row,),) = _asked(build, "ladder")
    assert (row["power_w"], row["idle_w"], row["energy_mj"]) == pytest.approx((6.0, 1.0, 10.0))
    assert row["energy_note"] is None


def test_idle_power_is_that_of_the_same_task(build: InMemory) -> None:
    """A task whose running power is not known says nothing of the idling of others."""
    cell = build.cell()
    build.records(cell, 2)
    _windows(build, cell, 10.0, 8.0, shard=0)
    _windows(build, cell, None, 2.0, shard=1)
    _windows(build, cell, 50.0, None, shard=2)
    build.store()
    ((row,),) = _asked(build, "ladder")
    assert (row["power_w"], row["idle_w"], row["energy_mj"]) == pytest.approx((10.0, 8.0, 4.0))


def test_a_round_of_several_tasks_has_its_images_once(build: InMemory) -> None:
    """Two tasks in 2 ms, then one in 5 ms, of as many images: 3.5 ms on average, not 3."""
    cell = build.cell(rounds=2)
    build.records(cell, 20, 0, forward_ms=2.0)
    build.records(cell, 20, 1, forward_ms=5.0)
    for round_, shard in ((0, 0), (0, 1), (1, 0)):
        _windows(build, cell, 10.0, 8.0, round_, shard)
    build.store()
    ((row,),) = _asked(build, "ladder")
    assert row["energy_mj"] == pytest.approx(2 * 3.5)


def test_idle_power_of_forced_exits_is_that_of_the_same_shard(build: InMemory) -> None:
    """Two tasks of one round: 10 over 8 W and 5 over 2 W, 1 ms each: 2 and 3 mJ."""
    cell = _forced(build, [1.0])
    _windows(build, cell, {1: 10.0, 3: 10.0}, 8.0, shard=0)
    _windows(build, cell, {1: 5.0, 3: 5.0}, 2.0, shard=1)
    build.store()
    (exits,) = _asked(build, "exit_energies")
    for row in exits:
        assert (row["windows"], row["energy_mj"]) == (2, pytest.approx(2.5))
        assert row["margin_mj"] == pytest.approx(0.5 * 12.706)


def test_forced_exits_count_in_rounds_that_have_all(build: InMemory) -> None:
    """Of 10, 1 and 100 ms the first has no power and the last no idle power; composed likewise."""
    cell = _forced(build, [10.0, 1.0, 100.0])
    _windows(build, cell, {1: 6.0, 3: 8.0}, 1.0, round_=1)
    _windows(build, cell, {1: 6.0, 3: 8.0}, None, round_=2)
    build.store([REPLAY])
    exits, (half,) = _asked(build, "exit_energies", "composed_energy('run-1', [0.5])")
    assert {row["exit_block"]: row["energy_mj"] for row in exits} == pytest.approx({1: 5, 3: 7})
    assert {row["note"] for row in exits} == {"energy from 1 of 3 rounds"}
    assert half["energy_mj"] == pytest.approx(6.0)
    assert half["note"].startswith("energy from 1 of 3 rounds; no routed threshold confirms")
    assert half["energy_source"] == "energy: replay: power.csv"


def test_no_more_power_than_idle_is_no_energy(build: InMemory) -> None:
    """NULL with the reason; the saving too. What it took in all is known."""
    _timed(build, 10.0, model="base")
    _timed(build, 7.9, model="low")
    _timed(build, 8.0, model="same")
    build.store([REPLAY])
    (rows,) = _asked(build, "ladder")
    _, low, same = rows
    for row in (low, same):
        assert (row["energy_mj"], row["energy_elapsed_mj"]) == (None, None)
        assert row["energy_saving_pct"] is None
    assert low["energy_gross_mj"] == pytest.approx(15.8)
    assert low["note"].split("; ")[-2:] == [f"energy: {LOW}", "energy: replay: power.csv"]
    assert "not above idle: 8.0 W against 8.0 W" in same["energy_note"]


def test_nothing_is_saved_beside_a_baseline_without_energy(build: InMemory) -> None:
    """Not 100 %, and not against the same baseline in another setting; the reason is its own."""
    _timed(build, 7.9, model="base")
    _timed(build, 12.0, model="base", threads=2)
    _timed(build, 10.0, model="other")
    build.store()
    (rows,) = _asked(build, "ladder")
    saved = {(row["model"], row["threads"]): row["energy_saving_pct"] for row in rows}
    assert saved == {("base", 1): None, ("base", 2): pytest.approx(0.0), ("other", 1): None}
    assert rows[2]["energy_mj"] == pytest.approx(4.0)
    assert f"saving: the energy of the baseline base is not known: {LOW}" in rows[2]["note"]
    assert "saving:" not in rows[0]["note"]


def test_an_exit_that_took_no_more_than_idle_leaves_no_energy_to_compose(build: InMemory) -> None:
    """Of the other exits it is known; the frontier has milliseconds, and the reason is said."""
    cell = _forced(build, [1.0])
    _windows(build, cell, {1: 7.9, 3: 10.0}, 8.0)
    build.store([REPLAY])
    exits, (half,), points = _asked(
        build, "exit_energies", "composed_energy('run-1', [0.5])", "frontier('run-1')"
    )
    early, last = sorted(exits, key=lambda row: row["exit_block"])
    assert (early["energy_mj"], early["note"]) == (None, f"energy: {LOW}")
    assert last["energy_mj"] == pytest.approx(2.0)
    assert (half["energy_mj"], half["margin_mj"]) == (None, None)
    assert half["note"] == f"exit after block 1: {LOW}"
    assert {row["energy_mj"] for row in points} == {None}
    assert None not in {row["forward_ms"] for row in points}
    (said,) = build.named("energies_beside_routed", run_id="run-1")
    assert (said["model"], said["composed_mj"]) == ("early", None)
    assert (said["note"], said["energy_source"]) == (half["note"], "energy: replay: power.csv")


def test_a_routed_threshold_without_energy_confirms_nothing(build: InMemory) -> None:
    """It stands there with the reason; what is composed stays, unconfirmed."""
    _windows(build, _forced(build, [1.0]), {1: 10.0, 3: 10.0}, 8.0)
    _timed(build, 7.9, threshold=0.5, **EARLY)
    build.store()
    (row,), (trusted,) = _asked(
        build, "energy_composition('run-1')", "trusted_exit_energies('run-1')"
    )
    assert (row["energy_mj"], row["is_within"], row["note"]) == (None, None, f"energy: {LOW}")
    assert row["composed_mj"] == pytest.approx(2.0)
    assert trusted["exit_mj"] == pytest.approx([2.0, 2.0])
    assert trusted["note"] == "no routed threshold confirms the exit energies"


def test_energies_by_round_are_of_the_same_rounds(build: InMemory) -> None:
    """A round that took no more than idling counts in the mean, and has no energy of its own."""
    cell = build.cell(rounds=3)
    for round_ in range(3):
        build.records(cell, 4, round_)
    _windows(build, cell, 7.9, 8.0, round_=1)
    _windows(build, cell, 12.1, 8.0, round_=2)
    build.store()
    ((row,),) = _asked(build, "ladder")
    rounds = build.named("energies_in", run_id="run-1")
    assert row["energy_mj"] == pytest.approx(2.0 * 2)
    found = [(each["round"], each["energy_mj"], each["note"]) for each in rounds]
    assert found == [(1, None, LOW), (2, pytest.approx(8.2), None)]


def test_close_powers_are_told_apart(build: InMemory) -> None:
    """With one decimal they would look alike."""
    build.store()
    sql = "SELECT not_above_idle(7.96, 8.04), not_above_idle(8.1, 8.0), not_above_idle(8.1, NULL)"
    (found,) = build.query(sql)
    reason = "power while running was not above idle: 7.960 W against 8.040 W"
    assert list(found.values()) == [reason, None, None]


def test_sources_in_words(build: InMemory) -> None:
    """As nodes name them; a node without one has no line."""
    named = {
        "ina3221: VDD_IN": "energy: INA3221, rail VDD_IN",
        "ina238: VIN": "energy: INA238, rail VIN",
        "tegrastats: VDD_IN of a b.log": "energy: tegrastats: VDD_IN of a b.log",
        "ina3221: VDD_GPU_SOC + VDD_CPU_CV": "energy: INA3221, rails VDD_GPU_SOC + VDD_CPU_CV",
        "ina3221: no total among A, B": "energy: INA3221, no total among A, B",
        "nvml: the GPU, by its energy counter": "energy: NVML, the GPU, by its energy counter",
        "rapl: package-0": "energy: RAPL, rail package-0",
        "rapl: package-0 + package-1": "energy: RAPL, rails package-0 + package-1",
        "replay: rapl, my file.csv": "energy: replay: rapl, my file.csv",
        "meter: shelf.csv": "energy: meter: shelf.csv",
    }
    nodes = [storage.NodeRow("run-1", source, power_source=source) for source in (*named, "none")]
    nodes[-1] = storage.NodeRow("run-1", "none")
    build.store(nodes)
    (rows,) = _asked(build, "energy_sources")
    assert {row["node"]: row["energy_source"] for row in rows} == named


def test_a_summary_is_made_again_where_energy_is_defined_anew() -> None:
    """All that energy is made of is in the digest by which a summary counts (test_summaries)."""
    made_of = questions.find_needed(" ".join(questions.SUMMARISED))
    assert {
        "cell_energies",
        "task_energies",
        "power_windows",
        "throttled_rounds",
        "energy_sources",
        "above_idle_mj",
        "not_above_idle",
        "some_rounds",
        "by_time",
    } <= made_of
