"""Shows the progress of runs on stderr: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from jobs.common.formatting import (
    BAR_WIDTH,
    VARIED,
    find_varying,
    format_duration,
    format_variant,
    last_line,
)
from jobs.common.text import escape_controls, fold
from jobs.driver.events import RunEvents
from jobs.plan.plan import Plan
from jobs.plan.task import Outcome, Task

if TYPE_CHECKING:
    from typing_extensions import Self

LINE_INTERVAL_S = 5.0
"""Least time between two lines if there is no terminal."""


class Progress(RunEvents):
    """Counts finished images and cells, and estimates the time left from each kind's speed so far.

    A remark that many tasks have is said of the first.

    Drawn only between tasks, when the driver reports one: nothing is drawn while a task is timed on
    this host. A context manager: the live bar is removed at the end.

    Args:
        plan: the cells; those that it skips are not counted.
        done: keys of tasks that were committed before.
        console: where to write; default: stderr.
        clock: seconds; a fake one in tests.
    """

    def __init__(
        self,
        plan: Plan,
        done: frozenset[tuple[str, int, int]],
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console or Console(stderr=True, highlight=False, markup=False)
        self._clock = clock
        self._tasks_left: Counter[str] = Counter()
        self._images_left: Counter[str] = Counter()
        for cell in plan.runnable:
            for key, images in cell.task_keys():
                if key not in done:
                    self._tasks_left[cell.cell_id] += 1
                    self._images_left[cell.kind] += images
        self._varying = find_varying([vars(cell.setting) for cell in plan.cells])
        self._cells = len(plan.runnable)
        self._cells_left = len(self._tasks_left)
        self._total = self._images_left.total()
        self._busy_s: dict[str, float] = {}
        self._finished: Counter[str] = Counter()
        self._said: set[tuple[str, str]] = set()
        self._began_s = self._written_s = clock()
        columns = (BarColumn(BAR_WIDTH), TextColumn("{task.description}", markup=False))
        self._bar = Bar(*columns, console=self._console, auto_refresh=False, transient=True)
        self._bar_task = self._bar.add_task("", total=max(self._total, 1))

    def __enter__(self) -> Self:
        """Show the first count."""
        if self._console.is_terminal:
            self._bar.start()
        self._show()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the bar, and leave the last count on the terminal."""
        if self._console.is_terminal:
            self._bar.stop()
            self._console.print(self.line())

    def update(self, task: Task, outcome: Outcome) -> None:
        """Count an ended task, and show the progress."""
        if outcome.error:
            reason = last_line(outcome.error)
            verb = "was lost" if outcome.is_lost else "failed"
            self._say(f"{self._name(task)} {verb}: {reason}")
        elif outcome.skipped:
            self._say(f"{self._name(task)} is skipped: {outcome.skipped}")
        images = task.shard.stop - task.shard.start
        remarks = outcome.note.split("; ") if outcome.note else []
        if outcome.undecoded:
            remarks.append(f"{images - outcome.images} of {images} images not decoded")
        for remark in remarks:
            if (task.dataset, remark) not in self._said:
                self._said.add((task.dataset, remark))
                self._say(f"{self._name(task)}: {remark}")
        if not outcome.is_lost:
            self._tasks_left[task.cell_id] -= 1
            self._cells_left -= self._tasks_left[task.cell_id] == 0
            self._images_left[task.kind] -= images
            self._finished[task.kind] += images
            self._busy_s[task.kind] = self._busy_s.get(task.kind, 0.0) + outcome.busy_s
        self._show()

    def _name(self, task: Task) -> str:
        """Name the cell of a task, with the axes that vary in this run."""
        setting = format_variant({axis: getattr(task, axis) for axis in VARIED}, self._varying)
        name = f"{task.kind} of {task.model} on {task.dataset}"
        return f"{name} ({setting})" if setting else name

    def _say(self, text: str) -> None:
        self._console.print(fold(escape_controls(text), self._console.width), soft_wrap=True)

    def note(self, text: str) -> None:
        """Print a message above the count."""
        self._console.print(escape_controls(text), soft_wrap=True)

    def restart(self, tasks: Sequence[Task]) -> None:
        """Count tasks that must be done again as not done."""
        for task in tasks:
            images = task.shard.stop - task.shard.start
            self._cells_left += self._tasks_left[task.cell_id] == 0
            self._tasks_left[task.cell_id] += 1
            self._images_left[task.kind] += images
            self._total += images
        self._bar.update(self._bar_task, total=max(self._total, 1))

    def line(self) -> str:
        """Cells done, images, images/s, time left."""
        elapsed_s = max(self._clock() - self._began_s, 1e-9)
        finished = self._finished.total()
        cells = self._cells - self._cells_left
        text = f"{cells}/{self._cells} cells, {finished:,}/{self._total:,} images"
        if not finished:
            return text
        left_s = self._left_s(elapsed_s)
        return f"{text}, {finished / elapsed_s:,.0f} images/s, {format_duration(left_s)} left"

    def _left_s(self, elapsed_s: float) -> float:
        """Seconds left, summed by kind: a routed image takes much longer than one of a batch."""
        busy_s = sum(self._busy_s.values())
        overall_s = busy_s / self._finished.total()
        per_image_s = {kind: self._busy_s[kind] / self._finished[kind] for kind in self._busy_s}
        left_s = sum(
            images * per_image_s.get(kind, overall_s) for kind, images in self._images_left.items()
        )
        # Parallel tasks and the time between tasks are in the ratio of wall time to busy time.
        return left_s * elapsed_s / busy_s if busy_s else 0.0

    def _show(self) -> None:
        if self._console.is_terminal:
            done = self._finished.total()
            self._bar.update(self._bar_task, completed=done, description=self.line())
            self._bar.refresh()
            return
        is_last = not self._images_left.total()
        if is_last or self._clock() - self._written_s >= LINE_INTERVAL_S:
            self._written_s = self._clock()
            self._console.print(self.line(), soft_wrap=True)
