"""Pace: how many seconds each host takes for a unit of work, learned from the tasks it completed.

A sort of work is what tasks have in common that take alike, but for the host. What an image of each
sort costs, and the pace of each host, are learned together: a host that has completed only cheap
tasks does not look fast. Until a sort was seen, an image costs what its model's multiply-adds say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import storage
from jobs.plan.cell import Cell
from jobs.plan.order import CellBlock
from jobs.plan.task import Task

KEPT = 0.9
"""Share that what a host showed before keeps with each task: boards get warm and cool down."""

KEPT_OF_SORT = 0.97
"""The same of what all hosts showed of a sort: what they took when little was known counts less."""

UNIT_MULTIPLY_ADDS = 1e9


class Sort(NamedTuple):
    """What tasks have in common that take alike on one host."""

    kind: str
    checkpoint_sha256: str
    runtime: str
    precision: str
    threads: int
    batch_size: int


def sort_of(task: Task) -> Sort:
    """The sort of a task."""
    return Sort(
        task.kind,
        task.checkpoint_sha256,
        task.runtime,
        task.precision,
        task.threads,
        task.batch_size,
    )


def sort_of_cell(cell: Cell) -> Sort:
    """The sort of the tasks of a cell."""
    setting = cell.setting
    return Sort(
        cell.kind,
        cell.model.sha256,
        setting.runtime,
        setting.precision,
        setting.threads,
        cell.batch_size,
    )


def seconds_of(task: Task, busy_s: float) -> float:
    """Seconds for which a completed task kept its host, its power windows included."""
    if task.energy is None:
        return busy_s
    exits = len(task.exit_blocks) + 1 if storage.KINDS[task.kind].is_by_exit else 0
    return busy_s + task.energy.added_s(exits, busy_s)


@dataclass(frozen=True)
class Shown:
    """What a host showed in an earlier part of the run: seconds for images of a sort."""

    host: str
    sort: Sort
    images: int
    seconds: float


def count_images(block: CellBlock, done: Mapping[str, int]) -> Counter[Sort]:
    """The images of a block that are left to do, in all rounds, by sort; none if one host has all.

    Args:
        block: the cells.
        done: images of all rounds that are committed, by cell.
    """
    found: Counter[Sort] = Counter()
    for cell in block.cells if block.device else ():
        found[sort_of_cell(cell)] += max(cell.images * cell.rounds - done.get(cell.cell_id, 0), 0)
    return found


class Paces:
    """What each host has shown."""

    def __init__(self) -> None:
        self._costs: dict[Sort, float] = {}
        self._of_sort: dict[Sort, tuple[float, float]] = {}
        self._of_host: dict[str, dict[Sort, tuple[float, float]]] = {}
        self._paces: dict[str, float] = {}

    def expect(self, cells: Iterable[Cell]) -> None:
        """Set what images of these cells cost, as far as nothing was shown."""
        for cell in cells:
            sort = sort_of_cell(cell)
            if sort not in self._costs:
                self._costs[sort] = _expected_cost(cell)

    def work(self, images: Mapping[Sort, int]) -> float:
        """Units of work of some images."""
        return sum(self._costs.get(sort, 1.0) * count for sort, count in images.items())

    def pace(self, host: str) -> float | None:
        """Seconds per unit of work on a host; None: it has completed nothing."""
        return self._paces.get(host)

    def fastest(self) -> float | None:
        """The pace of the fastest host that has completed something."""
        return min(self._paces.values(), default=None)

    def observe(self, host: str, sort: Sort, images: int, seconds: float) -> None:
        """Record that a host took so many seconds for images of a sort.

        Nothing is learned from served images: requests arrive as slowly on every host.
        """
        if images <= 0 or seconds <= 0 or storage.KINDS[sort.kind].is_by_request:
            return
        if host in self._paces:
            took_s, expected_s = self._of_sort.get(sort, (0.0, 0.0))
            took_s = KEPT_OF_SORT * took_s + seconds
            expected_s = KEPT_OF_SORT * expected_s + self._paces[host] * images
            self._of_sort[sort] = took_s, expected_s
            self._costs[sort] = took_s / expected_s
        self._costs.setdefault(sort, 1.0)
        shown = self._of_host.setdefault(host, {})
        for other, (took_s, done) in shown.items():
            shown[other] = KEPT * took_s, KEPT * done
        took_s, done = shown.get(sort, (0.0, 0.0))
        shown[sort] = took_s + seconds, done + images
        # What it did before counts by what is known now of the costs.
        work = sum(self._costs[other] * done for other, (_, done) in shown.items())
        self._paces[host] = sum(took_s for took_s, _ in shown.values()) / work


def _expected_cost(cell: Cell) -> float:
    """Units of work of an image: its multiply-adds, if they are known."""
    counted = [cost.multiply_adds or 0 for cost in cell.model.exit_costs]
    forced = storage.KINDS[cell.kind].is_timed and storage.KINDS[cell.kind].is_by_exit
    expected = sum(counted) if forced else max(counted, default=0)
    return expected / UNIT_MULTIPLY_ADDS or 1.0
