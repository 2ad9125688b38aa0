"""Ray: the executor that fans tasks out to nodes. The only module that knows Ray."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from jobs.device import ANY, CPU, CUDA
from jobs.errors import JobsError
from jobs.executor import Sources
from jobs.task import Outcome, Task
from jobs.trainer import Lesson, TrainingError

# Before Ray is imported, which reads them then.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # silences a warning of 2.5x

import ray
from ray.exceptions import RayError, RayTaskError

Reference = Any
"""An ObjectRef of Ray, whose types stay inside this module."""

Event = Any
"""Of a training: jobs.trainer.Began, or one of gfnet.training.loop, which needs torch."""

DEVICE_PREFIX = "device:"
"""Of the resource by which a node says which devices it has."""

TIMING = "timing"
"""Resource of which each host has 1: a timed task takes it whole, any other a share."""

TIMING_SHARE = 0.001
EMBEDDED_STORE_BYTES = 512 * 2**20
KEPT_SHARDS = 8
KEPT_WEIGHTS = 16
"""Kept in the object store beyond those in flight, so that memory stays flat for any grid."""

TASKS_PER_CPU = 2
"""In flight: one runs while the next one's images travel."""


class RayExecutor:
    """Fans tasks out over an embedded Ray, or over a cluster that runs already.

    Weights and images travel through the object store, once each, and workers keep the models
    that they have loaded.

    Args:
        sources: where their bytes come from.
        address: of a running cluster; None starts Ray here, and `close` ends it.

    Raises:
        JobsError: the cluster cannot be reached, or no node of it has the timing resource.
    """

    def __init__(self, sources: Sources, address: str | None = None) -> None:
        self._sources = sources
        self._address = address
        self._in_flight: dict[Reference, tuple[Task, Reference]] = {}
        self._weights = _Kept(KEPT_WEIGHTS)
        self._shards = _Kept(KEPT_SHARDS)
        _start(address)
        try:
            self._check_resources()
        except JobsError:
            ray.shutdown()
            raise
        self._task = ray.remote(max_retries=0)(_run)  # the driver retries: it knows what is done

    def _check_resources(self) -> None:
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        if not resources.get(TIMING):
            raise JobsError(
                f"no node of the cluster has the resource {TIMING!r}, which keeps a node to one"
                " task while it is timed; start each with"
                f" `ray start ... --resources='{{\"{TIMING}\": 1}}'`"
            )
        self._cpus = max(int(resources.get("CPU", 1)), 1)

    @property
    def is_one_host(self) -> bool:
        """True of an embedded Ray; of a cluster nothing is known yet."""
        return self._address is None

    def capacity(self) -> int:
        """Twice the processors: one task runs while the next one's images travel."""
        return self._cpus * TASKS_PER_CPU

    def submit(self, task: Task) -> None:
        """Hand a task to the cluster, its weights and images by reference."""
        weights = self._weights.put(task.checkpoint_sha256, lambda: self._sources.weights(task))
        images = self._shards.put(
            (task.dataset_sha256, task.shard), lambda: self._sources.shard(task)
        )
        remote = self._task.options(
            name=f"{task.kind} {task.model} {task.shard.number}",
            num_cpus=1,
            resources={TIMING: 1 if task.is_timed else TIMING_SHARE},
        )
        # In a list a reference is not resolved: a worker that has the model fetches no weights.
        # It is kept beside the task, lest Ray free weights that a queued task will ask for.
        self._in_flight[remote.remote(task, [weights], images)] = (task, weights)

    def wait(self) -> tuple[Task, Outcome]:
        """Block until a task is finished; one whose worker died comes back as lost."""
        ready, _ = ray.wait(list(self._in_flight), num_returns=1)
        task, _ = self._in_flight.pop(ready[0])
        try:
            outcome: Outcome = ray.get(ready[0])
        except RayError as err:
            outcome = Outcome({}, None, error=f"{type(err).__name__}: {err}", is_lost=True)
        return task, outcome

    def close(self) -> None:
        """Cancel what runs, and disconnect; a Ray that was started here ends."""
        for reference in self._in_flight:
            ray.cancel(reference, force=True)
        self._in_flight.clear()
        ray.shutdown()


