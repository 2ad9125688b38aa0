"""The order of tasks: per device, all-exit passes first, then timed shards interleaved as ABBA."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import count, product

from jobs.plan import Cell, Plan
from jobs.task import Shard, Task


def task_queues(
    plan: Plan, run_id: str, done: Container[tuple[str, int, int]], *, by_device: bool
) -> list[Iterator[Task]]:
    """Lazy queues of the tasks that are not done yet.

    Args:
        plan: the cells.
        run_id: for the rows.
        done: keys of committed tasks: cell_id, round, shard.
        by_device: one queue a device; else one in all, where all devices are on one host.
    """
    if not by_device:
        return [_queue(plan.runnable, run_id, done)]
    return [
        _queue([cell for cell in plan.runnable if cell.setting.device == device], run_id, done)
        for device in plan.grid.devices
    ]


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
