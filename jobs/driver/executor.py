"""Executors: how tasks get to workers. Ours are in `inline_executor` and in `jobs.cluster.ray`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from jobs.common.errors import JobsError
from jobs.machine.slots import Host, Slot
from jobs.plan.task import Outcome, Task


class FullError(JobsError):
    """There is no room for a task's images until something else has come back."""


Finished = tuple[Task, Outcome]


class Executor(Protocol):
    """Runs tasks somewhere, some of them at a time."""

    @property
    def is_one_host(self) -> bool:
        """Whether there is one place for all, on the machine of this process."""

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be handed over before something comes back."""

    def places(self) -> Sequence[Host]:
        """Where tasks can go now."""

    def submit(self, task: Task, spot: Slot) -> None:
        """Hand a task over, for a device of one of these places.

        Raises:
            SourceError: its checkpoint or images cannot be read.
            FullError: there is no room for them now.
        """

    def wait(self, timeout_s: float | None = None) -> Finished | None:
        """Block until one of the tasks in flight is finished; None where that takes too long."""

    def close(self) -> None:
        """Stop what still runs and leave no process behind."""
