"""Events of a run, as its driver reports them."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.plan.task import Outcome, Task


class RunEvents:
    """Takes a driver's reports; this class ignores them, and `Progress` shows them."""

    def update(self, task: Task, outcome: Outcome) -> None:
        """A task has ended; if its outcome is lost, it gets a further try."""

    def note(self, text: str) -> None:
        """Something the user should know, such as cells that wait for a device."""

    def restart(self, tasks: Sequence[Task]) -> None:
        """These tasks were done, and are to be done again."""
