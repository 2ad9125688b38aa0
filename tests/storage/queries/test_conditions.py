"""The machine's state: what differs beside it is said, and what it spoils is not used."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

import storage
from tests.storage.conftest import NOON

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.storage.in_memory import InMemory


@pytest.fixture
def build(in_memory: InMemory) -> InMemory:
    """Give a builder of one run, to be asked."""
    return in_memory


EARLY: dict[str, Any] = {"model": "early", "exit_blocks": (1,)}
POWER = "conditions: power mode {} here, {} elsewhere in this run"
CHANGED = "conditions: the power mode changed while it was timed: {}"
CLOCK = "conditions: a clock more than 5 % below the highest beside it"
LOAD = "conditions: others used 10 % of the processors or more"


def _timed(build: InMemory, *states: dict[str, Any], **changes: Any) -> storage.CellRow:
    """A cell that routed 700 images in each of as many rounds as there are states."""
    cell = build.cell(rounds=len(states), **changes)
    for round_, state in enumerate(states):
        build.records(cell, 700, round_)
        _round(build, cell, round_, **state)
    return cell


def _round(build: InMemory, cell: storage.CellRow, round_: int, **state: Any) -> None:
    times = {"started_at": NOON, "ended_at": NOON + timedelta(seconds=2)}
    row = {"node": cell.node, **times, **state}
    build.commit(cell, round_, 60, rounds={name: [value] for name, value in row.items()})


def _conditions(build: InMemory) -> dict[str, dict[str, Any]]:
    rows = build.query("select model, o.* from conditions o join cells using (cell_id)")
    return {row["model"]: row for row in rows}


def _reasons(build: InMemory) -> dict[str, list[str]]:
    """Of each model, what its ladder says of conditions."""
    return {
        row["model"]: [each for each in (row["note"] or "").split("; ") if "conditions" in each]
        for row in build.ladder()
    }


def test_others_on_the_gpu_are_said(build: InMemory) -> None:
    """In whichever round they were; none, or a GPU that does not tell, is no reason."""
    _timed(build, {"gpu_others": 0}, {"gpu_others": 2}, model="beside", position=0)
    _timed(build, {"gpu_others": 0}, {}, model="alone", position=1)
    build.store()
    assert _reasons(build) == {
        "beside": ["conditions: other processes had the GPU in use"],
        "alone": [],
    }
    assert {name: row["gpu_others"] for name, row in _conditions(build).items()} == {
        "beside": 2,
        "alone": 0,
    }


def test_one_row_a_cell_and_node(build: InMemory) -> None:
    """Means over its rounds; the load weighs by time: 2 s and 6 s."""
    late = NOON + timedelta(seconds=6)
    _timed(
        build,
        {"power_mode": "15W", "governor": "schedutil", "clock_mhz": 1000.0, "load": 0.02},
        {"power_mode": "15W", "clock_mhz": 1030.0, "load": 0.06, "ended_at": late},
        {"power_mode": "25W", "clock_mhz": 400.0, "load": 0.9, "is_throttled": True},
    )
    build.store()
    row = _conditions(build)["static"]
    assert (row["node"], row["power_mode"], row["governor"]) == ("node-a", "15W", "schedutil")
    assert (row["clock_mhz"], row["min_clock_mhz"], row["max_clock_mhz"]) == (1015, 1000, 1030)
    assert row["load"] == pytest.approx((2 * 0.02 + 6 * 0.06) / 8)
    assert row["is_steady"]
    assert row["note"] is None
    assert _reasons(build) == {"static": []}


def test_a_cell_of_two_runs_has_the_conditions_of_each(build: InMemory) -> None:
    """Once in each, and beside those of its own run alone."""
    again = build.beside("run-2")
    _timed(build, {"power_mode": "15W"})
    _timed(again, {"power_mode": "25W"})
    build.store()
    again.store()
    rows = build.query("select run_id, cell_id, power_mode, note from conditions")
    assert rows == [
        {"run_id": run, "cell_id": "latency-0", "power_mode": mode, "note": None}
        for run, mode in (("run-1", "15W"), ("run-2", "25W"))
    ]


def test_nothing_is_said_of_what_nobody_could_read(build: InMemory) -> None:
    """NULL beside a known state is no other state."""
    _timed(build, {}, model="dark")
    _timed(build, {"power_mode": "15W", "governor": "performance", "clock_mhz": 9.0, "load": 0.0})
    build.store()
    row = _conditions(build)["dark"]
    shown = [row[name] for name in ("power_mode", "governor", "clock_mhz", "load", "note")]
    assert (shown, row["is_steady"]) == ([None] * 5, True)
    assert _reasons(build) == {"dark": [], "static": []}


def test_a_number_alone_is_the_mode_of_that_number(build: InMemory) -> None:
    """As older versions wrote it, in a run that was resumed: no other mode, and no other run's."""
    _timed(build, {"power_mode": "2"}, {"power_mode": "MAXN_SUPER (2)"}, model="resumed")
    _timed(build, {"power_mode": "2"}, {"power_mode": "2, 15W (0)"}, model="changed")
    _timed(build, {"power_mode": "2"}, model="other", node="node-b")
    _timed(build, {"power_mode": "15W (2)"}, model="another", node="node-c")
    again = build.beside("run-2")
    _timed(again, {"power_mode": "2"}, model="again")
    build.store()
    again.store()
    rows = build.query(
        "select model, power_mode, is_steady from conditions join cells using (run_id, cell_id)"
    )
    assert {model: tuple(rest) for model, *rest in (row.values() for row in rows)} == {
        "resumed": ("MAXN_SUPER (2)", True),
        "changed": ("15W (0), MAXN_SUPER (2)", False),
        "other": ("2", True),
        "another": ("15W (2)", True),
        "again": ("2", True),
    }
    assert _reasons(build)["resumed"] == [POWER.format("MAXN_SUPER (2)", "15W (0)")]


