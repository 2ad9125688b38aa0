"""Rounds until figures are known: whole turns, looks, the same decision after an interruption."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.driving import Scripted, rows_of

import storage
from jobs.driver.cell_states import queued_rows
from jobs.driver.driver import Driver
from jobs.driver.looks import describe_end, end_known_rounds
from jobs.grid.grid import Until
from jobs.plan.plan import Plan
from jobs.plan.task import Outcome, Task

GRID = """\
name: until
models: [flat.safetensors, dynn.safetensors]
datasets: [{name: digits, split: train, limit: 1100}]
measure: [latency]
thresholds: [0.5]
latency: {until: UNTIL, rounds: {min: 3, max: 12}, images: 1100}
"""

Level = Callable[[Task], float]
"""The mean time of a round, ms."""


def timed(level: Level, throttled: tuple[int, ...] = ()) -> Callable[[Task], Outcome]:
    """Answers whose images take as long as the round says."""

    def answer(task: Task) -> Outcome:
        outcome = rows_of(task)
        table = outcome.tables["records"]
        times = np.full(len(table), level(task))
        place = table.schema.get_field_index("forward_ms")
        table = table.set_column(place, table.schema.field(place), [times])
        rounds = storage.build_table(
            "rounds",
            {
                "run_id": task.run_id,
                "cell_id": task.cell_id,
                "round": task.round,
                "is_throttled": task.round in throttled,
            },
        )
        return replace(outcome, tables={"records": table, "rounds": rounds})

    return answer


def noisy(sd: float, slower: float = 1.0) -> Level:
    """Rounds that differ by so much, each cell by its own draws; `dynn` may be noisier."""
    draws = {
        name: np.random.default_rng(seed).normal(size=12)
        for seed, name in enumerate(("flat", "dynn"))
    }
    return lambda task: (
        2 + sd * draws[task.model][task.round] * (slower if task.model == "dynn" else 1)
    )


@contextmanager
def store_of(plan: Plan, root: Path, rows: list[storage.CellRow] | None = None) -> Iterator:
    """A new run of a plan."""
    run = storage.RunRow(run_id="r", name="until")
    cells = rows or queued_rows(plan, "r")
    with storage.RunStore.create(root, run, cells, {}) as store:
        yield store


def drive(plan: Plan, root: Path, executor: Scripted) -> list[storage.CellRow]:
    """Run all of a plan, and return its cells."""
    with store_of(plan, root) as store:
        assert Driver(store, plan, executor).run()
        return list(store.cells)


def test_quiet_cells_end_early_and_together(plan_of: Callable, tmp_path: Path) -> None:
    """All shards of three rounds, in turns there and back; the row says what was asked and got."""
    plan, executor = plan_of(GRID.replace("UNTIL", "1%")), Scripted(timed(lambda _: 2.0))
    cells = drive(plan, tmp_path, executor)
    assert [(t.model, t.round, t.shard.number) for t in executor.given[:4]] == [
        ("flat", 0, 0), ("dynn", 0, 0), ("dynn", 0, 1), ("flat", 0, 1),
    ]  # fmt: skip
    assert len(executor.given) == 2 * 3 * 2
    for cell in cells:
        assert (cell.status, cell.rounds, cell.max_rounds) == ("done", 3, 12)
        assert (cell.until_pct, cell.until_of, cell.reached_pct) == (1.0, "mean", 0.0)
        assert (cell.rows, cell.note, cell.is_valid) == (3300, None, True)


def test_one_noisy_cell_adds_rounds_to_all(plan_of: Callable, tmp_path: Path) -> None:
    """They are compared, so they run the same rounds; each has its own width."""
    executor = Scripted(timed(noisy(0.001, slower=6)))
    flat, dynn = drive(plan_of(GRID.replace("UNTIL", "1%")), tmp_path, executor)
    assert flat.rounds == dynn.rounds
    assert 3 < flat.rounds < 12
    assert flat.reached_pct < dynn.reached_pct <= 1
    rounds = {(task.model, task.round) for task in executor.given}
    assert rounds == {(m, n) for m in ("flat", "dynn") for n in range(flat.rounds)}


def test_the_most_rounds_end_what_is_not_known(plan_of: Callable, tmp_path: Path) -> None:
    """This is no failure; the note says how well it is known."""
    flat, dynn = drive(plan_of(GRID.replace("UNTIL", "1%")), tmp_path, Scripted(timed(noisy(0.5))))
    assert (flat.rounds, dynn.rounds) == (12, 12)
    assert (flat.status, flat.is_valid) == ("done", True)
    assert flat.note == f"until 1 %: not reached after 12 rounds: ±{flat.reached_pct:.2g} %"
    assert flat.reached_pct > 1


def test_ratios_do_without_what_the_rounds_have_in_common(
    plan_of: Callable, tmp_path: Path
) -> None:
    """A machine that drifts by tens of percent, and a ratio that stays."""
    drift = np.linspace(1, 2, 12)
    level = timed(lambda task: drift[task.round] * (3.0 if task.model == "dynn" else 2.0))
    of_means = drive(plan_of(GRID.replace("UNTIL", "1%")), tmp_path / "means", Scripted(level))
    assert {cell.rounds for cell in of_means} == {12}
    text = GRID.replace("UNTIL", "{ratio: 1%}")
    of_ratios = drive(plan_of(text), tmp_path / "ratios", Scripted(level))
    assert {(cell.rounds, cell.until_of) for cell in of_ratios} == {(3, "ratio")}


def test_throttled_rounds_do_not_count(plan_of: Callable, tmp_path: Path) -> None:
    """Two of the first three are left out, so the figures are known two rounds later, at a look."""
    executor = Scripted(timed(lambda _: 2.0, throttled=(0, 2)))
    cells = drive(plan_of(GRID.replace("UNTIL", "1%")), tmp_path, executor)
    assert {(cell.rounds, cell.is_valid, cell.note) for cell in cells} == {
        (6, True, "throttled: 2 of 6 rounds")
    }


def test_a_cell_that_fails_holds_nobody_up(plan_of: Callable, tmp_path: Path) -> None:
    """The other ends when it is known; a resume runs what is missing, and no round more."""

    def answer(task: Task) -> Outcome:
        if task.model == "dynn" and task.round == 1:
            return Outcome({}, None, error="Traceback\nValueError: broken")
        return timed(lambda _: 2.0)(task)

    plan = plan_of(GRID.replace("UNTIL", "1%"))
    with store_of(plan, tmp_path) as store:
        assert not Driver(store, plan, Scripted(answer)).run()
        flat, dynn = store.cells
        assert (flat.status, flat.rounds, dynn.status) == ("done", 3, "failed")
        again = Scripted(timed(lambda _: 2.0))
        assert Driver(store, end_known_rounds(plan, store), again).run()
        assert {(task.model, task.round) for task in again.given} == {("dynn", 1), ("dynn", 2)}
        assert [(cell.status, cell.rounds) for cell in store.cells] == [("done", 3)] * 2


@pytest.mark.parametrize(
    ("pct", "said"),
    [(0.3, None), (0.31, "±0.31 %"), (9.96, "±10 %"), (104.4, "±104 %"), (float("inf"), "rounds")],
)
def test_what_is_said_of_a_width(pct: float, said: str | None) -> None:
    """Nothing if it was reached; if nothing is known, no figure."""
    told = describe_end(Until(0.3, most=12), 12, pct)
    assert (told is None) if said is None else str(told).endswith(said)
    of_ratio = describe_end(Until(0.3, "ratio", most=12), 12, pct)
    assert of_ratio is None or "0.3 % of the ratio to the baseline: not reached" in of_ratio


class StoppedError(Exception):
    """The driver is killed."""


@pytest.mark.parametrize("killed_after", [1, 12, 13, 15, 16, 23, 24, 25])
def test_a_run_that_is_killed_decides_as_one_that_is_not(
    killed_after: int, plan_of: Callable, tmp_path: Path
) -> None:
    """Before, at and after a look: the same rounds, the same widths, the same order."""
    plan, level = plan_of(GRID.replace("UNTIL", "1%")), noisy(0.001, slower=5)
    whole = Scripted(timed(level))
    expected = drive(plan, tmp_path / "whole", whole)
    assert 4 < expected[0].rounds < 12

    def answer(task: Task) -> Outcome:
        if len(killed.given) > killed_after:
            raise StoppedError
        return timed(level)(task)

    killed = Scripted(answer)
    with store_of(plan, tmp_path / "killed") as store:
        with pytest.raises(StoppedError):
            Driver(store, plan, killed).run()
        resumed = Scripted(timed(level))
        assert Driver(store, end_known_rounds(plan, store), resumed).run()
        found = store.cells
    done = [*killed.given[:killed_after], *resumed.given]
    assert [replace(task) for task in done] == whole.given
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.rounds, ours.reached_pct, ours.note) == (
            theirs.rounds, theirs.reached_pct, theirs.note,
        )  # fmt: skip


def test_a_run_that_ended_has_nothing_left(plan_of: Callable, tmp_path: Path) -> None:
    """Its rounds are those that ran, also by the plan; for a larger width none vanishes."""
    plan, level = plan_of(GRID.replace("UNTIL", "1%")), noisy(0.001, slower=5)
    with store_of(plan, tmp_path) as store:
        assert Driver(store, plan, Scripted(timed(level))).run()
        rounds = store.cells[0].rounds
        for width in ("1%", "50%"):
            ended = end_known_rounds(plan_of(GRID.replace("UNTIL", width)), store)
            assert {cell.rounds for cell in ended.cells} == {rounds}
            again = Scripted(timed(level))
            assert Driver(store, ended, again).run()
            assert not again.given
            assert {cell.rounds for cell in store.cells} == {rounds}
        narrower = end_known_rounds(plan_of(GRID.replace("UNTIL", "0.01%")), store)
        assert {cell.rounds for cell in narrower.cells} == {12}
