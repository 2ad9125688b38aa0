"""Looks: after which rounds the timed cells of a group end, because their figures are known.

Cells that take turns form a group, which gets whole rounds: all its cells run a round, or none. The
numbers of rounds after which to look are known beforehand (`jobs.statistics.sequential`). A look
uses the committed rounds before it and nothing else, so a run that was interrupted decides as one
that was not. No task beyond the next look is given out before that is decided.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import storage
from jobs.driver.round_widths import RoundWidths
from jobs.grid.grid import Until
from jobs.grid.rounds import find_baseline
from jobs.plan.cell import Cell, comparison_key, is_compared
from jobs.plan.plan import Plan
from jobs.plan.task import Outcome, Task
from jobs.statistics.sequential import looks

_TENS = 10  # percent, from which on two digits would have an exponent


@dataclass(frozen=True)
class RoundsEnd:
    """Why and when the cells of a group end.

    Attributes:
        cells: all cells of the group.
        rounds: that each of them gets.
        reached_pct: how far the intervals of each cell reach; infinite if too few rounds count. A
            cell that failed, or was not timed, has none.
    """

    cells: tuple[Cell, ...]
    rounds: int
    reached_pct: Mapping[str, float]


@dataclass
class _Group:
    """Cells that take turns.

    Attributes:
        cells: in the order of the plan.
        until: when they end.
        schedule: after which rounds to look.
        passed: how many looks are over.
        left: tasks of each cell that are not committed, of the rounds before the next look.
        ended: the rounds that its cells get, once that is decided.
        is_over: whether these have run.
    """

    cells: tuple[Cell, ...]
    until: Until
    schedule: tuple[int, ...]
    passed: int = 0
    left: dict[str, int] = field(default_factory=dict)
    ended: int | None = None
    is_over: bool = False

    @property
    def look(self) -> int:
        """The rounds that may run now."""
        return self.schedule[self.passed] if self.ended is None else self.ended


class Looks:
    """Decides when timed cells with `until` have been measured enough.

    Args:
        plan: the cells.
        done: keys of committed tasks.
        sums: times of their rounds.
        throttled: rounds that do not count, as (cell_id, round).
    """

    def __init__(
        self,
        plan: Plan,
        done: Iterable[tuple[str, int, int]] = (),
        sums: Mapping[storage.RoundKey, storage.RoundSum] | None = None,
        throttled: Iterable[tuple[str, int]] = (),
    ) -> None:
        self._groups = list(_make_groups(plan))
        self._group_of = {cell.cell_id: each for each in self._groups for cell in each.cells}
        self._baseline = find_baseline(plan.grid) if self._groups else None
        self._committed: dict[str, Counter[int]] = {
            cell_id: Counter() for cell_id in self._group_of
        }
        for cell_id, number, _ in done if self._groups else ():
            if cell_id in self._committed:
                self._committed[cell_id][number] += 1
        self._widths = RoundWidths(sums or {}, throttled)
        for group in self._groups:
            self._count_left(group)

    @classmethod
    def of_run(cls, plan: Plan, store: storage.RunStore) -> Looks:
        """Make them from the committed rows of a run; these are read only if a cell has `until`."""
        if not any(cell.until for cell in plan.runnable):
            return cls(plan)
        done = [entry.key for entry in store.entries()]
        return cls(plan, done, store.round_sums(), store.throttled_rounds())

    def holds(self, task: Task) -> bool:
        """Whether a task must wait for a look, or was not needed."""
        group = self._group_of.get(task.cell_id)
        return group is not None and task.round >= group.look

    def commit(self, task: Task, outcome: Outcome) -> None:
        """Take the rows of a task that are committed now."""
        group = self._group_of.get(task.cell_id)
        if group is None:
            return
        for name in storage.TIMED_COLUMNS:
            if name in outcome.tables:
                self._widths.add(storage.sum_round_times(name, outcome.tables[name]))
        rounds = outcome.tables.get("rounds")
        if rounds is not None and True in rounds.column("is_throttled").to_pylist():
            self._widths.leave_out(task.cell_id, task.round)
        self._committed[task.cell_id][task.round] += 1
        if task.round < group.look:
            group.left[task.cell_id] -= 1

    def restart(self, cell_ids: Iterable[str]) -> None:
        """Forget the rounds of cells, which start again."""
        ours = self._group_of.keys() & set(cell_ids)
        self._widths.drop(ours)
        for cell_id in ours:
            self._committed[cell_id].clear()
        for group in self._groups:
            if any(cell.cell_id in ours for cell in group.cells):
                group.passed, group.ended, group.is_over = 0, None, False
                self._count_left(group)

    def advance(self, is_out: Callable[[str], bool] = lambda _: False) -> list[RoundsEnd]:
        """Look at each group that has run the rounds before its next look.

        Args:
            is_out: whether nothing more runs of a cell that is not complete: no look waits for it.

        Returns: the groups that have run all their rounds, each once.
        """
        found = (self._advance(group, is_out) for group in self._groups if not group.is_over)
        return [end for end in found if end is not None]

    @property
    def ended_rounds(self) -> Mapping[str, int]:
        """The rounds of each cell whose number is decided."""
        return {
            cell_id: group.ended
            for cell_id, group in self._group_of.items()
            if group.ended is not None
        }

    def _advance(self, group: _Group, is_out: Callable[[str], bool]) -> RoundsEnd | None:
        while not any(left and not is_out(cell_id) for cell_id, left in group.left.items()):
            reached = self._reached_pct(group)
            if group.ended is not None:
                group.is_over = True
                return RoundsEnd(group.cells, group.ended, reached)
            is_known = all(pct <= group.until.pct for pct in reached.values())
            if is_known or group.look == group.until.most:
                # More rounds than these may be there: they ran for a width that was asked before.
                group.ended = max(group.look, self._most_begun(group))
            else:
                group.passed += 1
            self._count_left(group)
        return None

    def _reached_pct(self, group: _Group) -> dict[str, float]:
        """How far the intervals of cells reach: of those that ran all rounds before the look."""
        complete = [
            cell
            for cell in group.cells
            if self._tasks_left(cell, group.look) == 0 and self._widths.has_times(cell)
        ]
        return {cell.cell_id: self._reach_pct(cell, complete, group) for cell in complete}

    def _reach_pct(self, cell: Cell, complete: Iterable[Cell], group: _Group) -> float:
        """How far the interval of a cell reaches: of its ratio, or without a baseline of its mean.

        That of the baseline to itself is known.
        """
        if group.until.of != "ratio":
            return self._widths.reach_pct(cell, group.look)
        if cell.model.name == self._baseline:
            return 0.0
        alike = (cell.setting, cell.batch_size)
        beside = (
            other
            for other in complete
            if other.model.name == self._baseline and storage.KINDS[other.kind].is_routed
            if (other.setting, other.batch_size) == alike
        )
        return self._widths.reach_pct(cell, group.look, next(beside, None))

    def _most_begun(self, group: _Group) -> int:
        return max(
            (max(self._committed[cell.cell_id], default=-1) + 1 for cell in group.cells), default=0
        )

    def _count_left(self, group: _Group) -> None:
        group.left = {cell.cell_id: self._tasks_left(cell, group.look) for cell in group.cells}

    def _tasks_left(self, cell: Cell, look: int) -> int:
        shards, committed = len(cell.shards), self._committed[cell.cell_id]
        return sum(shards - committed[number] for number in range(look))


def end_known_rounds(plan: Plan, store: storage.RunStore) -> Plan:
    """Give the cells of a plan the rounds that they get, where a run's rows have decided that."""
    looks_of_run = Looks.of_run(plan, store)
    looks_of_run.advance()
    ended = looks_of_run.ended_rounds
    cells = tuple(
        replace(cell, rounds=ended[cell.cell_id]) if cell.cell_id in ended else cell
        for cell in plan.cells
    )
    return replace(plan, cells=cells) if ended else plan


def _make_groups(plan: Plan) -> Iterable[_Group]:
    """Group cells that are compared and were added together: these take turns."""
    groups: dict[tuple[object, ...], list[Cell]] = {}
    for cell in plan.cells:
        if is_compared(cell) and cell.until:
            stages = (n for n, each in enumerate(plan.later) if cell.cell_id in each.rounds)
            groups.setdefault((*comparison_key(cell), max(stages, default=-1)), []).append(cell)
    for cells in groups.values():
        until = cells[0].until
        assert until is not None
        yield _Group(tuple(cells), until, looks(until.fewest, until.most))


def describe_end(until: Until, rounds: int, reached_pct: float) -> str | None:
    """Say that a width was not reached; None if it was."""
    if reached_pct <= until.pct:
        return None
    of = " of the ratio to the baseline" if until.of == "ratio" else ""
    digits = f"{reached_pct:.2g}" if reached_pct < _TENS else f"{reached_pct:.0f}"
    reached = f": ±{digits} %" if math.isfinite(reached_pct) else ""
    return f"until {until.pct:g} %{of}: not reached after {rounds} rounds{reached}"