def test_two_modes_of_one_number_are_two(build: InMemory) -> None:
    """As after an upgrade amid a run; which of them the number alone was is not known."""
    modes = ("2", "15W (2)", "MAXN_SUPER (2)")
    _timed(build, *({"power_mode": mode} for mode in modes))
    build.store()
    row = _conditions(build)["static"]
    assert (row["power_mode"], row["is_steady"]) == ("15W (2), 2, MAXN_SUPER (2)", False)


def test_another_power_mode_is_said_on_both_sides(build: InMemory) -> None:
    """Of all cells of a run, node and device, also in another table; not of another node."""
    _timed(build, {"power_mode": "15W"}, model="slow")
    _timed(build, {"power_mode": "25W"}, model="fast")
    _timed(build, {"power_mode": "25W"}, model="elsewhere", batch_size=8)
    _timed(build, {"power_mode": "MAXN"}, model="other", node="node-b")
    build.store()
    assert _reasons(build) == {
        "slow": [POWER.format("15W", "25W")],
        "fast": [POWER.format("25W", "15W")],
        "elsewhere": [POWER.format("25W", "15W")],
        "other": [],
    }
    assert all(row["is_valid"] for row in build.ladder())


@pytest.mark.parametrize(
    "states",
    [
        [{"power_mode": "15W"}, {"power_mode": "25W"}, {"power_mode": "25W"}],
        [{"power_mode": "15W, 25W"}],  # between the two readings of a round
    ],
)
def test_a_power_mode_that_changed_makes_a_cell_invalid(
    build: InMemory, states: Sequence[dict[str, Any]]
) -> None:
    """Its mean is of no mode; the figures stay, with the reason."""
    _timed(build, *states)
    build.store()
    (row,) = build.ladder()
    assert (row["is_valid"], row["forward_ms"], row["power_mode"]) == (False, 2.0, "15W, 25W")
    assert CHANGED.format("15W, 25W") in row["note"].split("; ")
    (invalid,) = build.query("from invalid_cells")
    assert invalid["note"] == CHANGED.format("15W, 25W")


