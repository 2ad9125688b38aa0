"""The order of tasks: blocks of cells, passes without a clock first, timed shards as ABBA."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, product

from jobs.plan.cell import Cell, Later, comparison_key, find_added
from jobs.plan.plan import Plan
from jobs.plan.task import Shard, Task


@dataclass(frozen=True)
class CellBlock:
    """Cells whose tasks stand in one queue.

    Attributes:
        device: the name in the grid; None where cells of all devices are together on one host.
        dataset: of timed cells, which are to be compared: one machine takes them all. Else None.
        cells: in the order of the plan.
        later: as of the plan.
    """

    device: str | None
    dataset: str | None
    cells: tuple[Cell, ...] = field(compare=False)
    later: tuple[Later, ...] = field(default=(), compare=False)

    @property
    def is_timed(self) -> bool:
        """Whether one machine must take it whole."""
        return self.dataset is not None

    @property
    def is_immovable(self) -> bool:
        """Whether what it has of one machine is worth more than going on with another.

        Something was added to it after it had been timed.
        """
        return self.is_timed and bool(find_added(self.cells, self.later))

    def tasks(self, run_id: str, done: Container[tuple[str, int, int]]) -> Iterator[Task]:
        """Those that are not done yet, as they are needed."""
        return _queue(self.cells, self.later, run_id, done)


def make_blocks(plan: Plan, *, by_device: bool) -> list[CellBlock]:
    """All cells that can run, in blocks; those without a clock first.

    Args:
        plan: the cells.
        by_device: all-exit passes of each device, which its machines share, and timed cells of
            each device and data set, which one machine must take whole; else one block in all.
    """
    if not by_device:
        return [CellBlock(None, None, plan.runnable, plan.later)]
    shared: dict[str, list[Cell]] = {}
    compared: dict[tuple[str, str], list[Cell]] = {}
    for cell in plan.runnable:
        if cell.is_timed:
            compared.setdefault(comparison_key(cell), []).append(cell)
        else:
            shared.setdefault(cell.setting.device, []).append(cell)
    return [
        *(CellBlock(device, None, tuple(cells)) for device, cells in shared.items()),
        *(CellBlock(*key, tuple(cells), plan.later) for key, cells in compared.items()),
    ]


def _queue(
    cells: Sequence[Cell],
    later: Sequence[Later],
    run_id: str,
    done: Container[tuple[str, int, int]],
) -> Iterator[Task]:
    for cell in cells:
        if not cell.is_timed:
            yield from _left((_task(cell, 0, shard, run_id) for shard in cell.shards), done)
    position = count()
    for spans in _stages([cell for cell in cells if cell.is_timed], later):
        yield from _left(_timed(spans, run_id, position), done)


def _left(tasks: Iterable[Task], done: Container[tuple[str, int, int]]) -> Iterator[Task]:
    return (task for task in tasks if task.key not in done)


def _stages(cells: Sequence[Cell], later: Sequence[Later]) -> Iterator[list[tuple[Cell, range]]]:
    """The rounds that take turns: those asked for at first, then those of each addition.

    What was timed keeps its place, and what is added comes after all of it.
    """
    first = {cell.cell_id: cell.rounds for cell in cells}
    for each in reversed(later):
        first |= {key: start for key, (start, _) in each.rounds.items() if key in first}
    yield [(cell, range(first[cell.cell_id])) for cell in cells]
    for each in later:
        spans = {key: range(*span) for key, span in each.rounds.items()}
        yield [(cell, spans[cell.cell_id]) for cell in cells if cell.cell_id in spans]


def _timed(
    spans: Sequence[tuple[Cell, range]], run_id: str, position: Iterator[int]
) -> Iterator[Task]:
    """A slow drift of the machine (heat, clocks) falls on all cells alike: A B C, C B A, ...

    Cells take turns shard by shard, not only round by round: the shorter the turns, the less a
    machine can change from one cell to the next.
    """
    rounds = range(
        min((span.start for _, span in spans), default=0),
        max((span.stop for _, span in spans), default=0),
    )
    turns = max((len(cell.shards) for cell, _ in spans), default=0)
    for number, turn in product(rounds, range(turns)):
        is_backwards = (number * turns + turn) % 2
        for cell, span in reversed(spans) if is_backwards else spans:
            if number in span and turn < len(cell.shards):
                yield _task(cell, number, cell.shards[turn], run_id, next(position))


def _task(cell: Cell, number: int, shard: Shard, run_id: str, position: int | None = None) -> Task:
    return Task(
        run_id=run_id,
        cell_id=cell.cell_id,
        round=number,
        shard=shard,
        position=position,
        kind=cell.kind,
        model=cell.model.name,
        dataset=cell.dataset.label,
        checkpoint_sha256=cell.model.sha256,
        dataset_sha256=cell.dataset.images.sha256,
        exit_blocks=cell.model.config.exit_blocks,
        thresholds=cell.thresholds,
        device=cell.setting.device,
        runtime=cell.setting.runtime,
        precision=cell.setting.precision,
        threads=cell.setting.threads,
        batch_size=cell.batch_size,
        warmup_images=cell.warmup_images,
        energy=cell.energy,
    )
