"""An executor in this process: for debugging and for tests."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from jobs.driver.executor import Finished
from jobs.machine.slots import Host, Slot
from jobs.plan.sources import Sources
from jobs.plan.task import Outcome, Task
from jobs.worker.run_task import run_task


class InlineExecutor:
    """Runs each task in this process, when it is waited for: for debugging and for tests."""

    def __init__(
        self, sources: Sources, run: Callable[[Task, Callable[[], bytes], Any], Outcome] = run_task
    ) -> None:
        self._sources = sources
        self._run = run
        self._tasks: deque[tuple[Task, Any]] = deque()

    @property
    def is_one_host(self) -> bool:
        """True: everything runs here."""
        return True

    @property
    def is_full(self) -> bool:
        """False: it holds one task."""
        return False

    def hosts(self) -> Sequence[Host]:
        """This process, for one task at a time."""
        return [Host("", capacity=1)]

    def submit(self, task: Task, slot: Slot) -> None:  # noqa: ARG002 - there is one slot
        """Keep the task and its images until it is waited for."""
        self._tasks.append((task, self._sources.shard(task)))

    def wait(self, timeout_s: float | None = None) -> Finished:  # noqa: ARG002 - it is at work
        """Run the oldest task."""
        task, images = self._tasks.popleft()
        return task, self._run(task, lambda: self._sources.weights(task), images)

    def close(self) -> None:
        """Forget what has not run."""
        self._tasks.clear()
