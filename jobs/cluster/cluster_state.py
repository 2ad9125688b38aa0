"""State of a cluster's head and nodes, as the head reports it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jobs.cluster.labels import Facts
from jobs.common.errors import JobsError

DEVICE_PREFIX = "device:"
"""Prefix of the Ray resources that list the devices of a node."""

TIMING = "timing"
"""Resource of which each host has 1: a timed task takes all of it, any other task a share."""


class ClusterError(JobsError):
    """A cluster cannot be queried or joined; the message says what to do."""


@dataclass(frozen=True)
class NodeView:
    """One node as its head sees it now.

    Attributes:
        node_id: Ray's ID; new each time that the node joins.
        host: its host name.
        address: its IP address.
        is_head: it is the head.
        started_ms: since the epoch.
        facts: from its labels.
        resources: all its resources.
        available: its resources that are unused now.
        ports: ports that other nodes must reach, by purpose.
        tasks: names of the tasks that it is running.
    """

    node_id: str
    host: str
    address: str
    is_head: bool = False
    started_ms: int = 0
    facts: Facts = field(default_factory=Facts)
    resources: Mapping[str, float] = field(default_factory=dict)
    available: Mapping[str, float] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    tasks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The registered name, else its host name."""
        return self.facts.node or self.host

    @property
    def devices(self) -> dict[str, int]:
        """The number of registered devices by name."""
        return {
            name.removeprefix(DEVICE_PREFIX): int(count)
            for name, count in sorted(self.resources.items())
            if name.startswith(DEVICE_PREFIX)
        }


@dataclass(frozen=True)
class ClusterView:
    """A cluster as its head sees it now.

    Attributes:
        address: of its head, HOST:PORT.
        ray, python: versions of the head.
        nodes: the nodes that are alive, the head first.
    """

    address: str
    ray: str
    python: str
    nodes: tuple[NodeView, ...]

    @property
    def gfjobs(self) -> str | None:
        """Version on the head; None if it was not started by `gfjobs node start`."""
        return next((node.facts.gfjobs for node in self.nodes if node.is_head), None)
