"""The executor that fans tasks out to nodes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Hashable, Sequence
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
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jobs.cluster.view import DEVICE_PREFIX, TIMING, ClusterError, NodeView
from jobs.device import CPU, CUDA
from jobs.errors import JobsError
from jobs.executor import Finished, Sources
from jobs.fanout.connection import EMBEDDED_STORE_BYTES, Head, join, start_here
from jobs.fanout.object_store import ObjectStore, Reference, Sent
from jobs.fanout.remote import Orders, Work, forget_pulse, pulse_of, remote_of
from jobs.memory import first_line
from jobs.places import Place, Spot
from jobs.progress import duration
from jobs.task import Outcome, Task
from jobs.transit import CorruptedError, unseal
from jobs.watchdog import LOOKS, STALL_S, Watchdog

STORE = "object_store_memory"
"""What Ray calls the size of a node's object store among its resources."""

TIMING_SHARE = 0.001
"""Of the timing resource, and of a device, that an untimed task takes."""

TASKS_PER_CPU = 2
"""In flight: one runs while the next one's images travel."""

LOOK_S = 2.0
"""Between two looks at the nodes of a cluster."""

HEAD_S = 30.0
"""For which a driver goes on without a head that knows it. One that was started anew knows none of
the tasks in flight, and of them nothing would ever come back."""

GONE_S = 30.0
"""For which a node is believed to be gone that Ray says has died. A link that is down for seconds
makes it say so too, of a node that lives on under the same id: after this the head decides."""

LINGER_S = 10.0
"""After a node died, until its tasks count as lost: Ray mostly says so itself, but never of a task
that had ended while the node was cut off."""


@dataclass
class _InFlight:
    """A task on its way.

    Attributes:
        task: which.
        sent: its weights and images, kept here lest Ray free what it will ask for; by key.
        node_id: where it went; None of a Ray of our own.
        pulse_key: where it reports.
        stranded_s: since when its node has been gone.
    """

    task: Task
    sent: dict[Hashable, Sent]
    node_id: str | None
    pulse_key: bytes
    stranded_s: float | None = None


@dataclass(frozen=True)
class _Node:
    """A place, and what Ray must know to reach it."""

    place: Place
    node_id: str
    resources: frozenset[str]


