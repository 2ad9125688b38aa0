"""The order of tasks: per device, all-exit passes first, then timed rounds interleaved as ABBA."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

from jobs.plan import Cell, Plan
from jobs.task import Task


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
        return [_queue(plan.cells, run_id, done)]
    return [
        _queue([cell for cell in plan.cells if cell.setting.device == device], run_id, done)
        for device in plan.grid.devices
    ]


def _queue(
    cells: Sequence[Cell], run_id: str, done: Container[tuple[str, int, int]]
) -> Iterator[Task]:
    untimed = [cell for cell in cells if not cell.is_timed]
    timed = [cell for cell in cells if cell.is_timed]
    for cell in untimed:
        yield from _round(cell, 0, run_id, done)
    for number in range(max((cell.rounds for cell in timed), default=0)):
        # A slow drift of the machine (heat, clocks) falls on all cells alike: A B C, C B A, ...
        for cell in timed if number % 2 == 0 else reversed(timed):
            if number < cell.rounds:
                yield from _round(cell, number, run_id, done)


def _round(
    cell: Cell, number: int, run_id: str, done: Container[tuple[str, int, int]]
) -> Iterator[Task]:
    cell_id = cell.cell_id
    for shard in cell.shards:
        if (cell_id, number, shard.number) in done:
            continue
        yield Task(
            run_id=run_id,
            cell_id=cell_id,
            round=number,
            shard=shard,
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
        )
