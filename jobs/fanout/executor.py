"""The executor that fans tasks out to nodes."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import NodeDiedError, RayError, TaskUnschedulableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jobs.cluster.view import DEVICE_PREFIX, TIMING, ClusterError, NodeView
from jobs.device import CPU, CUDA
from jobs.errors import JobsError
from jobs.executor import Finished, Sources
from jobs.fanout.connection import Head, join, start_here
from jobs.places import Place, Spot
from jobs.task import Outcome, Task

Reference = Any
"""An ObjectRef of Ray, whose types stay inside this package."""

TIMING_SHARE = 0.001
"""Of the timing resource, and of a device, that an untimed task takes."""

KEPT_BYTES = 256 * 2**20
"""Kept in the object store beyond what is in flight: a shard that is still there goes to no node
twice, and memory stays flat for any grid."""

TASKS_PER_CPU = 2
"""In flight: one runs while the next one's images travel."""

LOOK_S = 2.0
"""Between two looks at the nodes of a cluster."""

LINGER_S = 10.0
"""After a node died, until its tasks count as lost: Ray mostly says so itself, but never of a task
that had ended while the node was cut off."""


@dataclass
class _InFlight:
    """A task on its way; `weights` are kept beside it, lest Ray free what it will ask for."""

    task: Task
    weights: Reference
    node_id: str | None
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

    Raises:
        JobsError: the cluster cannot be reached, or no node of it has the timing resource.
    """

    def __init__(
        self,
        sources: Sources,
        address: str | None = None,
        work: Callable[..., Outcome] | None = None,
    ) -> None:
        self._sources = sources
        self._in_flight: dict[Reference, _InFlight] = {}
        self._kept = _Kept(KEPT_BYTES)
        self._head: Head | None = None
        self._nodes: dict[str, _Node] = {}
        self._alive: frozenset[str] = frozenset()
        self._gone: set[str] = set()  # by what Ray said of a task, before the head notices
        self._looked_s = 0.0
        # The driver retries: it knows what is done.
        self._work = ray.remote(max_retries=0)(work or _run)
        if address is None:
            start_here()
            return
        self._head = join(address)
        try:
            self._look()
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

    def places(self) -> Sequence[Place]:
        """The nodes that are there; looked up anew every two seconds."""
        if self.is_one_host:
            resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
            return [Place("", max(int(resources.get("CPU", 1)), 1) * TASKS_PER_CPU)]
        if time.monotonic() - self._looked_s > LOOK_S:
            with suppress(ClusterError):  # what was seen last holds until it answers again
                self._look()
        return [node.place for node in self._nodes.values()]

    def submit(self, task: Task, spot: Spot) -> None:
        """Hand a task to a node, its weights and images by reference."""
        weights = self._kept.put(task.checkpoint_sha256, lambda: self._sources.weights(task))
        images = self._kept.put(
            (task.dataset_sha256, task.shard), lambda: self._sources.shard(task)
        )
        options: dict[str, Any] = {
            "name": f"{task.kind} {task.model} {task.shard.number}",
            "num_cpus": 1,
            "resources": {TIMING: 1 if task.is_timed else TIMING_SHARE},
        }
        node = None if self.is_one_host else self._nodes[spot.place]
        if node:
            options = _bound(options, task, spot, node)
        # In a list a reference is not resolved: a worker that has the model fetches no weights.
        reference = self._work.options(**options).remote(
            task, [weights], images, spot if node else None
        )
        self._in_flight[reference] = _InFlight(task, weights, node.node_id if node else None)

    def wait(self, timeout_s: float | None = None) -> Finished | None:
        """Block until a task is finished; one whose worker or node died comes back as lost."""
        if not self._in_flight:
            time.sleep(timeout_s or 0.0)
            return None
        ready, _ = ray.wait(list(self._in_flight), num_returns=1, timeout=timeout_s)
        if not ready:
            return self._stranded()
        sent = self._in_flight.pop(ready[0])
        try:
            outcome: Outcome = ray.get(ready[0])
        except RayError as err:
            self._looked_s = 0.0  # perhaps its node has gone
            if isinstance(err, (NodeDiedError, TaskUnschedulableError)) and sent.node_id:
                self._gone.add(sent.node_id)
            outcome = Outcome(
                {},
                None,
                error=f"{type(err).__name__}: {err}",
                is_lost=True,
                is_untried=isinstance(err, TaskUnschedulableError),
            )
        return sent.task, outcome

    def close(self) -> None:
        """Cancel what runs, and disconnect; a Ray that was started here ends."""
        for reference in self._in_flight:
            ray.cancel(reference, force=True)
        self._in_flight.clear()
        ray.shutdown()

    def _look(self) -> None:
        """See which nodes there are."""
        assert self._head is not None  # noqa: S101 - only of a cluster
        self._looked_s = time.monotonic()
        here = ray.get_runtime_context().get_node_id()
        views = [view for view in self._head.nodes() if view.node_id not in self._gone]
        self._alive = frozenset(view.node_id for view in views)
        timing = [view for view in views if view.resources.get(TIMING)]
        self._nodes = {node.place.name: node for node in (_node(view, here) for view in timing)}

    def _stranded(self) -> Finished | None:
        """A task whose node is dead and of which Ray says nothing; None where there is none."""
        now_s = time.monotonic()
        for reference, sent in self._in_flight.items():
            if sent.node_id is None or sent.node_id in self._alive:
                sent.stranded_s = None
                continue
            sent.stranded_s = sent.stranded_s or now_s
            if now_s - sent.stranded_s > LINGER_S:
                with suppress(RayError, ValueError):  # nobody may be there to be told
                    ray.cancel(reference, force=True)
                del self._in_flight[reference]
                error = "NodeDiedError: its node left the cluster, and nothing came back"
                return sent.task, Outcome({}, None, error=error, is_lost=True)
        return None


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


class _Kept:
    """What was put into the object store lately; Ray frees the rest once no task refers to it."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._references: OrderedDict[Hashable, tuple[Reference, int]] = OrderedDict()

    def put(self, key: Hashable, read: Callable[[], Any]) -> Reference:
        """A reference to a value, which is read and put where it is not there."""
        if key not in self._references:
            value = read()
            size = getattr(value, "nbytes", None) or len(value)  # an Arrow table, or bytes
            self._references[key] = ray.put(value), size
            while len(self._references) > 1 and self._bytes() > self._limit_bytes:
                self._references.popitem(last=False)
        self._references.move_to_end(key)
        return self._references[key][0]

    def _bytes(self) -> int:
        return sum(size for _, size in self._references.values())


def _run(task: Task, weights: list[Any], images: Any, spot: Spot | None) -> Outcome:
    """In a worker process of Ray: fetch, run, return."""
    from jobs.worker import run_task

    fetch: Callable[[], bytes] = lambda: ray.get(weights[0])  # noqa: E731
    return run_task(task, fetch, images, spot)
