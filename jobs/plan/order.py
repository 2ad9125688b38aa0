"""The order of tasks: blocks of cells, untimed passes first, timed shards in ABBA order."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, product

from jobs.plan.cell import Cell, Later, comparison_key, find_added
from jobs.plan.plan import Plan
from jobs.plan.task import Shard, Task


@dataclass(frozen=True)
class CellBlock:
    """Cells whose tasks form one queue.

    Attributes:
        device: the name in the grid; None if one host takes the cells of all devices.
        dataset: of timed cells, which are compared and so run on one host; else None.
        cells: in the order of the plan.
        later: as in the plan.
    """

    device: str | None
    dataset: str | None
    cells: tuple[Cell, ...] = field(compare=False)
    later: tuple[Later, ...] = field(default=(), compare=False)

    @property
    def is_timed(self) -> bool:
        """Whether one host must take it whole."""
        return self.dataset is not None

    @property
    def is_immovable(self) -> bool:
        """Whether it must stay on its host: it was added to after some of its cells were timed."""
        return self.is_timed and bool(find_added(self.cells, self.later))

    def tasks(self, run_id: str, done: Container[tuple[str, int, int]]) -> Iterator[Task]:
        """Yields the tasks that are not done yet, lazily, in order."""
        return _queue(self.cells, self.later, run_id, done)


def make_blocks(plan: Plan, *, by_device: bool) -> list[CellBlock]:
    """Group all runnable cells into blocks, untimed ones first.

    Args:
        plan: the cells.
        by_device: make one block of the all-exit passes of each device, which its hosts share, and
            one of the timed cells of each device and data set, which one host must take whole;
            else one block in all.
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
    """The rounds of cells that take turns: those of the first submission, then of each addition.

    Rounds that were timed keep their positions, and added rounds come after all of them.
    """
    first = {cell.cell_id: cell.planned_rounds for cell in cells}
    for each in reversed(later):
        first |= {key: start for key, (start, _) in each.rounds.items() if key in first}
    yield [(cell, range(first[cell.cell_id])) for cell in cells]
    for each in later:
        spans = {key: range(*span) for key, span in each.rounds.items()}
        yield [(cell, spans[cell.cell_id]) for cell in cells if cell.cell_id in spans]


def _timed(
    spans: Sequence[tuple[Cell, range]], run_id: str, position: Iterator[int]
) -> Iterator[Task]:
    """Timed tasks in ABBA order, so that slow drift (heat, clocks) affects all cells alike.

    The order is A B C, C B A, ... Cells take turns shard by shard, not only round by round: the
    shorter the turns, the less a machine can change from one cell to the next.
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
                place = next(position)  # also of rounds that others run, and it needs no more
                if number < cell.rounds:
                    yield _task(cell, number, cell.shards[turn], run_id, place)


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
        exit_rule=cell.model.exit_rule,
        thresholds=cell.thresholds,
        device=cell.setting.device,
        runtime=cell.setting.runtime,
        precision=cell.setting.precision,
        threads=cell.setting.threads,
        batch_size=cell.batch_size,
        warmup_images=cell.warmup_images,
        energy=cell.energy,
        graph_precision=cell.model.graph_precision,
        calibration_sha256=cell.calibration.images.sha256 if cell.calibration else None,
        calibration_images=cell.calibration.count if cell.calibration else None,
        arrivals=cell.arrivals,
    )
