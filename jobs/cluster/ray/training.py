"""Remote training on a node of a running cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from jobs.cluster.cluster_state import DEVICE_PREFIX, TIMING
from jobs.cluster.ray.connection import join, leave
from jobs.cluster.ray.nodes import TIMING_SHARE
from jobs.cluster.ray.object_store import Reference
from jobs.common.errors import JobsError
from jobs.machine.devices import ANY, CPU, CUDA
from jobs.training.compute import NoTrainingDeviceError, TrainingError, TrainingJob

Event = Any
"""Event of a training: a StartedTraining, or one of gfnet.training.loop, which needs torch."""


def train_on_node(job: TrainingJob, address: str) -> Iterator[Event]:
    """Train on a node of a running cluster, and yield the events of the training.

    A device that a node has registered as the resource `device:NAME` selects such a node; `cuda`
    selects any node with a GPU; `cpu` and `any` select any node with a free processor.

    Raises:
        JobsError: the cluster cannot be reached, or has no such device.
        TrainingError: the training failed, or its node was lost.
    """
    join(address)
    try:
        # Ray's types do not cover a streaming task.
        task: Any = ray.remote(max_retries=0, num_returns="streaming")(_train)
        events: Iterable[Reference] = task.options(**_resources(job)).remote(job)
        for reference in events:
            yield _event(job, reference)
    finally:
        leave()  # also ends the task, if the caller has stopped reading events


def _event(job: TrainingJob, reference: Reference) -> Event:
    try:
        event: Event = ray.get(reference)
    except RayTaskError as err:
        if isinstance(err.cause, JobsError):
            raise err.cause from None
        raise TrainingError(f"{job.recipe.name} failed on its node:\n{err}") from err
    except RayError as err:
        raise TrainingError(
            f"{job.recipe.name}: its node was lost ({type(err).__name__}); continue on another"
            " node with --resume"
        ) from err
    return event


def _resources(job: TrainingJob) -> dict[str, Any]:
    """Return Ray's options for a training: where it may run, and the resources it takes.

    It shares its host with other tasks, but not with a timed one.
    """
    available: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    device = job.device
    resources = {TIMING: TIMING_SHARE} if TIMING in available else {}
    options: dict[str, Any] = {"name": f"train {job.recipe.name}", "num_cpus": 1}
    registered = sorted(name for name in available if name.startswith(DEVICE_PREFIX))
    if DEVICE_PREFIX + device in registered:
        resources[DEVICE_PREFIX + device] = 1
    elif device == CUDA and available.get("GPU"):
        options["num_gpus"] = 1
    elif device not in (ANY, CPU):
        known = [name.removeprefix(DEVICE_PREFIX) for name in registered]
        known += [ANY, CPU] + ([CUDA] if available.get("GPU") else [])
        raise NoTrainingDeviceError(
            f"the cluster has no device {device!r}; it has: {', '.join(known)}"
        )
    return options | {"resources": resources}


def _train(job: TrainingJob) -> Iterator[Event]:
    """Train in a Ray worker process, where torch accepts no registered device names."""
    from jobs.training.compute import run_training_job

    device = job.device if job.device in (CPU, CUDA) else ANY
    yield from run_training_job(replace(job, device=device))
