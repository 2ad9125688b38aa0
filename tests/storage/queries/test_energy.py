"""Energy by exit in SQL: windows of forced exits, composed, and held against what was routed."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

import storage
from storage.tables import schemas
from tests.storage.conftest import NOON

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.storage.conftest import Builder
    from tests.storage.in_memory import InMemory

EARLY: dict[str, Any] = {"model": "early", "exit_blocks": (1,)}


@pytest.fixture
def build(in_memory: InMemory) -> InMemory:
    """Give a builder of one run, to be asked."""
    return in_memory


def _rows(build: Builder, question: str) -> list[dict[str, Any]]:
    return build.query(f"from {question}")


def _power(windows: Sequence[tuple[float, str, int | None, Sequence[float]]]) -> dict[str, object]:
    """Columns of power: each window by its start, phase, exit, and watts a second apart."""
    rows = [
        (NOON + timedelta(seconds=start + i), phase, block, 1000.0 * watt)
        for start, phase, block, watts in windows
        for i, watt in enumerate(watts)
    ]
    names = ("sampled_at", "phase", "exit_block", "power_mw")
    columns: dict[str, object] = {n: [row[i] for row in rows] for i, n in enumerate(names)}
    return columns | {"rail": "total"}


def _run(
    build: Builder,
    rounds: Sequence[Mapping[int, float]],
    routed_w: float = 11.0,
    idle_w: float = 8.0,
    asked: int | None = None,
    until_pct: float | None = None,
) -> None:
    """A model with exits after blocks 1 and 3, which take 1 and 3 ms, routed half and half at 0.5.

    `rounds` has the watts of each forced exit, round by round; `asked`: how many may run.
    """
    passes = build.cell("exits", batch_size=64, **EARLY)
    build.commit(
        passes,
        exits={
            "image_id": [0, 1, 0, 1],
            "exit_block": [1, 1, 3, 3],
            "gate_score": [0.9, 0.1, None, None],
            "is_correct": True,
        },
    )
    routed = build.cell("latency", threshold=0.5, **EARLY)
    idle = [idle_w] * 3
    build.commit(
        routed,
        records={
            "image_id": [0, 1],
            "exit_block": [1, 3],
            "is_correct": True,
            "forward_ms": [1.0, 3.0],
            "elapsed_ms": [2.0, 4.0],
        },
        power=_power([(0, "idle_before", None, idle), (5, "active", None, [routed_w] * 4)])
        | {"node": "node-a", "shard": 0},
    )
    costs = build.cell("exit_costs", rounds=asked or len(rounds), until_pct=until_pct, **EARLY)
    for number, watts in enumerate(rounds):
        forced = [
            (10 + 5 * i, "active", block, [w] * 3) for i, (block, w) in enumerate(watts.items())
        ]
        build.commit(
            costs,
            number,
            exit_costs={
                "image_id": [0, 1, 0, 1],
                "exit_block": [1, 1, 3, 3],
                "forward_ms": [0.9, 1.1, 2.0, 4.0],
            },
            power=_power([(0, "idle_before", None, idle), *forced, (90, "idle_after", None, idle)])
            | {"node": "node-a", "shard": 0},
            rounds={"node": "node-a"},
        )
    build.store()


def test_energy_of_each_exit_by_hand(build: Builder) -> None:
    """(10 - 8) W x 1 ms = 2 mJ and (11 - 8) W x 3 ms = 9 mJ; with intervals over the rounds."""
    _run(build, [{1: 9.9, 3: 10.9}, {1: 10.1, 3: 11.1}])
    early, last = sorted(_rows(build, "exit_energies"), key=lambda row: row["exit_block"])
    assert (early["exit_block"], early["windows"], early["node"]) == (1, 2, "node-a")
    assert early["power_w"] == pytest.approx(10.0)
    assert early["idle_w"] == pytest.approx(8.0)
    assert early["energy_mj"] == pytest.approx(2.0)
    assert early["energy_gross_mj"] == pytest.approx(10.0)
    # Energies of the windows are 1.9 and 2.1: s = 0.1 sqrt 2, over sqrt 2, times t of one degree.
    assert early["margin_mj"] == pytest.approx(0.1 * 12.706)
    assert last["energy_mj"] == pytest.approx(9.0)
    assert last["margin_mj"] == pytest.approx(0.3 * 12.706)


@pytest.mark.parametrize("asked", [3, 40])
def test_rounds_that_ended_when_they_agreed_make_the_interval_wider(
    build: Builder, asked: int
) -> None:
    """Of three rounds 3.11 times as wide, by what was spent on looks; 40 may still run."""
    watts: list[Mapping[int, float]] = [{1: w, 3: w + 1} for w in (9.9, 10.0, 10.1)]
    _run(build, watts, routed_w=10.75, asked=asked, until_pct=1.0)
    early, last = sorted(_rows(build, "exit_energies"), key=lambda row: row["exit_block"])
    margin = 3.11 * 4.303 * 0.1 / math.sqrt(3)  # t of two degrees; energies are 1.9, 2.0, 2.1 mJ
    assert early["margin_mj"] == pytest.approx(margin)
    assert last["margin_mj"] == pytest.approx(3 * margin)
    (trusted,) = _rows(build, "trusted_exit_energies('run-1')")
    assert trusted["exit_margin_mj"] == pytest.approx([margin, 3 * margin])
    (half,) = _rows(build, "composed_energy('run-1', [0.5])")
    assert half["margin_mj"] == pytest.approx(math.hypot(margin / 2, 3 * margin / 2))


def test_a_round_without_power_makes_the_interval_wider(build: Builder) -> None:
    """A look after four rounds with three windows: 4.63 times as wide, computed a ninth more."""
    watts: list[Mapping[int, float]] = [{}, *({1: w, 3: w + 1} for w in (9.9, 10.0, 10.1))]
    _run(build, watts, routed_w=10.75, asked=40, until_pct=1.0)
    early = min(_rows(build, "exit_energies"), key=lambda row: row["exit_block"])
    assert early["windows"] == 3
    assert 4.63 <= early["margin_mj"] / (4.303 * 0.1 / math.sqrt(3)) < 4.63 * 1.12


def test_two_rounds_of_those_that_end_when_they_agree_have_no_interval(build: Builder) -> None:
    """Nothing is spent before three."""
    _run(build, [{1: 9.9, 3: 10.9}, {1: 10.1, 3: 11.1}], asked=40, until_pct=1.0)
    assert {row["margin_mj"] for row in _rows(build, "exit_energies")} == {None}


def test_one_window_has_no_interval(build: Builder) -> None:
    """NULL, not 0."""
    _run(build, [{1: 10.0, 3: 11.0}])
    assert {row["margin_mj"] for row in _rows(build, "exit_energies")} == {None}


def test_a_mixture_by_hand(build: Builder) -> None:
    """Half at 2 mJ, half at 9 mJ: 5.5; routed (10.75 - 8) W x 2 ms is as much, so all is known."""
    _run(build, [{1: 9.9, 3: 10.9}, {1: 10.1, 3: 11.1}], routed_w=10.75)
    (check,) = _rows(build, "energy_composition('run-1')")
    assert check["energy_mj"] == pytest.approx(5.5)
    assert check["composed_mj"] == pytest.approx(5.5)
    assert check["error_pct"] == pytest.approx(0, abs=1e-9)
    assert check["is_within"]
    (trusted,) = _rows(build, "trusted_exit_energies('latest')")
    assert (trusted["exit_mj"], trusted["note"]) == (pytest.approx([2.0, 9.0]), None)
    points = {row["threshold"]: row["energy_mj"] for row in _rows(build, "frontier('run-1')")}
    assert sorted(points.values()) == pytest.approx([2.0, 5.5, 9.0])
    assert points[math.inf] == pytest.approx(9.0)
    (half,) = _rows(build, "composed_energy('run-1', [0.5])")
    assert half["energy_mj"] == pytest.approx(5.5)
    assert half["margin_mj"] == pytest.approx(math.hypot(0.5 * 1.2706, 0.5 * 3.8118))
    (none,) = _rows(build, "composed_energy('run-1', [0.95])")
    assert none["energy_mj"] == pytest.approx(9.0)


@pytest.mark.parametrize(("factor", "is_within"), [(1.019, True), (1.021, False), (0.979, False)])
def test_beyond_the_tolerance_nothing_is_composed(
    build: Builder, factor: float, *, is_within: bool
) -> None:
    """2 % of the mean energy, as of the latency; then what-ifs are refused, with the reason."""
    _run(build, [{1: 8 + 2 * factor, 3: 8 + 3 * factor}], routed_w=10.75)
    (check,) = _rows(build, "energy_composition('run-1')")
    assert check["error_pct"] == pytest.approx(100 * (factor - 1))
    assert check["is_within"] == is_within
    (trusted,) = _rows(build, "trusted_exit_energies('run-1')")
    assert (trusted["exit_mj"] is not None) == is_within
    if not is_within:
        assert f"is missed by {100 * (factor - 1):+.1f} %, more than 2 %" in trusted["note"]
        assert {row["energy_mj"] for row in _rows(build, "frontier('run-1')")} == {None}
        (row,) = _rows(build, "composed_energy('run-1', [0.5])")
        assert (row["energy_mj"], row["margin_mj"]) == (None, None)


def test_an_exit_without_a_window_leaves_all_unknown(build: Builder) -> None:
    """And says what to measure; milliseconds are known all the same."""
    _run(build, [{1: 10.0}])
    (trusted,) = _rows(build, "trusted_exit_energies('run-1')")
    assert trusted["exit_mj"] is None
    assert "measure: [energy, exit_costs]" in trusted["note"]
    points = _rows(build, "frontier('run-1')")
    assert {row["energy_mj"] for row in points} == {None}
    assert None not in {row["forward_ms"] for row in points}


def test_a_static_model_is_a_point_with_its_routed_energy(build: Builder) -> None:
    """(12 - 8) W x 2 ms."""
    columns = {"exit_block": 3, "gate_score": None, "is_correct": True}
    build.commit(build.cell("exits"), exits={"image_id": [0, 1], **columns})
    routed = build.cell()
    build.records(routed, 2)
    build.power(routed, "idle_before", [0, 1, 2], [8, 8, 8])
    build.power(routed, "active", [3, 4, 5], [12, 12, 12], shard=51)
    build.store()
    (point,) = _rows(build, "frontier('run-1')")
    assert point["energy_mj"] == pytest.approx(8.0)
    (row,) = build.ladder()
    assert row["energy_mj"] == pytest.approx(8.0)


def test_no_trapezoid_reaches_across_two_shards(build: Builder) -> None:
    """A round of two tasks: 100 s lie between their windows, in which others ran."""
    cell = build.cell()
    build.records(cell, 2)
    for shard, (start, watt) in enumerate(((0, 10.0), (100, 20.0))):
        build.commit(
            cell,
            0,
            50 + shard,
            power=_power(
                [(start, "active", None, [watt] * 3), (start + 5, "idle_after", None, [5.0] * 3)]
            )
            | {"node": "node-a", "shard": shard},
        )
    build.store()
    windows = [row for row in _rows(build, "power_windows") if row["phase"] == "active"]
    assert sorted((row["shard"], row["power_w"], row["duration_us"]) for row in windows) == [
        (0, 10.0, 2_000_000),
        (1, 20.0, 2_000_000),
    ]
    assert {row["samples"] for row in windows} == {3}
    (row,) = build.ladder()
    assert (row["power_w"], row["idle_w"]) == (15.0, 5.0)


def test_marks_without_power_are_no_samples(build: Builder) -> None:
    """They wait for a meter's log: no figure, and the reason."""
    cell = build.cell()
    build.records(cell, 2)
    build.power(cell, "active", [0, 1], [1, 1])
    (entry, tables) = build.tables.pop()
    marks = tables["power"].to_pydict() | {"power_mw": [None, None]}
    build.tables.append((entry, {"power": storage.build_table("power", marks)}))
    build.store()
    assert _rows(build, "power_windows") == []
    (row,) = build.ladder()
    assert (row["power_w"], row["energy_mj"]) == (None, None)
    assert "energy: no power samples" in row["note"]


