"""Events of a run, as its driver reports them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jobs.machine.slots import Slot
from jobs.plan.task import Outcome, Task


class RunEvents:
    """Receives a driver's events; this class ignores them, and `Progress` shows them."""

    def begin(self, task: Task, slot: Slot) -> None:
        """Called when a task is about to be given out."""

    def end(self, task: Task) -> None:
        """Called when a task has left its slot, be it done or not; other tasks may be timed."""

    def update(self, task: Task, outcome: Outcome) -> None:
        """Called with how a task ended; if its outcome is lost, it is tried again."""

    def note(self, text: str) -> None:
        """Called with a message for the user, such as that cells wait for a device."""

    def shorten(self, images: Mapping[str, Sequence[int]]) -> None:
        """Called with tasks that are not needed: by cell the images of each."""

    def restart(self, tasks: Sequence[Task]) -> None:
        """Called with tasks that were done and must be done again."""