class RayExecutor:
    """Fans tasks out over an embedded Ray, or over a cluster that runs already.

    Weights and images travel through the object store, to each node once, and workers keep the
    models that they have loaded.

    Args:
        sources: where their bytes come from.
        address: of a running cluster; None starts Ray here, and `close` ends it.
        work: what a worker process does with a task.
        stall_s: how long a task may finish nothing before it counts as lost.

    Raises:
        JobsError: the cluster cannot be reached, or no node of it has the timing resource.
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
        self._store_bytes: float = EMBEDDED_STORE_BYTES
        self._head: Head | None = None
        self._nodes: dict[str, _Node] = {}
        self._alive: frozenset[str] = frozenset()
        self._gone_s: dict[str, float] = {}  # when Ray said so of a task's node
        self._looked_s = 0.0
        self._known_s = time.monotonic()  # when the head last knew this driver's node
        self._late: list[Any] = []  # stalled, and not yet given back
        self._work = remote_of(work)
        if address is None:
            start_here()
            self._store = ObjectStore(self._store_bytes)
            return
        self._head = join(address)
        try:
            self._look()
            self._store = ObjectStore(self._store_bytes)
            if not self._nodes:
                raise ClusterError(
                    f"no node of the cluster has the resource {TIMING!r}, which keeps a node to one"
                    " task while it is timed; start each with `gfjobs node start`"
                )
        except JobsError:
            ray.shutdown()
            raise

    @property
    def is_one_host(self) -> bool:
        """True of an embedded Ray."""
        return self._head is None

    @property
    def is_full(self) -> bool:
        """Whether the images in flight fill this machine's share of the object store."""
        sent = {key: one for task in self._in_flight.values() for key, one in task.sent.items()}
        return self._store.is_filled_by(sent.values())

    def places(self) -> Sequence[Place]:
        """The nodes that are there; looked up anew every two seconds.

        Raises:
            ClusterError: the head has been gone for long, or is another than at the start.
        """
        if self.is_one_host:
            resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
            return [Place("", max(int(resources.get("CPU", 1)), 1) * TASKS_PER_CPU)]
        if time.monotonic() - self._looked_s > LOOK_S:
            try:
                self._look()
            except ClusterError as err:  # what was seen last holds until it answers again
                if time.monotonic() - self._known_s > HEAD_S:
                    raise ClusterError(
                        f"{err}. What was committed is kept: when the cluster is back, go on with"
                        " `gfjobs resume`"
                    ) from err
        return [node.place for node in self._nodes.values()]

    def submit(self, task: Task, spot: Spot) -> None:
        """Hand a task to a node, its weights and images by reference."""
        sent = {
            key: self._store.put(key, read)
            for key, read in (
                (_weights_key(task), lambda: self._sources.weights(task)),
                (_images_key(task), lambda: self._sources.shard(task)),
            )
        }
        weights, images = sent.values()
        options: dict[str, Any] = {
            "name": f"{task.kind} {task.model} {task.shard.number}",
            "num_cpus": 1,
            "resources": {TIMING: 1 if task.is_timed else TIMING_SHARE},
        }
        node = None if self.is_one_host else self._nodes[spot.place]
        if node:
            options = _bound(options, task, spot, node)
        pulse_key = uuid.uuid4().bytes
        orders = Orders(images.digest, pulse_key, self._stall_s / LOOKS)
        # In a list a reference is not resolved: a worker that has the model fetches no weights.
        reference = self._work.options(**options).remote(
            task, [weights.reference], images.reference, spot if node else None, orders
        )
        node_id = node.node_id if node else None
        self._in_flight[reference] = _InFlight(task, sent, node_id, pulse_key)
        quiet_s = task.energy.settle_s + task.energy.idle_s if task.energy else 0.0
        self._watchdog.begin(reference, spot.place, quiet_s)

    def wait(self, timeout_s: float | None = None) -> Finished | None:
        """Block until a task is finished; one that is lost, for whatever reason, comes back so."""
        if not self._in_flight:
            time.sleep(timeout_s or 0.0)
            return None
        if stalled := self._stalled():
            return stalled
        due_s = self._watchdog.due_s()
        patience_s = due_s if timeout_s is None else min(timeout_s, due_s)
        ready, _ = ray.wait(list(self._in_flight), num_returns=1, timeout=patience_s)
        if not ready:
            return self._stranded()
        sent = self._take(ready[0])
        return sent.task, self._outcome(ready[0], sent)

    def _outcome(self, reference: Reference, sent: _InFlight) -> Outcome:
        """What has come back of a task."""
        try:
            sealed: Any = ray.get(reference)
            outcome = unseal(sealed)
        except CorruptedError as err:
            return Outcome({}, None, error=str(err), is_lost=True, is_corrupted=True)
        except RayError as err:
            self._looked_s = 0.0  # perhaps its node has gone
            is_gone = isinstance(err, (NodeDiedError, TaskUnschedulableError))
            if is_gone and sent.node_id:
                self._gone_s[sent.node_id] = time.monotonic()
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
            for key in sent.sent:  # to be read and sent anew
                self._store.drop(key)
        return outcome

    def _take(self, reference: Reference) -> _InFlight:
        """A task is in flight no more."""
        self._watchdog.end(reference)
        return self._in_flight.pop(reference)

    def close(self) -> None:
        """Cancel what runs, and disconnect; a Ray that was started here ends."""
        for reference in self._in_flight:
            with suppress(RayError, ValueError):  # nobody may be there to be told
                ray.cancel(reference, force=True)
        self._in_flight.clear()
        ray.shutdown()

    def _look(self) -> None:
        """See which nodes there are."""
        assert self._head is not None  # noqa: S101 - only of a cluster
        self._looked_s = time.monotonic()
        here = ray.get_runtime_context().get_node_id()
        since_s = time.monotonic() - GONE_S
        nodes = self._head.nodes()
        if here not in {view.node_id for view in nodes}:
            raise ClusterError(
                f"the cluster at {self._head.address} no longer knows this driver's node: its head,"
                " or the Ray of this machine, was started anew"
            )
        self._known_s = time.monotonic()
        gone = {node_id for node_id, at_s in self._gone_s.items() if at_s > since_s}
        views = [view for view in nodes if view.node_id not in gone]
        self._alive = frozenset(view.node_id for view in views)
        timing = [view for view in views if view.resources.get(TIMING)]
        self._nodes = {node.place.name: node for node in (_node(view, here) for view in timing)}
        mine = [view.resources for view in views if view.node_id == here]
        self._store_bytes = mine[0].get(STORE, self._store_bytes) if mine else self._store_bytes

    def _stranded(self) -> Finished | None:
        """A task whose node is dead and of which Ray says nothing; None where there is none."""
        now_s = time.monotonic()
        for reference, sent in self._in_flight.items():
            if sent.node_id is None or sent.node_id in self._alive:
                sent.stranded_s = None
                continue
            sent.stranded_s = sent.stranded_s or now_s
            if now_s - sent.stranded_s > LINGER_S:
                self._drop(reference)
                error = "NodeDiedError: its node left the cluster, and nothing came back"
                return sent.task, Outcome({}, None, error=error, is_lost=True, is_gone=True)
        return None

    def _stalled(self) -> Finished | None:
        """A task that has finished nothing for too long; None where there is none."""
        self._late += self._watchdog.stalled(lambda key: pulse_of(self._in_flight[key].pulse_key))
        while self._late:
            reference = self._late.pop()
            if reference not in self._in_flight:  # it came back meanwhile
                continue
            sent = self._drop(reference)
            forget_pulse(sent.pulse_key)
            error = (
                f"StalledError: it finished no batch in {duration(self._stall_s)}, and was ended"
            )
            return sent.task, Outcome({}, None, error=error, is_lost=True)
        return None

    def _drop(self, reference: Reference) -> _InFlight:
        """End a task of which nothing is wanted any more."""
        with suppress(RayError, ValueError):  # nobody may be there to be told
            ray.cancel(reference, force=True)
        return self._take(reference)


