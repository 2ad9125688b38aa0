"""Progress display of a training on stderr: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from jobs.common.formatting import BAR_WIDTH, format_duration

if TYPE_CHECKING:
    from typing_extensions import Self

    from gfnet.training.progress import EpochReport

EPOCH_INTERVAL_S = 30.0
"""Seconds between two lines within an epoch if there is no terminal."""


class TrainingDisplay:
    """Shows the progress of a training: a live line on a terminal, else a line or more per epoch.

    A context manager: the live line is removed at the end.

    Args:
        console: the console to write to; default: stderr.
        clock: seconds; a fake one in tests.
    """

    def __init__(
        self, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console or Console(stderr=True, highlight=False, markup=False)
        self._clock = clock
        self._written_s = clock()
        columns = (BarColumn(BAR_WIDTH), TextColumn("{task.description}", markup=False))
        self._bar = Bar(*columns, console=self._console, auto_refresh=False, transient=True)
        self._bar_task = self._bar.add_task("", total=1.0)

    def __enter__(self) -> Self:
        """Start the live line."""
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the live line."""
        if self._console.is_terminal:
            self._bar.stop()

    def report(self, report: EpochReport) -> None:
        """Show the progress of a finished or running epoch."""
        line = epoch_line(report)
        if self._console.is_terminal:
            done = (report.epoch - 1 + report.share) / report.epochs
            self._bar.update(self._bar_task, completed=done, description=line)
            self._bar.refresh()
        if report.validation is None and (
            self._console.is_terminal or self._clock() - self._written_s < EPOCH_INTERVAL_S
        ):
            return
        self._written_s = self._clock()
        self._console.print(line, soft_wrap=True)


def epoch_line(report: EpochReport) -> str:
    """Formats one epoch of a training, finished or running."""
    speed = f"{report.images_per_s:,.0f} images/s, {format_duration(report.seconds_left)} left"
    where = f"{report.phase} {report.epoch}/{report.epochs}"
    found = report.validation
    if found is None:
        return f"{where}: {report.share:.0%}, loss {report.loss:.4f}, {speed}"
    blocks = "" if found.blocks is None else f", {found.blocks:.2f} blocks"
    return f"{where}: loss {report.loss:.4f}, validation {found.accuracy:.2f} %{blocks}, {speed}"