@pytest.mark.parametrize("is_merged", [False, True])
def test_files_of_version_2_still_read(stored: Builder, *, is_merged: bool) -> None:
    """They have neither shard nor exit_block: NULL, beside files that have them."""
    cell = stored.cell()
    stored.records(cell, 2)
    stored.power(cell, "idle_before", [0, 1, 2], [8, 8, 8])
    stored.power(cell, "active", [3, 4, 5], [12, 12, 12], shard=51)
    stored.store()
    old, new = sorted((stored.root / "runs/run-1/data").glob("power-*.parquet"))
    table = pq.read_table(old).drop_columns(["shard", "exit_block"])
    metadata = table.schema.metadata | {schemas.VERSION_KEY.encode(): b"2"}
    pq.write_table(table.replace_schema_metadata(metadata), old)
    (row,) = stored.ladder()
    assert row["energy_mj"] == pytest.approx(8.0)
    assert {(r["shard"], r["exit_block"]) for r in _rows(stored, "power")} == {(None, None)}
    new.write_bytes(old.read_bytes())
    if is_merged:
        with storage.RunStore.open(stored.root, "run-1") as store:
            store.merge()
    assert len(_rows(stored, "power")) == 6, "where all files are old"


def test_students_t(build: InMemory) -> None:
    """As tables have it."""
    expected = {1: None, 2: 12.706, 3: 4.303, 31: 2.042, 32: 2.040, 1000: 1.962}
    found = build.query(f"SELECT student_t(unnest({list(expected)})) AS t")
    for row, known in zip(found, expected.values(), strict=True):
        assert row["t"] == (None if known is None else pytest.approx(known, abs=1e-3))


