"""Remote training: a training on a node of a running cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from jobs.cluster.cluster_state import DEVICE_PREFIX, TIMING
from jobs.cluster.ray.connection import join
from jobs.cluster.ray.nodes import TIMING_SHARE
from jobs.cluster.ray.object_store import Reference
from jobs.common.errors import JobsError
from jobs.machine.devices import ANY, CPU, CUDA
from jobs.training.compute import TrainingError, TrainingJob

Event = Any
"""Of a training: a StartedTraining, or an event of gfnet.training.loop, which needs torch."""


def train_on_node(lesson: TrainingJob, address: str) -> Iterator[Event]:
    """Train on a node of a running cluster, and yield what happens there.

    A device that some node has registered as the resource `device:NAME` is trained on there;
    `cuda` is any node with a GPU; `cpu` and `any` are whatever node has a processor free.

    Raises:
        JobsError: the cluster cannot be reached, or has no such device.
        TrainingError: of the training itself, or its node was lost.
    """
    join(address)
    try:
        # Ray's types know nothing of a task that streams.
        task: Any = ray.remote(max_retries=0, num_returns="streaming")(_teach)
        events: Iterable[Reference] = task.options(**_place(lesson)).remote(lesson)
        for reference in events:
            yield _event(lesson, reference)
    finally:
        ray.shutdown()  # also ends the task, where nobody waits for it any more


def _event(lesson: TrainingJob, reference: Reference) -> Event:
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


def _place(lesson: TrainingJob) -> dict[str, Any]:
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


def _teach(lesson: TrainingJob) -> Iterator[Event]:
    """In a worker process of Ray: a device's own name means nothing to torch."""
    from jobs.training.compute import run_training_job

    device = lesson.device if lesson.device in (CPU, CUDA) else ANY
    yield from run_training_job(replace(lesson, device=device))
