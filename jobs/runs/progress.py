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
from jobs.runs.time_left import TimeLeft, Workload, workload_of

if TYPE_CHECKING:
    from typing_extensions import Self

LINE_INTERVAL_S = 5.0
"""Least time between two lines if there is no terminal."""


class Progress(RunEvents):
    """Counts finished images and cells, and shows them with the time left.

    A remark that many tasks have is said of the first.

    Drawn only between tasks, when the driver reports one: nothing is drawn while a task is timed on
    this host. A context manager: the live view is removed at the end.

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
        self._time_left = TimeLeft(clock)
        self._total = 0
        for cell in plan.runnable:
            for key, images in cell.task_keys():
                if key not in done:
                    self._tasks_left[cell.cell_id] += 1
                    self._time_left.expect(cell, images)
                    self._total += images
        self._varying = find_varying([vars(cell.setting) for cell in plan.cells])
        self._cells = len(plan.runnable)
        self._cells_left = len(self._tasks_left)
        self._finished = 0
        self._said: set[tuple[str, str]] = set()
        self._started: set[Workload] = set()
        self._now = ""
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

    def begin(self, task: Task) -> None:
        """Show on a terminal which cell runs now."""
        self._now = self._name(task)
        if workload_of(task) not in self._started:
            self._started.add(workload_of(task))
            self._now += "; first the model is loaded, its engine built"
        if self._console.is_terminal:
            self._show()

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
            self._finished += images
            self._time_left.end(task, outcome)
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
            self._time_left.restart(task)
            self._total += images
        self._bar.update(self._bar_task, total=max(self._total, 1))

    def line(self) -> str:
        """Cells done, images, images/s, and the time left as soon as it can be told."""
        elapsed_s = max(self._clock() - self._began_s, 1e-9)
        cells = self._cells - self._cells_left
        text = f"{cells}/{self._cells} cells, {self._finished:,}/{self._total:,} images"
        if not self._finished:
            return text
        text += f", {self._finished / elapsed_s:,.0f} images/s"
        left_s = self._time_left.left_s()
        return text if left_s is None else f"{text}, {format_duration(left_s)} left"

    def _show(self) -> None:
        if self._console.is_terminal:
            text = f"{self.line()}\n{escape_controls(self._now)}"
            self._bar.update(self._bar_task, completed=self._finished, description=text)
            self._bar.refresh()
            return
        is_last = self._finished == self._total
        if is_last or self._clock() - self._written_s >= LINE_INTERVAL_S:
            self._written_s = self._clock()
            self._console.print(self.line(), soft_wrap=True)
