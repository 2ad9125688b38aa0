"""Events of a run: a listener hears of each finished task, a narrator of everything else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from jobs.plan.task import Outcome, Task

Listener = Callable[[Task, Outcome], None]
"""Told of every finished task."""


class Narrator(Protocol):
    """Told of what is no task's end."""

    def note(self, text: str) -> None:
        """Something to know."""

    def restart(self, tasks: Sequence[Task]) -> None:
        """These are to be done again."""


class Silent:
    """A narrator that says nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def restart(self, tasks: Sequence[Task]) -> None:
        """Say nothing."""