def test_a_mode_in_a_throttled_round_changes_nothing(build: InMemory) -> None:
    """That round is left out whole."""
    _timed(build, {"power_mode": "25W"}, {"power_mode": "15W", "is_throttled": True})
    build.store()
    (row,) = build.ladder()
    assert (row["is_valid"], row["power_mode"], row["note"]) == (
        True,
        "25W",
        "energy: no power samples",
    )


def test_another_governor_is_said_and_one_of_several_clusters_is_not(build: InMemory) -> None:
    """Two clusters may have two governors all the time: that is one state."""
    both = "performance, schedutil"
    _timed(build, {"governor": both}, {"governor": both}, model="clusters")
    _timed(build, {"governor": both}, {"governor": "powersave"}, model="changed")
    build.store()
    assert _reasons(build) == {
        "clusters": [f"conditions: governor {both} here, powersave elsewhere in this run"],
        "changed": [f"conditions: governor changed while it was timed: {both} / powersave"],
    }
    assert all(row["is_valid"] for row in build.ladder())


@pytest.mark.parametrize(("mhz", "is_said"), [(951.0, False), (949.0, True)])
def test_the_highest_clocks_must_be_alike(build: InMemory, mhz: float, *, is_said: bool) -> None:
    """5 % below another of the same table; a single low reading says nothing."""
    _timed(build, {"clock_mhz": 1000.0}, {"clock_mhz": 300.0}, model="fast")
    _timed(build, {"clock_mhz": mhz}, {"clock_mhz": 400.0}, model="slow")
    build.store()
    assert _reasons(build) == {"fast": [], "slow": [CLOCK] if is_said else []}


@pytest.mark.parametrize(
    "changes", [{"threads": 2}, {"runtime": "onnx"}, {"batch_size": 8}, {"node": "node-b"}]
)
def test_clocks_of_other_tables_may_differ(build: InMemory, changes: dict[str, Any]) -> None:
    """More threads or wider instructions lower the clock of their own accord."""
    _timed(build, {"clock_mhz": 1000.0}, model="fast")
    _timed(build, {"clock_mhz": 500.0}, model="slow", **changes)
    build.store()
    assert _reasons(build) == {"fast": [], "slow": []}


@pytest.mark.parametrize(
    ("load", "seconds", "is_said"), [(0.1, 1, True), (0.09, 60, False), (0.5, 0.9, False)]
)
def test_a_busy_neighbour_is_said(
    build: InMemory, load: float, seconds: float, *, is_said: bool
) -> None:
    """From a tenth of the processors on, where it was counted for a second at least."""
    _timed(build, {"load": load, "ended_at": NOON + timedelta(seconds=seconds)})
    build.store()
    assert _reasons(build) == {"static": [LOAD] if is_said else []}


def _energy(build: InMemory, model: str, mode: str | None, **changes: Any) -> None:
    """A model of 5 W over 1 W, in a mode."""
    cell = _timed(build, {"power_mode": mode}, model=model, **changes)
    build.power(cell, "active", [0, 1], [5, 5])
    build.power(cell, "idle_before", [-1, 0], [1, 1], shard=51)


@pytest.mark.parametrize(
    ("mode", "nodes_mode", "saving"),
    [("25W", None, 0.0), ("15W", None, None), (None, None, None), (None, "25W", 0.0)],
)
def test_nothing_is_saved_across_power_modes(
    build: InMemory, mode: str | None, nodes_mode: str | None, saving: float | None
) -> None:
    """Nor where one of the two is not known; energy itself stays."""
    _energy(build, "large", "25W")
    _energy(build, "small", mode)
    build.store([storage.NodeRow("run-1", "node-a", power_mode=nodes_mode)])
    rows = {row["model"]: row for row in build.ladder()}
    assert rows["large"]["energy_saving_pct"] == 0
    small = rows["small"]
    assert (small["energy_saving_pct"], small["energy_mj"]) == (saving, pytest.approx(8))
    reason = f"saving: power mode {mode or 'unknown'} here, 25W in the rounds of the baseline large"
    assert (reason in (small["note"] or "").split("; ")) == (saving is None)


