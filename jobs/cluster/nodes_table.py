"""The tables of `gfjobs nodes`: the registered devices, and what each node is doing."""

from __future__ import annotations

from jobs.cluster.cluster_state import TIMING, ClusterView, NodeView
from jobs.common.tables import text_table

SHOWN_TASKS = 2
_MIB_PER_GIB = 1024


def nodes_tables(cluster: ClusterView) -> str:
    """Return three tables: devices and their tasks, machines, versions."""
    doing = [
        (
            _devices(node),
            node.name,
            node.address + (" (head)" if node.is_head else ""),
            node_state(node),
            _tasks(node),
        )
        for node in cluster.nodes
    ]
    machines = [
        (
            node.name,
            (node.facts.accelerator or "").replace("_", " ") or None,
            _memory(node),
            node.facts.power,
        )
        for node in cluster.nodes
    ]
    versions = [
        (node.name, node.facts.python, node.facts.ray, node.facts.torch, node.facts.gfjobs)
        for node in cluster.nodes
    ]
    return "\n".join(
        (
            text_table(("device", "node", "address", "state", "doing"), doing),
            text_table(("node", "accelerator", "memory", "power"), machines),
            text_table(("node", "python", "ray", "torch", "gfjobs"), versions),
        )
    )


def node_state(node: NodeView) -> str:
    """Return one word for its state; `timing`: a timed task has the host to itself."""
    if TIMING not in node.resources:
        return "unregistered"
    if not node.available.get(TIMING):
        return "timing"
    return "busy" if node.tasks or _is_used(node) else "free"


def _is_used(node: NodeView) -> bool:
    return node.available.get("CPU", 0.0) < node.resources.get("CPU", 0.0)


def _devices(node: NodeView) -> str | None:
    counted = [f"{count} x {slug}" if count > 1 else slug for slug, count in node.devices.items()]
    return ", ".join(counted) or None


def _tasks(node: NodeView) -> str | None:
    more = len(node.tasks) - SHOWN_TASKS
    shown = ", ".join(node.tasks[:SHOWN_TASKS])
    return f"{shown} and {more} more" if more > 0 else shown or None


def _memory(node: NodeView) -> str | None:
    mib = node.facts.memory_mib
    return f"{int(mib) / _MIB_PER_GIB:.1f} GiB" if mib else None
