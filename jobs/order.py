"""The order of tasks: blocks of cells, passes without a clock first, timed shards as ABBA."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, product

from jobs.plan import Cell, Plan
from jobs.task import Shard, Task


@dataclass(frozen=True)
class Block:
    """Cells whose tasks stand in one queue.

    Attributes:
        device: the name in the grid; None where cells of all devices are together on one host.
        dataset: of timed cells, which are to be compared: one machine takes them all. Else None.
        cells: in the order of the plan.
    """

    device: str | None
    dataset: str | None
    cells: tuple[Cell, ...] = field(compare=False)

    @property
    def is_timed(self) -> bool:
        """Whether one machine must take it whole."""
        return self.dataset is not None

    def tasks(self, run_id: str, done: Container[tuple[str, int, int]]) -> Iterator[Task]:
        """Those that are not done yet, as they are needed."""
        return _queue(self.cells, run_id, done)


def blocks(plan: Plan, *, by_device: bool) -> list[Block]:
    """All cells that can run, in blocks; those without a clock first.

    Args:
        plan: the cells.
        by_device: all-exit passes of each device, which its machines share, and timed cells of
            each device and data set, which one machine must take whole; else one block in all.
    """
    if not by_device:
        return [Block(None, None, plan.runnable)]
    shared: dict[str, list[Cell]] = {}
    compared: dict[tuple[str, str], list[Cell]] = {}
    for cell in plan.runnable:
        device = cell.setting.device
        if cell.is_timed:
            compared.setdefault((device, cell.dataset.label), []).append(cell)
        else:
            shared.setdefault(device, []).append(cell)
    return [
        *(Block(device, None, tuple(cells)) for device, cells in shared.items()),
        *(Block(*key, tuple(cells)) for key, cells in compared.items()),
    ]


def task_queues(
    plan: Plan, run_id: str, done: Container[tuple[str, int, int]], *, by_device: bool
) -> list[Iterator[Task]]:
    """The tasks of all blocks that are not done yet, a lazy queue each."""
    return [block.tasks(run_id, done) for block in blocks(plan, by_device=by_device)]


def _queue(
    cells: Sequence[Cell], run_id: str, done: Container[tuple[str, int, int]]
) -> Iterator[Task]:
    for cell in cells:
        if not cell.is_timed:
            yield from _left((_task(cell, 0, shard, run_id) for shard in cell.shards), done)
    yield from _left(_timed([cell for cell in cells if cell.is_timed], run_id), done)


def _left(tasks: Iterable[Task], done: Container[tuple[str, int, int]]) -> Iterator[Task]:
    return (task for task in tasks if task.key not in done)


def _timed(cells: Sequence[Cell], run_id: str) -> Iterator[Task]:
    """A slow drift of the machine (heat, clocks) falls on all cells alike: A B C, C B A, ...

    Cells take turns shard by shard, not only round by round: the shorter the turns, the less a
    machine can change from one cell to the next.
    """
    rounds = max((cell.rounds for cell in cells), default=0)
    turns = max((len(cell.shards) for cell in cells), default=0)
    position = count()
    for number, turn in product(range(rounds), range(turns)):
        is_backwards = (number * turns + turn) % 2
        for cell in reversed(cells) if is_backwards else cells:
            if number < cell.rounds and turn < len(cell.shards):
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