def test_the_baseline_of_the_same_mode_is_taken(build: InMemory) -> None:
    """Though another is more alike otherwise."""
    _energy(build, "large", "25W")
    _energy(build, "large", "15W", threads=2)
    _energy(build, "small", "15W")
    build.store()
    (small,) = [row for row in build.ladder() if row["model"] == "small"]
    assert small["energy_saving_pct"] == 0


def _pass(build: InMemory, **changes: Any) -> storage.CellRow:
    """An all-exit pass of two images: one leaves after block 1 at 0.5, if the model has gates."""
    cell = build.cell("exits", batch_size=64, **changes)
    gates = {"exit_block": [1, 1, 3, 3], "gate_score": [0.9, 0.1, None, None]}
    last = {"exit_block": [3, 3], "gate_score": None}
    columns: dict[str, Any] = gates if cell.exit_blocks == (1,) else last
    images = [0, 1] * (len(columns["exit_block"]) // 2)
    build.commit(
        cell,
        exits={"image_id": images, "is_correct": [True, False] * (len(images) // 2), **columns},
    )
    return cell


def _costs(build: InMemory, mode: str | None = None, **changes: Any) -> storage.CellRow:
    """1 ms at the first exit, 2 ms at the last."""
    cell = build.cell("exit_costs", **EARLY | changes)
    columns = {"exit_block": [1, 3], "forward_ms": [1.0, 2.0]}
    build.commit(cell, exit_costs={"image_id": [0, 0], **columns})
    _round(build, cell, 0, power_mode=mode)
    return cell


def _rows(build: InMemory, question: str) -> list[dict[str, Any]]:
    return build.query(f"from {question}")


INVALID: dict[str, tuple[str | None, dict[str, Any], str]] = {
    "changed": ("15W, 25W", {}, CHANGED.format("15W, 25W")),
    "throttled": (
        None,
        {"is_valid": False, "note": "throttled: 3 of 3 rounds"},
        "throttled: 3 of 3 rounds",
    ),
    "failed": (
        None,
        {"is_valid": False, "status": "failed", "error": "Traceback:\n  x\nOSError: gone\n"},
        "OSError: gone",
    ),
}
"""By model: the power mode of its costs, what is said of their cell, and why they are not valid."""


def test_costs_of_an_invalid_cell_are_not_used(build: InMemory) -> None:
    """Neither for the frontier nor at any threshold, and the note says why."""
    for model, (mode, changes, _) in INVALID.items():
        _pass(build, **EARLY | {"model": model})
        _costs(build, mode, model=model, **changes)
    build.store()
    notes = {model: f"its times are not valid: {why}" for model, (*_, why) in INVALID.items()}
    costs = {row["cell_id"]: row for row in _rows(build, "trusted_exit_costs('run-1')")}
    models = {cell.cell_id: cell.model for cell in build.cells if cell.kind == "exits"}
    assert {models[cell]: (row["exit_ms"], row["note"]) for cell, row in costs.items()} == {
        model: (None, note) for model, note in notes.items()
    }
    points = _rows(build, "frontier('run-1')")
    assert [(row["model"], row["mean_blocks"], row["forward_ms"]) for row in points] == [
        (model, blocks, None) for model in INVALID for blocks in (4.0, 3.0, 2.0)
    ]
    composed = _rows(build, "composed_latency('run-1', [0.5])")
    assert {models[row["cell_id"]]: (row["forward_ms"], row["note"]) for row in composed} == {
        model: (None, note) for model, note in notes.items()
    }
    curve = build.named("curve", run_id="run-1", most=9, undominated=0)
    assert {row["model"]: row["forward_ms_note"] for row in curve} == notes
    choosable = build.named("choosable", run_id="run-1")
    assert {row["model"]: row["exit_forward_ms_note"] for row in choosable} == notes
    assert {row["exit_forward_ms"] for row in choosable} == {None}
    assert {row["is_exit_forward_ms_promised"] for row in choosable} == {None}


def test_an_invalid_cell_without_times_says_so_too(build: InMemory) -> None:
    """Every round throttled: that is another reason than that nobody measured."""
    _pass(build, **EARLY)
    cell = build.cell("exit_costs", **EARLY, is_valid=False, note="throttled: 1 of 1 rounds")
    build.commit(
        cell, exit_costs={"image_id": [0, 0], "exit_block": [1, 3], "forward_ms": [1.0, 2.0]}
    )
    _round(build, cell, 0, is_throttled=True)
    build.store()
    (costs,) = _rows(build, "trusted_exit_costs('run-1')")
    assert costs["note"] == "its times are not valid: throttled: 1 of 1 rounds"


def test_a_valid_cell_is_taken_before_an_invalid_one(build: InMemory) -> None:
    """Whichever stands first."""
    _pass(build, **EARLY)
    _costs(build, is_valid=False)
    valid = _costs(build)
    build.store()
    (costs,) = _rows(build, "trusted_exit_costs('run-1')")
    assert (costs["costs_cell_id"], costs["exit_ms"]) == (valid.cell_id, [1.0, 2.0])


def test_an_invalid_static_model_is_no_rival_in_milliseconds(build: InMemory) -> None:
    """Its time of 0.1 ms would beat everything."""
    for is_valid in (True, False):
        other = build.beside(f"run-{is_valid}")
        _pass(other, **EARLY)
        _costs(other)
        _pass(other)
        flat = other.cell(is_valid=is_valid)
        other.records(flat, 700, forward_ms=0.1)
        other.store()
        points = _rows(other, f"frontier('run-{is_valid}')")
        (static,) = [row for row in points if row["model"] == "static"]
        early = [row for row in points if row["model"] == "early"]
        assert static["forward_ms"] == (pytest.approx(0.1) if is_valid else None)
        assert [row["is_dominated"] for row in early] == [
            is_valid or row["mean_blocks"] > 2 for row in early
        ]


def test_rivals_are_of_one_power_mode(build: InMemory) -> None:
    """Both keep their milliseconds, and each note says that they are not of one mode."""
    _pass(build, **EARLY)
    _costs(build, "15W")
    _pass(build)
    flat = build.cell()
    build.records(flat, 700, forward_ms=0.1)
    _round(build, flat, 0, power_mode="25W")
    build.store()
    points = _rows(build, "frontier('run-1')")
    best = [row for row in points if not row["is_dominated"]]
    assert [(row["model"], row["forward_ms"]) for row in best] == [
        ("early", pytest.approx(1.0)),
        ("static", pytest.approx(0.1)),
    ]
    notes = {row["cell_id"]: row["note"] for row in _rows(build, "trusted_exit_costs('run-1')")}
    assert notes == {
        "exits-0": f"no routed threshold confirms the exit costs; {POWER.format('15W', '25W')}",
        "exits-2": POWER.format("25W", "15W"),
    }


@pytest.mark.parametrize("is_valid", [True, False])
def test_an_invalid_routed_threshold_neither_refutes_nor_confirms(
    build: InMemory, *, is_valid: bool
) -> None:
    """At 9 ms it is far from the 2 ms composed."""
    _pass(build, **EARLY)
    _costs(build)
    routed = build.cell(threshold=0.95, is_valid=is_valid, **EARLY)
    build.records(routed, 2, exit_block=3, forward_ms=9.0)
    build.store()
    assert len(_rows(build, "composition('run-1')")) == is_valid
    (costs,) = _rows(build, "trusted_exit_costs('run-1')")
    assert costs["exit_ms"] == [1.0, 2.0]
    assert costs["is_promised"] != is_valid
    if not is_valid:
        assert costs["note"] == "no routed threshold confirms the exit costs"


def test_runs_know_nothing_of_each_other(build: InMemory) -> None:
    """The same cells under another mode and clock, in another run."""
    for run_id, mode, mhz in (("run-1", "15W", 500.0), ("run-2", "25W", 1000.0)):
        other = build.beside(run_id)
        _timed(other, {"power_mode": mode, "clock_mhz": mhz})
        other.store()
        assert _reasons(other) == {"static": []}
