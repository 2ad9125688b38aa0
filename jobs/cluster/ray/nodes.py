"""The nodes of a cluster, as a driver sees them: who is there, and how a task is bound to one."""

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


@dataclass(frozen=True)
class Node:
    """A place, and what Ray must know to reach it."""

    host: Host
    node_id: str
    resources: frozenset[str]


class Nodes:
    """Looks at the nodes of a cluster now and then, and remembers who is gone.

    Args:
        head: of the cluster.

    Attributes:
        store_bytes: size of the object store of the driver's own node.

    Raises:
        ClusterError: the head does not answer, or no node has the timing resource.
    """

    def __init__(self, head: Head) -> None:
        self._head = head
        self._nodes: dict[str, Node] = {}
        self._alive: frozenset[str] = frozenset()
        self._gone_s: dict[str, float] = {}  # when Ray said so of a task's node
        self._known_s = time.monotonic()  # when the head last knew this driver's node
        self.store_bytes: float = EMBEDDED_STORE_BYTES
        self._look()
        if not self._nodes:
            raise ClusterError(
                f"no node of the cluster has the resource {TIMING!r}, which keeps a node to one"
                " task while it is timed; start each with `gfjobs node start`"
            )

    def node(self, host: str) -> Node:
        """The node of a place."""
        return self._nodes[host]

    def hosts(self) -> Sequence[Host]:
        """The nodes that are there; looked up anew every two seconds.

        Raises:
            ClusterError: the head has been gone for long, or is another than at the start.
        """
        if time.monotonic() - self._looked_s > LOOK_S:
            try:
                self._look()
            except ClusterError as err:  # what was seen last holds until it answers again
                if time.monotonic() - self._known_s > HEAD_S:
                    raise ClusterError(
                        f"{err}. What was committed is kept: when the cluster is back, go on with"
                        " `gfjobs resume`"
                    ) from err
        return [node.host for node in self._nodes.values()]

    def is_alive(self, node_id: str) -> bool:
        """Whether a node was there at the last look."""
        return node_id in self._alive

    def died(self, node_id: str) -> None:
        """Ray says so of a node."""
        self._gone_s[node_id] = time.monotonic()

    def look_soon(self) -> None:
        """Look anew when next asked: something went wrong, perhaps a node has gone."""
        self._looked_s = 0.0

    def _look(self) -> None:
        """Ask the head which nodes there are."""
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
        self._nodes = {node.host.name: node for node in (_node(view, here) for view in timing)}
        mine = [view.resources for view in views if view.node_id == here]
        self.store_bytes = mine[0].get(STORE, self.store_bytes) if mine else self.store_bytes


def _node(view: NodeView, here: str) -> Node:
    """A node as a place; one that is not registered has the devices that Ray sees."""
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
    """A task goes to its node and to no other, and takes the device that it is to run on."""
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
