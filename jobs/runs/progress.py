"""Shows the progress of runs on stderr: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from jobs.common.formatting import (
    BAR_WIDTH,
    VARIED,
    find_varying,
    format_duration,
    format_kind,
    format_variant,
    last_line,
)
from jobs.common.text import escape_controls, fold
from jobs.driver.events import RunEvents
from jobs.machine.slots import Slot
from jobs.plan.plan import Plan
from jobs.plan.task import Outcome, Task
from jobs.runs.device_lines import DeviceLines
from jobs.runs.time_left import TimeLeft

if TYPE_CHECKING:
    from typing_extensions import Self

LINE_INTERVAL_S = 5.0
"""Least time between two lines if there is no terminal."""

DRAWS_PER_S, DRAW_BURST = 10.0, 50.0
"""How often the live view is drawn in the long run, and how often in a row: drawing it takes longer
than a short task's share of the driver."""

KEPT_ROWS = 4
"""Rows of a terminal that the live view leaves to the messages above it."""


class Progress(RunEvents):
    """Counts finished images and cells, and shows them with the time left.

    A terminal also shows what each device runs now; messages stay above that. A remark that many
    tasks have is said of the first.

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
        self._planned = {cell.cell_id: cell for cell in plan.runnable}
        self._time_left = TimeLeft(clock)
        self._with_until = [cell.cell_id for cell in plan.runnable if cell.until]
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
        self._devices = DeviceLines(plan, done, self._name, clock)
        self._began_s = self._written_s = clock()
        self._draws, self._draws_at_s = DRAW_BURST, self._began_s
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        """Show the first count."""
        if self._console.is_terminal:
            self._live.start()
        self._show()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the live view, and leave the last count on the terminal."""
        if self._console.is_terminal:
            self._live.stop()
            self._console.print(self.line())

    def begin(self, task: Task, slot: Slot) -> None:
        """Show on a terminal which cell runs now."""
        self._devices.begin(task, slot)
        if self._console.is_terminal:
            self._show()

    def end(self, task: Task) -> None:
        """Note that a task has left its device; nothing is drawn."""
        self._devices.end(task)

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
            self._devices.count(task, images)
            self._time_left.end(task, outcome)
        self._show()

    def _name(self, task: Task) -> str:
        """Name the cell of a task, with the axes that vary in this run."""
        setting = format_variant({axis: getattr(task, axis) for axis in VARIED}, self._varying)
        kind = format_kind(
            task.kind, task.arrivals.per_s if task.arrivals else None, task.batch_size
        )
        name = f"{kind} of {task.model} on {task.dataset}"
        return f"{name} ({setting})" if setting else name

    def _say(self, text: str) -> None:
        self._console.print(fold(escape_controls(text), self._console.width), soft_wrap=True)

    def note(self, text: str) -> None:
        """Print a message above the count."""
        self._console.print(escape_controls(text), soft_wrap=True)

    def shorten(self, images: Mapping[str, Sequence[int]]) -> None:
        """Count tasks that are not needed no more."""
        for cell_id, dropped in images.items():
            had = self._tasks_left[cell_id]
            self._tasks_left[cell_id] -= len(dropped)
            self._cells_left -= had > 0 >= self._tasks_left[cell_id]
            self._total -= sum(dropped)
            self._time_left.shorten(self._planned[cell_id], sum(dropped))
            self._devices.shorten(cell_id, sum(dropped))
        if images:
            self._show()

    def restart(self, tasks: Sequence[Task]) -> None:
        """Count tasks that must be done again as not done."""
        for task in tasks:
            images = task.shard.stop - task.shard.start
            self._cells_left += self._tasks_left[task.cell_id] == 0
            self._tasks_left[task.cell_id] += 1
            self._time_left.restart(task)
            self._devices.count(task, -images)
            self._total += images

    def line(self) -> str:
        """Cells done, images, images/s, and the time left as soon as it can be told."""
        elapsed_s = max(self._clock() - self._began_s, 1e-9)
        cells = self._cells - self._cells_left
        text = f"{cells}/{self._cells} cells, {self._finished:,}/{self._total:,} images"
        if not self._finished:
            return text
        text += f", {self._finished / elapsed_s:,.0f} images/s"
        left_s = self._time_left.left_s()
        if left_s is None:
            return text
        is_open = any(self._tasks_left[cell_id] > 0 for cell_id in self._with_until)
        most = "at most " if is_open else ""  # its rounds may end before
        return f"{text}, {most}{format_duration(left_s)} left"

    def _show(self) -> None:
        is_last = self._finished == self._total
        if self._console.is_terminal:
            if is_last or self._may_draw():
                self._live.update(self._view(), refresh=True)
            return
        if is_last or self._clock() - self._written_s >= LINE_INTERVAL_S:
            self._written_s = self._clock()
            self._console.print(self.line(), soft_wrap=True)

    def _may_draw(self) -> bool:
        """Whether the live view may be drawn again now; counts as drawn if so."""
        now_s = self._clock()
        left = self._draws + (now_s - self._draws_at_s) * DRAWS_PER_S
        self._draws, self._draws_at_s = min(left, DRAW_BURST), now_s
        if self._draws < 1:
            return False
        self._draws -= 1
        return True

    def _view(self) -> Group:
        """The bar and the counts, and below them a line per device."""
        line, (width, height) = self.line(), self._console.size
        bar = ProgressBar(
            total=max(self._total, 1),
            completed=self._finished,
            width=max(min(BAR_WIDTH, width - len(line) - 1), 1),
        )
        head = Table.grid(padding=(0, 1, 0, 0))
        head.add_row(bar, Text(line, overflow="ellipsis", no_wrap=True))
        lines = self._devices.lines(width, height - KEPT_ROWS)
        below = [Text(escape_controls(each), no_wrap=True) for each in lines]
        return Group(head, *below)
