"""The time that a run still takes, estimated from the tasks that have ended."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from storage import CellRow, rows_per_image

if TYPE_CHECKING:  # `gfjobs status` needs no plan
    from jobs.plan.cell import Cell
    from jobs.plan.task import Outcome, Task

Workload = tuple[str, str, str, str, str]
"""What has one speed: kind, model, runtime, precision and device."""


@dataclass
class _Speed:
    """Images of ended tasks, and the seconds that they took, engines' building left out."""

    images: int = 0
    busy_s: float = 0.0

    @property
    def image_s(self) -> float:
        """Seconds per image."""
        return self.busy_s / self.images


class TimeLeft:
    """Estimates the time left by the speed of each workload so far.

    A workload that has not begun is taken to be as fast as the others of its kind. There is no
    estimate before each kind that is left has a speed: an image that is routed by itself takes many
    times what one of a batch takes.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._images_left: Counter[Workload] = Counter()
        self._speeds: defaultdict[Workload, _Speed] = defaultdict(_Speed)
        self._first_s: float | None = None  # when the first task ended: starting Ray is over
        self._working_s = 0.0  # of tasks that ended since, engines' building included

    def expect(self, cell: Cell, images: int) -> None:
        """Add images of a cell that are still to be evaluated."""
        self._images_left[_workload_of_cell(cell)] += images

    def shorten(self, cell: Cell, images: int) -> None:
        """Take images of a cell that are not needed."""
        self._images_left[_workload_of_cell(cell)] -= images

    def restart(self, task: Task) -> None:
        """Add the images of a task that must be done again."""
        self._images_left[workload_of(task)] += task.shard.stop - task.shard.start

    def end(self, task: Task, outcome: Outcome) -> None:
        """Take a task that has ended and is not tried again."""
        workload, images = workload_of(task), task.shard.stop - task.shard.start
        self._images_left[workload] -= images
        starting_s = outcome.resources.build_s or 0.0
        if outcome.images or outcome.busy_s:
            speed = self._speeds[workload]
            speed.images += images
            speed.busy_s += max(outcome.busy_s - starting_s, 0.0)
        if self._first_s is None:
            self._first_s = self._clock()
        else:
            self._working_s += outcome.busy_s + (outcome.resources.load_s or 0.0)

    def left_s(self) -> float | None:
        """Return the seconds left; None if they cannot be told yet, or nothing is left."""
        if self._first_s is None or not self._working_s:
            return None
        work_s = _work_left_s(self._images_left, self._speeds)
        if work_s is None:
            return None
        # Parallel tasks, and the time between tasks, are in the ratio of wall time to work.
        return work_s * (self._clock() - self._first_s) / self._working_s


def left_of_cells_s(rows: Sequence[CellRow], now: datetime) -> float | None:
    """Return the seconds that a run has left by its cells as its driver last saved them.

    Coarser than `TimeLeft`, which sees tasks: of a cell that is running the time from its begin on
    counts, starting included.

    Args:
        rows: the cells of a run.
        now: naive UTC, as in the rows.

    Returns: None if it cannot be told yet, or nothing is left.
    """
    images_left: Counter[Workload] = Counter()
    speeds: defaultdict[Workload, _Speed] = defaultdict(_Speed)
    starts: list[datetime] = []
    for row in rows:
        if row.status in ("skipped", "cancelled"):
            continue
        workload = (
            str(row.kind),
            str(row.model),
            str(row.runtime),
            str(row.precision),
            str(row.device),
        )
        done = committed_images(row)
        if row.status not in ("done", "failed"):
            images_left[workload] += (row.images or 0) * (row.rounds or 0) - done
        if row.started_at is None or not done:
            continue
        starts.append(row.started_at)
        speeds[workload].images += done
        speeds[workload].busy_s += ((row.finished_at or now) - row.started_at).total_seconds()
    busy_s = sum(speed.busy_s for speed in speeds.values())
    work_s = _work_left_s(images_left, speeds)
    if work_s is None or busy_s <= 0:
        return None
    return work_s * (now - min(starts)).total_seconds() / busy_s


def may_end_sooner(rows: Sequence[CellRow]) -> bool:
    """Whether cells may end before their last round, so that the time left is the most."""
    ended = ("done", "failed", "skipped", "cancelled")
    return any(row.until_pct is not None and row.status not in ended for row in rows)


def committed_images(row: CellRow) -> int:
    """Return how many images of a cell have rows, each of its rounds counted."""
    return row.rows // rows_per_image(row.kind, len(row.exit_blocks or ()))


def _work_left_s(
    images_left: Mapping[Workload, int], speeds: Mapping[Workload, _Speed]
) -> float | None:
    """Return the seconds of work that are left; None if a kind has no speed, or nothing is left."""
    left = {workload: images for workload, images in images_left.items() if images > 0}
    if not left:
        return None
    by_kind: defaultdict[str, _Speed] = defaultdict(_Speed)
    for (kind, *_), speed in speeds.items():
        by_kind[kind].images += speed.images
        by_kind[kind].busy_s += speed.busy_s
    if any(kind not in by_kind for kind, *_ in left):
        return None
    return sum(
        images * (speeds.get(workload) or by_kind[workload[0]]).image_s
        for workload, images in left.items()
    )


def _workload_of_cell(cell: Cell) -> Workload:
    setting = cell.setting
    return cell.kind, cell.model.name, setting.runtime, setting.precision, setting.device


def workload_of(task: Task) -> Workload:
    """Return what a task has its speed in common with."""
    return task.kind, task.model, task.runtime, task.precision, task.device
