"""What a cluster's head says of itself and of its nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jobs.cluster.labels import Facts
from jobs.common.errors import JobsError

DEVICE_PREFIX = "device:"
"""Of the resource by which a node says which devices it has."""

TIMING = "timing"
"""Resource of which each host has 1: a timed task takes it whole, any other a share."""


class ClusterError(JobsError):
    """A cluster that cannot be asked or joined; the message says what to do."""


@dataclass(frozen=True)
class NodeView:
    """One node as its head sees it now.

    Attributes:
        node_id: Ray's, new whenever the node joins again.
        host: its host name.
        address: its IP address.
        is_head: it is the head.
        started_ms: since the epoch.
        facts: what it says of itself.
        resources: what it has.
        available: what of that nobody uses now.
        ports: that others must reach, by what they are for.
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
        """As registered; else its host name."""
        return self.facts.node or self.host

    @property
    def devices(self) -> dict[str, int]:
        """How many it has registered of each device."""
        return {
            name.removeprefix(DEVICE_PREFIX): int(count)
            for name, count in sorted(self.resources.items())
            if name.startswith(DEVICE_PREFIX)
        }


@dataclass(frozen=True)
class ClusterView:
    """A cluster now.

    Attributes:
        address: of its head, HOST:PORT.
        ray, python: versions of the head.
        nodes: those that are alive, the head first.
    """

    address: str
    ray: str
    python: str
    nodes: tuple[NodeView, ...]

    @property
    def gfjobs(self) -> str | None:
        """Version of the head; None where `gfjobs node start` did not start it."""
        return next((node.facts.gfjobs for node in self.nodes if node.is_head), None)