def test_power_is_added_to_a_finished_run_in_one_step(
    stored: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Visible whole, kept by a merge; cut off before its manifest, nothing is there."""
    cell = stored.cell()
    stored.records(cell, 2)
    stored.store(merge=True)
    columns = _power([(0, "active", None, [9.0] * 3)]) | {
        "run_id": "run-1",
        "cell_id": cell.cell_id,
    }
    table = storage.build_table("power", columns | {"round": 0, "node": "node-a"})
    with storage.RunStore.open(stored.root, "run-1") as store:
        with monkeypatch.context() as patch:

            def fail(*_: object) -> None:
                raise OSError("disk full")

            patch.setattr("storage.runs.store.publish_manifest", fail)
            with pytest.raises(storage.StorageError, match="power of run run-1 cannot be added"):
                store.add_power(table)
        assert _rows(stored, "power") == []
        store.add_power(table)
        assert len(_rows(stored, "power")) == 3
        store.merge()
        assert len(_rows(stored, "power")) == 3
        assert len(_rows(stored, "records")) == 2
        other = storage.build_table("power", columns | {"run_id": "run-2"})
        with pytest.raises(storage.StorageError, match="run_id run-1 carry the run_id 'run-2'"):
            store.add_power(other)


def test_power_is_replaced_in_one_step(stored: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readings of a node's total go, its marks, its rails and other nodes' power stay; or none."""
    cell = stored.cell()
    stored.records(cell, 2)
    stored.store(merge=True)

    def table(node: str, rail: str, power_mw: list[float | None]) -> Any:
        columns = _power([(0, "active", None, [9.0] * len(power_mw))])
        columns |= {"power_mw": power_mw, "rail": rail, "node": node, "round": 0}
        return storage.build_table("power", columns | {"run_id": "run-1", "cell_id": cell.cell_id})

    def found() -> list[tuple[Any, ...]]:
        question = "(select node, rail, power_mw from power order by all)"
        return [tuple(row.values()) for row in _rows(stored, question)]

    new = table("a", "total", [5.0, 6.0])
    with storage.RunStore.open(stored.root, "run-1") as store:
        store.replace_power(["a"], table("a", "total", [1.0]))
        assert found() == [("a", "total", 1.0)]
        for rows in (("a", "total", [None, 2.0]), ("a", "VDD", [3.0]), ("b", "total", [4.0])):
            store.add_power(table(*rows))
        before = found()
        with monkeypatch.context() as patch:

            def fail(*_: object) -> None:
                raise OSError("disk full")

            patch.setattr("storage.runs.merge.publish_manifest", fail)
            with pytest.raises(storage.StorageError, match="power of run run-1 cannot be replaced"):
                store.replace_power(["a"], new)
        assert found() == before
        store.replace_power(["a"], new)
    assert found() == [
        ("a", "VDD", 3.0),
        ("a", "total", 5.0),
        ("a", "total", 6.0),
        ("a", "total", None),
        ("b", "total", 4.0),
    ]
    with storage.RunStore.open(stored.root, "run-1") as store:
        store.replace_power((), table("c", "total", [7.0]))
        store.replace_power(["a"], table("a", "total", [8.0]), has_rails=True)
    kept = [("b", "total", 4.0), ("c", "total", 7.0)]
    assert found() == [("a", "total", 8.0), ("a", "total", None), *kept]
    assert len(_rows(stored, "records")) == 2


def test_rounds_are_replaced_with_power(stored: Builder) -> None:
    """By cell, round, node and start; the others stay, and so do all if it fails."""
    cell = stored.cell()
    times = [NOON, NOON + timedelta(seconds=9)]
    stored.commit(cell, 0, 0, rounds={"node": ["a", "a"], "started_at": times, "clock_mhz": 9.0})
    stored.store(merge=True)
    row = {"run_id": "run-1", "cell_id": cell.cell_id, "round": 0, "node": "a"}
    late = storage.build_table("rounds", row | {"started_at": times[1], "emc_clock_mhz": 3.0})
    nothing = storage.build_table("power", {"round": [], "run_id": "run-1"})
    with storage.RunStore.open(stored.root, "run-1") as store:
        store.replace_power((), nothing, late)
        with pytest.raises(storage.StorageError, match="does not match its schema"):
            store.replace_power((), nothing, nothing)
    question = "(select started_at, clock_mhz, emc_clock_mhz from rounds order by started_at)"
    assert [tuple(row.values()) for row in _rows(stored, question)] == [
        (times[0], 9.0, None),
        (times[1], None, 3.0),
    ]
