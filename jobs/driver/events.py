"""Events of a run, as its driver reports them."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.plan.task import Outcome, Task


class RunEvents:
    """Receives a driver's events; this class ignores them, and `Progress` shows them."""

    def begin(self, task: Task) -> None:
        """Called when a task is about to be given out."""

    def update(self, task: Task, outcome: Outcome) -> None:
        """Called when a task has ended; if its outcome is lost, it is tried again."""

    def note(self, text: str) -> None:
        """Called with a message for the user, such as that cells wait for a device."""

    def restart(self, tasks: Sequence[Task]) -> None:
        """Called with tasks that were done and must be done again."""
