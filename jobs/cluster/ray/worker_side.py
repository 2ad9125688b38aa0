"""A worker's side of a task: checks inputs, reports its heartbeat, packs the outcome."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError
from ray.experimental import internal_kv

import storage
from gfnet.tensors import Buffer
from jobs.cluster.ray.checksums import Sealed, check_images, check_weights, seal_outcome
from jobs.cluster.ray.object_store import Reference
from jobs.common.errors import CorruptedError
from jobs.machine.devices import keep_cuda_bindings_out
from jobs.machine.heartbeat import completed_batches
from jobs.machine.slots import Slot
from jobs.plan.task import Outcome, Task

NAMESPACE = b"gfjobs"
"""Namespace of heartbeats in the head's key-value store."""

Work = Callable[[Task, Callable[[], Buffer], Any, "Slot | None", Callable[[], Any]], Outcome]
"""Runs a task in a worker process; arguments as of `jobs.worker.run_task.run_task`."""

_kv: Any = internal_kv
# Ray has no public key-value store.
_kv_get, _kv_put, _kv_del = _kv._internal_kv_get, _kv._internal_kv_put, _kv._internal_kv_del  # noqa: SLF001


@dataclass(frozen=True)
class Orders:
    """What a worker needs to check and report a task.

    Attributes:
        digest: checksum of its images, computed by the sender.
        calibration_digest: checksum of the images from which its graphs are made, if there are any.
        heartbeat_key: key under which it reports its number of completed batches.
        heartbeat_s: seconds between reports; a task that ends sooner reports nothing.
    """

    digest: int
    heartbeat_key: bytes
    heartbeat_s: float
    calibration_digest: int | None = None


def make_remote(work: Work | None) -> Any:
    """Return the function that Ray runs, without retries: only the driver knows what is done.

    Args:
        work: replaces `jobs.worker.run_task.run_task`.
    """

    def perform(
        task: Task, lazily: list[Reference], images: Any, slot: Slot | None, orders: Orders
    ) -> Sealed:
        storage.keep_pandas_out()
        keep_cuda_bindings_out()

        def fetch() -> Buffer:
            content: Any = ray.get(lazily[0])
            is_bundle = task.graph_precision is not None
            return check_weights(memoryview(content), task.checkpoint_sha256, is_bundle=is_bundle)

        def fetch_calibration() -> Any:
            table: Any = ray.get(lazily[1])
            assert orders.calibration_digest is not None
            check_images(table, orders.calibration_digest)
            return table

        run = work or _work()
        with _reporting(orders):
            try:
                check_images(images, orders.digest)
                return seal_outcome(run(task, fetch, images, slot, fetch_calibration))
            except CorruptedError as err:
                error = str(err)
                return seal_outcome(Outcome({}, None, error=error, is_lost=True, is_corrupted=True))

    return ray.remote(max_retries=0)(perform)


def _work() -> Work:
    """Import what runs a task, and torch with it."""
    from jobs.worker.run_task import run_task

    return run_task


def read_heartbeat(key: bytes) -> int | None:
    """Return a task's last reported count; None if it reported none or the head does not answer."""
    with suppress(RayError, RuntimeError, ValueError):
        said = _kv_get(key, namespace=NAMESPACE)
        return int(said) if said else None
    return None


def delete_heartbeat(key: bytes) -> None:
    """Remove the report of a task that cannot do so itself."""
    with suppress(RayError, RuntimeError):
        _kv_del(key, namespace=NAMESPACE)


@contextmanager
def _reporting(orders: Orders) -> Iterator[None]:
    """Report the heartbeat every `heartbeat_s`, from a thread that sleeps in between."""
    is_over = threading.Event()

    def report() -> None:
        last = None
        while not is_over.wait(orders.heartbeat_s):
            if completed_batches() != last:
                last = completed_batches()
                with suppress(RayError, RuntimeError):
                    _kv_put(orders.heartbeat_key, str(last), overwrite=True, namespace=NAMESPACE)
        if last is not None:
            delete_heartbeat(orders.heartbeat_key)

    thread = threading.Thread(target=report, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