def _weights_key(task: Task) -> Hashable:
    return task.checkpoint_sha256


def _images_key(task: Task) -> Hashable:
    return task.dataset_sha256, task.shard


def _node(view: NodeView, here: str) -> _Node:
    """A node as a place; one that is not registered has the devices that Ray sees."""
    gpus = int(view.resources.get("GPU", 0))
    devices = view.devices or {CPU: 1} | ({CUDA: gpus} if gpus else {})
    place = Place(
        name=view.name,
        capacity=max(int(view.resources.get("CPU", 1)), 1) * TASKS_PER_CPU,
        devices=devices,
        has_gpu=gpus > 0,
        is_here=view.node_id == here,
    )
    return _Node(place, view.node_id, frozenset(view.resources))


def _bound(options: dict[str, Any], task: Task, spot: Spot, node: _Node) -> dict[str, Any]:
    """A task goes to its node and to no other, and takes the device that it is to run on."""
    resources = dict(options["resources"])
    resource = DEVICE_PREFIX + spot.device
    if resource in node.resources:
        is_whole = task.is_timed or node.place.has_gpu
        resources[resource] = 1 if is_whole else TIMING_SHARE
    return options | {
        "resources": resources,
        "num_gpus": int(node.place.has_gpu and spot.device != CPU),
        "scheduling_strategy": NodeAffinitySchedulingStrategy(node.node_id, soft=False),
    }
