"""Executors: how tasks get to workers. Here are the interface, and the one in this process."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import storage
from jobs.common.errors import JobsError
from jobs.machine.slots import Place, Spot
from jobs.plan.plan import Plan
from jobs.plan.task import Outcome, Task
from jobs.worker.run_task import run_task

SHUFFLE_SEED = 0
"""Images are shuffled once by default_rng(0): the same order for every model, in every run."""


class SourceError(JobsError):
    """A checkpoint or an image that was there when the run was planned cannot be read now."""


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

    def places(self) -> Sequence[Place]:
        """Where tasks can go now."""

    def submit(self, task: Task, spot: Spot) -> None:
        """Hand a task over, for a device of one of these places.

        Raises:
            SourceError: its checkpoint or images cannot be read.
            FullError: there is no room for them now.
        """

    def wait(self, timeout_s: float | None = None) -> Finished | None:
        """Block until one of the tasks in flight is finished; None where that takes too long."""

    def close(self) -> None:
        """Stop what still runs and leave no process behind."""


@dataclass(frozen=True)
class Sources:
    """Where the bytes of a plan's checkpoints and images come from.

    Attributes:
        checkpoints: path by sha256.
        images: image set by sha256.
    """

    checkpoints: Mapping[str, Path]
    images: Mapping[str, storage.ImageSet]

    @classmethod
    def of(cls, plan: Plan) -> Sources:
        """The sources of all cells of a plan."""
        return cls(
            {model.sha256: model.path for model in plan.grid.models},
            {data.images.sha256: data.images for data in plan.grid.datasets},
        )

    def weights(self, task: Task) -> bytes:
        """The checkpoint's file.

        Raises:
            SourceError: it is gone, or is not what was planned.
        """
        path = self.checkpoints[task.checkpoint_sha256]
        try:
            data = path.read_bytes()
        except OSError as err:
            raise SourceError(f"checkpoint {path} cannot be read: {err.strerror}") from err
        if hashlib.sha256(data).hexdigest() != task.checkpoint_sha256:
            raise SourceError(f"checkpoint {path} has changed since the run was planned")
        return data

    def shard(self, task: Task) -> Any:
        """The encoded images of a task, in the order of the fixed shuffle, as an Arrow table.

        Raises:
            SourceError: an image file is gone.
        """
        images = self.images[task.dataset_sha256]
        try:
            return images.read(shuffled(len(images))[task.shard.start : task.shard.stop])
        except storage.DatasetError as err:
            raise SourceError(str(err)) from err


@lru_cache(maxsize=16)
def shuffled(count: int) -> list[int]:
    """Image ids in the order in which every run takes them."""
    order: list[int] = np.random.default_rng(SHUFFLE_SEED).permutation(count).tolist()
    return order


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

    def places(self) -> Sequence[Place]:
        """This process, for one task at a time."""
        return [Place("", capacity=1)]

    def submit(self, task: Task, spot: Spot) -> None:  # noqa: ARG002 - there is one spot
        """Keep the task and its images until it is waited for."""
        self._tasks.append((task, self._sources.shard(task)))

    def wait(self, timeout_s: float | None = None) -> Finished:  # noqa: ARG002 - it is at work
        """Run the oldest task."""
        task, images = self._tasks.popleft()
        return task, self._run(task, lambda: self._sources.weights(task), images)

    def close(self) -> None:
        """Forget what has not run."""
        self._tasks.clear()
