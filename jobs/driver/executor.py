"""The interface of executors, which run tasks: see `inline_executor` and `jobs.cluster.ray`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from jobs.common.errors import JobsError
from jobs.machine.slots import Host, Slot
from jobs.plan.task import Outcome, Task


class FullError(JobsError):
    """There is no room for a task's images until another task has ended."""


Finished = tuple[Task, Outcome]


class Executor(Protocol):
    """Runs tasks, several at a time."""

    @property
    def is_one_host(self) -> bool:
        """Whether all tasks run on one host, the machine of this process."""

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be handed over before another task has ended."""

    def hosts(self) -> Sequence[Host]:
        """The hosts that can take tasks now."""

    def submit(self, task: Task, slot: Slot) -> None:
        """Hand over a task for a slot of one of these hosts.

        Raises:
            SourceError: its checkpoint or images cannot be read.
            FullError: there is no room for them now.
        """

    def wait(self, timeout_s: float | None = None) -> Finished | None:
        """Block until one of the tasks in flight has ended; None after `timeout_s`."""

    def close(self) -> None:
        """Stop all running tasks and their processes."""
