"""Composed figures where every cell has a neighbour that must not be taken for it; by hand."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

import storage
from tests.storage.composed_run import Run
from tests.storage.conftest import NOON, Builder

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

Row = dict[str, Any]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """Give a connection to two such runs, the second slower."""
    root = tmp_path_factory.mktemp("composed")
    for number in (1, 2):
        Run(Builder(root, f"run-{number}"), 10.0 * (number - 1))
    with storage.connect(root) as connection:
        yield connection


def _rows(asked: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
    return asked.sql(sql).fetchall()


COSTS = "exit_costs-6"


def test_means_of_forced_exits(asked: duckdb.DuckDBPyConnection) -> None:
    """Over what was timed, in rounds that were not throttled."""
    sql = f"FROM exit_means WHERE run_id = 'run-1' AND cell_id = '{COSTS}' ORDER BY exit_block"
    assert _rows(asked, sql) == [
        ("run-1", COSTS, 1, 4, 2.0),
        ("run-1", COSTS, 2, 1, 99.0),
        ("run-1", COSTS, 3, 2, 6.0),
    ]


def test_costs_are_those_of_the_pass(asked: duckdb.DuckDBPyConnection) -> None:
    """Of the first valid cell of the same images at batch 1, in the order of the exits."""
    found = _rows(
        asked,
        "SELECT p.model, c.costs_cell_id, c.all_exits, c.exit_ms, c.is_valid, c.note "
        "FROM measured_exit_costs('run-1') c JOIN cells p USING (run_id, cell_id) ORDER BY p.model",
    )
    assert found == [
        ("bad", "exit_costs-21", [1, 3], [1.0, 1.0], False, "throttled: 2 of 3 rounds"),
        ("dim", "exit_costs-31", [1, 3], [1.0, 1.0], True, None),
        ("early", COSTS, [1, 3], [2.0, 6.0], True, None),
        ("missed", "exit_costs-26", [1, 3], [2.0, 6.0], True, None),
        ("static", "latency-16", [3], [4.0], True, None),
        ("swift", "exit_costs-18", [1, 3], [1.0, 1.0], True, None),
    ]


def _by_model(asked: duckdb.DuckDBPyConnection, names: str, question: str) -> list[tuple[Any, ...]]:
    cells = "JOIN cells p USING (run_id, cell_id)"
    sql = f"SELECT p.model, {names} FROM {question} f {cells}"  # noqa: S608 (ours)
    return _rows(asked, f"{sql} ORDER BY ALL")


@pytest.mark.parametrize(
    ("question", "figure", "early"),
    [
        ("composition", "forward_ms", (5.02, 5.0)),
        ("energy_composition", "energy_mj", (4.7 * 5.02, 23.5)),
    ],
)
def test_valid_routes_are_held_against_their_own_costs(
    asked: duckdb.DuckDBPyConnection, question: str, figure: str, early: tuple[float, float]
) -> None:
    """One image at the first exit, three at the last; each of them once."""
    composed = figure.replace("forward", "composed").replace("energy", "composed")
    names = f"routes, {figure}, {composed}, error_pct, is_within"
    found = _by_model(asked, names, f"{question}('run-1')")
    last = 6.0 if figure == "forward_ms" else 30.0
    errors = {1.025: 2.5, 1.0: 0.0, 0.97: -3.0}
    assert found == [
        ("early", 4, *map(pytest.approx, early), pytest.approx(100 * (5 / 5.02 - 1)), True),
        *(
            (
                "missed",
                4,
                pytest.approx(last / factor),
                last,
                pytest.approx(error, abs=1e-9),
                error == 0,
            )
            for factor, error in errors.items()
        ),
        ("swift", 4, 1.0, 1.0, pytest.approx(0, abs=1e-9), True),
    ]


def test_a_throttled_round_takes_no_other_round_along(asked: duckdb.DuckDBPyConnection) -> None:
    """Of the first model each side has one more round, which was throttled."""
    rounds = _by_model(asked, "f.rounds", "composition('run-1')")
    assert rounds == [("early", 1), *[("missed", 1)] * 3, ("swift", 1)]


def test_costs_are_trusted_where_every_route_confirms_them(
    asked: duckdb.DuckDBPyConnection,
) -> None:
    """The worst of three is said; conditions are those of the costs' cell on the pass's node.

    One round each: no error has an interval.
    """
    unclear = (
        "composed of exit costs, a routed mean latency is off by {} (no interval: it needs two"
        " rounds): not shown to be within 2 %"
    )
    mode = "conditions: power mode {} here, {} elsewhere in this run"
    missed = "composed of exit costs, a routed mean latency is missed by -3.0 %, more than 2 %"
    not_measured = "exit costs were not measured at batch 1 (measure: [exit_costs])"
    names = "exit_ms, is_promised, verdict, power_mode, f.note"
    assert _by_model(asked, names, "trusted_exit_costs('run-1')") == [
        ("bad", None, None, None, "25W", "its times are not valid: throttled: 2 of 3 rounds"),
        ("dim", [1.0, 1.0], True, None, None, "no routed threshold confirms the exit costs"),
        (
            "early",
            [2.0, 6.0],
            True,
            "unclear",
            "15W",
            f"{unclear.format('-0.4 %')}; {mode.format('15W', '25W')}",
        ),
        ("half", None, None, None, None, not_measured),
        ("missed", [2.0, 6.0], False, "beyond", None, missed),
        ("static", [4.0], True, None, None, None),
        (
            "swift",
            [1.0, 1.0],
            True,
            "unclear",
            "25W",
            f"{unclear.format('+0.0 %')}; {mode.format('25W', '15W')}",
        ),
    ]


def test_energies_are_trusted_where_every_route_confirms_them(
    asked: duckdb.DuckDBPyConnection,
) -> None:
    """The static model as it is routed, (7 - 4) W x 4 ms; each with what measured its node."""
    why = "energy by exit was not measured at batch 1 (measure: [energy, exit_costs])"
    missed = "composed of exit energies, a routed mean energy is missed by -3.0 %, more than 2 %"
    source = "energy: replay: a.csv"
    names = "exit_mj, exit_margin_mj, energy_source, f.note"
    assert _by_model(asked, names, "trusted_exit_energies('run-1')") == [
        ("bad", None, None, None, why),
        ("dim", None, None, None, why),
        ("early", [4.0, 30.0], [None, None], source, None),
        ("half", None, None, None, why),
        ("missed", None, None, source, missed),
        ("static", [12.0], [None], source, None),
        ("swift", [1.0, 1.0], [None, None], source, None),
    ]


def test_what_is_measured_is_there_before_it_is_trusted(asked: duckdb.DuckDBPyConnection) -> None:
    """Of valid cells, in the order of the exits; of one window there is no interval."""
    names = "costs_cell_id, exit_mj, exit_margin_mj, f.note"
    assert _by_model(asked, names, "measured_exit_energies('run-1')") == [
        ("early", COSTS, [4.0, 30.0], [None, None], None),
        ("missed", "exit_costs-26", [4.0, 30.0], [0.0, 0.0], None),
        ("static", "latency-16", [12.0], [None], None),
        ("swift", "exit_costs-18", [1.0, 1.0], [None, None], None),
    ]


def test_samples_are_of_images_that_were_timed_at_every_exit(
    asked: duckdb.DuckDBPyConnection,
) -> None:
    """In the order of the exits, and of costs that are valid."""
    found = _by_model(asked, "round, image_id, exit_ms", "exit_samples('run-1')")
    assert found == [
        ("dim", 0, 0, [1.0, 1.0]),
        ("early", 0, 0, [1.0, 5.0]),
        ("early", 0, 1, [5.0, 7.0]),
        ("missed", 0, 0, [2.0, 6.0]),
        *(("swift", 0, image, [1.0, 1.0]) for image in range(4)),
    ]


def test_latency_at_a_threshold(asked: duckdb.DuckDBPyConnection) -> None:
    """A quarter at the first exit; the static model has no threshold."""
    names = "exit_shares, samples, forward_ms, p50_ms"
    assert _by_model(asked, names, "composed_latency('run-1', [0.5])") == [
        *(
            (model, [0.25, 0.75], *values)
            for model, values in (
                ("bad", (None, None, None)),
                ("dim", (1, 1.0, None)),
                ("early", (2, pytest.approx(5.25), None)),
                ("half", (None, None, None)),
                ("missed", (1, 5.0, None)),
                ("swift", (4, pytest.approx(1.0), None)),
            )
        )
    ]


def test_energy_at_a_threshold(asked: duckdb.DuckDBPyConnection) -> None:
    """Three quarters take 30 mJ."""
    energies = _by_model(asked, "energy_mj", "composed_energy('run-1', [0.5])")
    assert energies == [
        ("bad", None),
        ("dim", None),
        ("early", pytest.approx(23.5)),
        ("half", None),
        ("missed", None),
        ("swift", pytest.approx(1.0)),
    ]


def test_percentiles_are_of_one_models_mixture(build: Builder) -> None:
    """Of 70 images half at 1 to 70 ms and half at 71 to 140; of a model of ten times that, too."""
    images = list(range(70))
    for model, factor in (("one", 1.0), ("ten", 10.0)):
        common: Row = {"model": model, "exit_blocks": (1,)}
        columns = {"image_id": images * 2, "exit_block": [1] * 70 + [3] * 70}
        scores = [0.2, 0.8] * 35 + [None] * 70
        passes = build.cell("exits", **common)
        build.commit(passes, exits={**columns, "gate_score": scores, "is_correct": True})
        times = [factor * ms for ms in range(1, 141)]
        costs = build.cell("exit_costs", **common)
        build.commit(costs, exit_costs={**columns, "forward_ms": times})
    build.store()
    sql = "SELECT samples, forward_ms, p50_ms, p90_ms, p99_ms FROM composed_latency('run-1', [0.5])"
    rows = storage.query(build.root, sql).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        (70, pytest.approx(70.5 * factor), 70 * factor, 126 * factor, None) for factor in (1, 10)
    ]


def test_energies_of_two_machines_are_not_of_one_pass(build: Builder) -> None:
    """The first exit was measured on one node, the last on another."""
    common: Row = {"model": "early", "exit_blocks": (1,)}
    passes = build.cell("exits", **common)
    columns: Row = {"image_id": [0, 0], "exit_block": [1, 3]}
    build.commit(passes, exits={**columns, "gate_score": [0.9, None], "is_correct": True})
    costs = build.cell("exit_costs", rounds=2, **common)
    for round_, (node, block) in enumerate((("node-a", 1), ("node-b", 3))):
        phases = {"phase": ["active"] * 2 + ["idle_after"] * 2, "power_mw": [9e3] * 2 + [5e3] * 2}
        times = [NOON + timedelta(seconds=second) for second in range(4)]
        power: Row = {"node": node, "rail": "total", "shard": 0, "sampled_at": times, **phases}
        power["exit_block"] = [block, block, None, None]
        build.commit(costs, round_, exit_costs={**columns, "forward_ms": 2.0}, power=power)
    build.store()
    energies = storage.query(build.root, "SELECT energy_mj FROM exit_energies")
    assert energies["energy_mj"].to_pylist() == [8.0, 8.0]
    (row,) = storage.query(build.root, "FROM measured_exit_energies('run-1')").to_pylist()
    assert (row["is_of_one_node"], row["exit_mj"], row["exit_margin_mj"]) == (False, None, None)