class _Kept:
    """What was put into the object store lately; Ray frees the rest once no task refers to it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._references: OrderedDict[Hashable, Reference] = OrderedDict()

    def put(self, key: Hashable, read: Callable[[], Any]) -> Reference:
        """A reference to a value, which is read and put where it is not there."""
        if key not in self._references:
            self._references[key] = ray.put(read())
            if len(self._references) > self._limit:
                self._references.popitem(last=False)
        self._references.move_to_end(key)
        return self._references[key]


def _run(task: Task, weights: list[Any], images: Any) -> Outcome:
    """In a worker process of Ray: fetch, run, return."""
    from jobs.worker import run_task

    fetch: Callable[[], bytes] = lambda: ray.get(weights[0])  # noqa: E731
    return run_task(task, fetch, images)


def teach(lesson: Lesson, address: str) -> Iterator[Event]:
    """Train on a node of a running cluster, and yield what happens there.

    A device that some node has registered as the resource `device:NAME` is trained on there;
    `cuda` is any node with a GPU; `cpu` and `any` are whatever node has a processor free.

    Raises:
        JobsError: the cluster cannot be reached, or has no such device.
        TrainingError: of the training itself, or its node was lost.
    """
    _start(address)
    try:
        # Ray's types know nothing of a task that streams.
        task: Any = ray.remote(max_retries=0, num_returns="streaming")(_teach)
        events: Iterable[Reference] = task.options(**_place(lesson)).remote(lesson)
        for reference in events:
            yield _event(lesson, reference)
    finally:
        ray.shutdown()  # also ends the task, where nobody waits for it any more


def _event(lesson: Lesson, reference: Reference) -> Event:
    try:
        event: Event = ray.get(reference)
    except RayTaskError as err:
        if isinstance(err.cause, JobsError):
            raise err.cause from None
        raise TrainingError(f"{lesson.recipe.name} failed on its node:\n{err}") from err
    except RayError as err:
        raise TrainingError(
            f"{lesson.recipe.name}: its node was lost ({type(err).__name__}); go on elsewhere with"
            " --resume"
        ) from err
    return event


def _place(lesson: Lesson) -> dict[str, Any]:
    """Ray's options for a training: where it may run, and what it takes there.

    It shares the host with others, but not with a timed task.
    """
    available: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    device = lesson.device
    resources = {TIMING: TIMING_SHARE} if TIMING in available else {}
    options: dict[str, Any] = {"name": f"train {lesson.recipe.name}", "num_cpus": 1}
    registered = sorted(name for name in available if name.startswith(DEVICE_PREFIX))
    if DEVICE_PREFIX + device in registered:
        resources[DEVICE_PREFIX + device] = 1
    elif device == CUDA and available.get("GPU"):
        options["num_gpus"] = 1
    elif device not in (ANY, CPU):
        known = [name.removeprefix(DEVICE_PREFIX) for name in registered]
        known += [ANY, CPU] + ([CUDA] if available.get("GPU") else [])
        raise TrainingError(f"the cluster has no device {device!r}; it has: {', '.join(known)}")
    return options | {"resources": resources}


def _teach(lesson: Lesson) -> Iterator[Event]:
    """In a worker process of Ray: a device's own name means nothing to torch."""
    from jobs.trainer import run_lesson

    device = lesson.device if lesson.device in (CPU, CUDA) else ANY
    yield from run_lesson(replace(lesson, device=device))


def _start(address: str | None) -> None:
    if address is None:
        ray.init(
            address="local",  # None would join whatever Ray was last started on this machine
            resources={TIMING: 1},
            object_store_memory=EMBEDDED_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        return
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as err:
        raise JobsError(
            f"joining the Ray cluster at {address!r} failed: {err}. Check it with `ray status"
            f" --address {address}`: this machine needs the same Ray and Python versions as it"
        ) from err
