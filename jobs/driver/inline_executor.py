"""An executor in this process: for debugging and for tests."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from jobs.driver.executor import Finished
from jobs.machine.slots import Host, Slot
from jobs.plan.sources import Sources
from jobs.plan.task import Outcome, Task


class InlineExecutor:
    """Runs each task in this process, inside `wait`: for debugging and for tests.

    Args:
        sources: source of weights and images.
        run: replaces `jobs.worker.run_task.run_task`, which loads torch.
    """

    def __init__(self, sources: Sources, run: Callable[..., Outcome] | None = None) -> None:
        self._sources = sources
        self._run = run
        self._tasks: deque[tuple[Task, Any]] = deque()

    @property
    def is_one_host(self) -> bool:
        """True: everything runs in this process."""
        return True

    @property
    def is_full(self) -> bool:
        """False: its one host has one slot, so it never holds more than one task."""
        return False

    def hosts(self) -> Sequence[Host]:
        """This process, for one task at a time."""
        return [Host("", capacity=1)]

    def submit(self, task: Task, slot: Slot) -> None:  # noqa: ARG002 - there is one slot
        """Keep the task and its images until `wait` runs it."""
        self._tasks.append((task, self._sources.shard(task)))

    def wait(self, timeout_s: float | None = None) -> Finished:  # noqa: ARG002 - runs a task
        """Run the oldest task."""
        from jobs.worker.run_task import run_task  # drivers with workers need no torch

        task, images = self._tasks.popleft()
        slot = None  # the device that the task's name for it means here
        return task, (self._run or run_task)(
            task,
            lambda: self._sources.weights(task),
            images,
            slot,
            lambda: self._sources.calibration(task),
        )

    def close(self) -> None:
        """Drop tasks that have not run."""
        self._tasks.clear()
