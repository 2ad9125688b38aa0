"""The nodes of a cluster as a driver sees them, and the binding of a task to one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jobs.cluster.cluster_state import DEVICE_PREFIX, TIMING, ClusterError, NodeView
from jobs.cluster.ray.connection import EMBEDDED_STORE_BYTES, Head
from jobs.machine.devices import CPU, CUDA
from jobs.machine.slots import Host, Slot
from jobs.plan.task import Task

STORE = "object_store_memory"
"""Ray's resource for the size of a node's object store."""

TIMING_SHARE = 0.001
"""Share of the timing resource, and of a device, that an untimed task takes."""

TASKS_PER_CPU = 2
"""Tasks in flight per CPU: one runs while the next one's images travel."""

LOOK_S = 2.0
"""Time between two queries for the nodes of a cluster."""

HEAD_S = 30.0
"""How long a driver continues without a head that knows it. A head that was restarted knows none
of the tasks in flight, so they would never finish."""

GONE_S = 30.0
"""How long a node that Ray reports as dead counts as gone; after this the head decides. Ray also
reports a node as dead if its link is down for seconds and it lives on under the same id."""


@dataclass(frozen=True)
class Node:
    """A host, with the node id and resources by which Ray reaches it."""

    host: Host
    node_id: str
    resources: frozenset[str]


class Nodes:
    """Queries the nodes of a cluster at intervals, and remembers which are gone.

    Args:
        head: of the cluster.

    Attributes:
        store_bytes: size of the object store on the driver's own node.

    Raises:
        ClusterError: the head does not answer, or no node has the timing resource.
    """

    def __init__(self, head: Head) -> None:
        self._head = head
        self._nodes: dict[str, Node] = {}
        self._alive: frozenset[str] = frozenset()
        self._gone_s: dict[str, float] = {}  # when Ray reported a task's node as dead
        self._known_s = time.monotonic()  # when the head last knew this driver's node
        self.store_bytes: float = EMBEDDED_STORE_BYTES
        self._look()
        if not self._nodes:
            raise ClusterError(
                f"no node of the cluster has the resource {TIMING!r}, which reserves a node for a"
                " timed task; start each node with `gfjobs node start`"
            )

    def node(self, host: str) -> Node:
        """Return the node of a host."""
        return self._nodes[host]

    def hosts(self) -> Sequence[Host]:
        """Return the hosts that are available; updated every two seconds.

        Raises:
            ClusterError: the head has been gone for too long, or was restarted.
        """
        if time.monotonic() - self._looked_s > LOOK_S:
            try:
                self._look()
            except ClusterError as err:  # the last state holds until the head answers again
                if time.monotonic() - self._known_s > HEAD_S:
                    raise ClusterError(
                        f"{err}. Committed results are kept: when the cluster is back, continue"
                        " with `gfjobs resume`"
                    ) from err
        return [node.host for node in self._nodes.values()]

    def is_alive(self, node_id: str) -> bool:
        """Return whether a node was alive at the last query."""
        return node_id in self._alive

    def died(self, node_id: str) -> None:
        """Record that Ray reports a node as dead."""
        self._gone_s[node_id] = time.monotonic()

    def look_soon(self) -> None:
        """Make the next `hosts` query again: something failed, perhaps a node has gone."""
        self._looked_s = 0.0

    def _look(self) -> None:
        """Query the head for its nodes."""
        self._looked_s = time.monotonic()
        here = ray.get_runtime_context().get_node_id()
        since_s = time.monotonic() - GONE_S
        nodes = self._head.nodes()
        if here not in {view.node_id for view in nodes}:
            raise ClusterError(
                f"the cluster at {self._head.address} no longer knows this driver's node: its head,"
                " or the Ray of this machine, was restarted"
            )
        self._known_s = time.monotonic()
        gone = {node_id for node_id, at_s in self._gone_s.items() if at_s > since_s}
        views = [view for view in nodes if view.node_id not in gone]
        self._alive = frozenset(view.node_id for view in views)
        timing = [view for view in views if view.resources.get(TIMING)]
        self._nodes = {node.host.name: node for node in (_node(view, here) for view in timing)}
        mine = [view.resources for view in views if view.node_id == here]
        self.store_bytes = mine[0].get(STORE, self.store_bytes) if mine else self.store_bytes


def _node(view: NodeView, here: str) -> Node:
    """Return a node with its host; an unregistered one has the devices that Ray detects."""
    gpus = int(view.resources.get("GPU", 0))
    devices = view.devices or {CPU: 1} | ({CUDA: gpus} if gpus else {})
    host = Host(
        name=view.name,
        capacity=max(int(view.resources.get("CPU", 1)), 1) * TASKS_PER_CPU,
        devices=devices,
        has_gpu=gpus > 0,
        is_here=view.node_id == here,
    )
    return Node(host, view.node_id, frozenset(view.resources))


def bind_to_node(options: dict[str, Any], task: Task, slot: Slot, node: Node) -> dict[str, Any]:
    """Return Ray options that bind a task to its node only, and reserve its device there."""
    resources = dict(options["resources"])
    resource = DEVICE_PREFIX + slot.device
    if resource in node.resources:
        is_whole = task.is_timed or node.host.has_gpu
        resources[resource] = 1 if is_whole else TIMING_SHARE
    return options | {
        "resources": resources,
        "num_gpus": int(node.host.has_gpu and slot.device != CPU),
        "scheduling_strategy": NodeAffinitySchedulingStrategy(node.node_id, soft=False),
    }
