"""The executor that distributes tasks to nodes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import (
    NodeDiedError,
    RayError,
    RayTaskError,
    TaskUnschedulableError,
)

from jobs.cluster.cluster_state import TIMING
from jobs.cluster.ray.checksums import open_outcome
from jobs.cluster.ray.connection import (
    EMBEDDED_STORE_BYTES,
    check_embedded,
    join,
    leave,
    start_here,
)
from jobs.cluster.ray.nodes import TASKS_PER_CPU, TIMING_SHARE, Nodes, bind_to_node
from jobs.cluster.ray.object_store import ObjectStore, Reference, Sent
from jobs.cluster.ray.worker_side import Orders, Work, delete_heartbeat, make_remote, read_heartbeat
from jobs.common.errors import CorruptedError, JobsError
from jobs.common.formatting import format_duration
from jobs.driver.executor import Finished
from jobs.driver.watchdog import LOOKS, STALL_S, Watchdog
from jobs.machine.slots import Host, Slot
from jobs.plan.sources import Sources
from jobs.plan.task import Outcome, Task
from jobs.worker.memory import first_line

LINGER_S = 10.0
"""Time after a node's death until its tasks count as lost: Ray mostly reports them itself, but
never a task that ended while the node was cut off."""


LOOK_S = 2.0
"""Time between two looks at the processes of an embedded Ray."""


@dataclass
class _InFlight:
    """A task that was submitted and has not finished.

    Attributes:
        task: the task.
        sent: its weights and images by key; kept here so that Ray does not free them.
        node_id: its node; None for an embedded Ray.
        heartbeat_key: key of its heartbeat on the head.
        stranded_s: time since which its node has been gone; None if the node is alive.
    """

    task: Task
    sent: dict[Hashable, Sent]
    node_id: str | None
    heartbeat_key: bytes
    stranded_s: float | None = None


class RayExecutor:
    """Distributes tasks over an embedded Ray or a running cluster.

    Weights and images travel through the object store, once to each node, and workers keep the
    models that they have loaded.

    Args:
        sources: source of their bytes.
        address: of a running cluster; None starts Ray here, and `close` ends it.
        work: function that a worker process runs for a task.
        stall_s: seconds without a completed batch after which a task counts as lost.

    Raises:
        JobsError: the cluster cannot be reached, or none of its nodes has the timing resource.
    """

    def __init__(
        self,
        sources: Sources,
        address: str | None = None,
        work: Work | None = None,
        *,
        stall_s: float = STALL_S,
    ) -> None:
        self._sources = sources
        self._stall_s = stall_s
        self._watchdog = Watchdog(stall_s)
        self._in_flight: dict[Reference, _InFlight] = {}
        self._nodes: Nodes | None = None  # None for an embedded Ray, which is one host
        self._here: list[Host] = []  # the host of an embedded Ray
        self._late: list[Any] = []  # stalled, and not yet returned by wait
        self._work = make_remote(work)
        if address is None:
            start_here()
            self._store = ObjectStore(EMBEDDED_STORE_BYTES)
            return
        head = join(address)
        assert head is not None  # Target.check
        try:
            self._nodes = Nodes(head)
        except JobsError:
            leave()
            raise
        self._store = ObjectStore(self._nodes.store_bytes)

    @property
    def is_one_host(self) -> bool:
        """Whether Ray is embedded."""
        return self._nodes is None

    @property
    def is_full(self) -> bool:
        """Whether the images in flight fill this machine's share of the object store."""
        sent = {key: one for task in self._in_flight.values() for key, one in task.sent.items()}
        return self._store.is_filled_by(sent.values())

    def hosts(self) -> Sequence[Host]:
        """Return the hosts that are available; updated every two seconds.

        Raises:
            ClusterError: the head has been gone for too long, or was restarted; or a process of the
                embedded Ray has ended.
        """
        if self._nodes is None:
            check_embedded()
            if not self._here:  # asked once: a head that has ended blocks for a minute
                resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
                self._here = [Host("", max(int(resources.get("CPU", 1)), 1) * TASKS_PER_CPU)]
            return self._here
        return self._nodes.hosts()

    def submit(self, task: Task, slot: Slot) -> None:
        """Submit a task to a node, with its weights and images by reference."""
        needed: list[tuple[Hashable, Callable[[], Any]]] = [
            (_weights_key(task), lambda: self._sources.weights(task)),
            (_images_key(task), lambda: self._sources.shard(task)),
        ]
        if task.calibration_sha256:
            needed.append((_calibration_key(task), lambda: self._sources.calibration(task)))
        sent = {key: self._store.put(key, read) for key, read in needed}
        weights, images, *calibration = sent.values()
        options: dict[str, Any] = {
            "name": f"{task.kind} {task.model} {task.shard.number}",
            "num_cpus": 1,
            "resources": {TIMING: 1 if task.is_timed else TIMING_SHARE},
        }
        node = self._nodes.node(slot.host) if self._nodes else None
        if node:
            options = bind_to_node(options, task, slot, node)
        heartbeat_key = uuid.uuid4().bytes
        orders = Orders(
            images.digest,
            heartbeat_key,
            self._stall_s / LOOKS,
            calibration[0].digest if calibration else None,
        )
        # Ray resolves no reference in a list: a worker that has the model fetches no weights.
        lazily = [each.reference for each in (weights, *calibration)]
        reference = self._work.options(**options).remote(
            task, lazily, images.reference, slot if node else None, orders
        )
        node_id = node.node_id if node else None
        self._in_flight[reference] = _InFlight(task, sent, node_id, heartbeat_key)
        quiet_s = task.energy.settle_s + task.energy.idle_s if task.energy else 0.0
        self._watchdog.begin(reference, slot.host, quiet_s)

    def wait(self, timeout_s: float | None = None) -> Finished | None:
        """Wait until a task has finished or is lost, and return it; None if none has in time."""
        if not self._in_flight:
            time.sleep(timeout_s or 0.0)
            return None
        if lost := self._stalled() or self._stranded():
            return lost
        due_s = self._watchdog.due_s()
        patience_s = due_s if timeout_s is None else min(timeout_s, due_s)
        ready = self._first(time.monotonic() + patience_s)
        if not ready:
            return None
        sent = self._take(ready[0])
        return sent.task, self._outcome(ready[0], sent)

    def _first(self, due_s: float) -> list[Reference]:
        """Wait until a task has ended, or until a time; check now and then that Ray runs."""
        while True:
            if self.is_one_host:
                check_embedded()
            left_s = max(due_s - time.monotonic(), 0.0)
            look_s = min(left_s, LOOK_S) if self.is_one_host else left_s
            ready, _ = ray.wait(list(self._in_flight), num_returns=1, timeout=look_s)
            if ready or look_s == left_s:
                return ready

    def _outcome(self, reference: Reference, sent: _InFlight) -> Outcome:
        """Return the outcome of a task that Ray reports as ended."""
        try:
            sealed: Any = ray.get(reference)
            outcome = open_outcome(sealed)
        except CorruptedError as err:
            return Outcome({}, None, error=str(err), is_lost=True, is_corrupted=True)
        except RayError as err:
            is_gone = isinstance(err, (NodeDiedError, TaskUnschedulableError))
            if self._nodes:
                self._nodes.look_soon()
                if is_gone and sent.node_id:
                    self._nodes.died(sent.node_id)
            said = str(err) if isinstance(err, RayTaskError) else first_line(err)
            return Outcome(
                {},
                None,
                error=f"{type(err).__name__}: {said}",
                is_lost=True,
                is_untried=isinstance(err, TaskUnschedulableError),
                is_gone=is_gone,
            )
        if outcome.is_corrupted:
            for key in sent.sent:  # so that they are read and sent again
                self._store.drop(key)
        return outcome

    def _take(self, reference: Reference) -> _InFlight:
        """Remove a task from those in flight, and return it."""
        self._watchdog.end(reference)
        return self._in_flight.pop(reference)

    def close(self) -> None:
        """Cancel running tasks and disconnect; ends an embedded Ray."""
        for reference in self._in_flight:
            with suppress(RayError, ValueError):  # its node may be gone
                ray.cancel(reference, force=True)
        self._in_flight.clear()
        leave()

    def _stranded(self) -> Finished | None:
        """Return a task whose node is dead and that Ray does not report; None if there is none.

        Checked also while other tasks finish: on a busy cluster one always does.
        """
        if self._nodes is None:
            return None
        now_s = time.monotonic()
        for reference, sent in self._in_flight.items():
            if sent.node_id is None or self._nodes.is_alive(sent.node_id):
                sent.stranded_s = None
                continue
            sent.stranded_s = sent.stranded_s or now_s
            if now_s - sent.stranded_s > LINGER_S and not _is_back(reference):
                self._drop(reference)
                error = "NodeDiedError: its node left the cluster before it returned a result"
                return sent.task, Outcome({}, None, error=error, is_lost=True, is_gone=True)
        return None

    def _stalled(self) -> Finished | None:
        """Return a task that has completed no batch for too long; None if there is none."""
        self._late += self._watchdog.stalled(
            lambda key: read_heartbeat(self._in_flight[key].heartbeat_key)
        )
        while self._late:
            reference = self._late.pop()
            if reference not in self._in_flight:  # it has finished meanwhile
                continue
            sent = self._drop(reference)
            delete_heartbeat(sent.heartbeat_key)
            stall = format_duration(self._stall_s)
            error = f"StalledError: it finished no batch in {stall}, and was stopped"
            return sent.task, Outcome({}, None, error=error, is_lost=True)
        return None

    def _drop(self, reference: Reference) -> _InFlight:
        """Cancel a task whose outcome is no longer needed, and return it."""
        with suppress(RayError, ValueError):  # its node may be gone
            ray.cancel(reference, force=True)
        return self._take(reference)


def _is_back(reference: Reference) -> bool:
    ready, _ = ray.wait([reference], timeout=0)
    return bool(ready)


def _weights_key(task: Task) -> Hashable:
    return task.checkpoint_sha256


def _images_key(task: Task) -> Hashable:
    return task.dataset_sha256, task.shard


def _calibration_key(task: Task) -> Hashable:
    return task.calibration_sha256, task.calibration_images
