"""How a training is shown: a live line on a terminal, plain lines elsewhere, on stderr."""

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
"""Between two lines within an epoch where there is no terminal."""


class TrainingDisplay:
    """Says how a training goes: a live line on a terminal; elsewhere one an epoch, and some within.

    A context manager: the live line is taken down at the end.

    Args:
        console: where to write; default: stderr.
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
        """Take the live line down."""
        if self._console.is_terminal:
            self._bar.stop()

    def report(self, report: EpochReport) -> None:
        """Show an epoch, finished or under way."""
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
    """One epoch of a training, finished or under way."""
    speed = f"{report.images_per_s:,.0f} images/s, {format_duration(report.seconds_left)} left"
    where = f"{report.phase} {report.epoch}/{report.epochs}"
    found = report.validation
    if found is None:
        return f"{where}: {report.share:.0%}, loss {report.loss:.4f}, {speed}"
    blocks = "" if found.blocks is None else f", {found.blocks:.2f} blocks"
    return f"{where}: loss {report.loss:.4f}, validation {found.accuracy:.2f} %{blocks}, {speed}"
