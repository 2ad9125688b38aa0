"""The doctor's checks of a cluster: its head, each of its nodes, and its file for `ray up`."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from platform import python_version

import psutil

from jobs.cluster.address import check_address
from jobs.cluster.cluster_state import TIMING, ClusterView, NodeView
from jobs.cluster.doctor import FAIL, OK, WARN, Check
from jobs.cluster.identity import Identity
from jobs.cluster.launch import find_installed
from jobs.cluster.ports import PORTS
from jobs.cluster.ray_up_file import read_launcher_file
from jobs.cluster.versions import Versions, find_clashes
from jobs.common.errors import BadInputError, JobsError
from jobs.common.version import gfjobs_version
from jobs.common.yaml_document import Document

TIMEOUT_S = 3.0

Asking = Callable[[str, Sequence[NodeView]], Mapping[str, Sequence[Check]]]
"""Makes nodes of the cluster at an address check their hardware; returns checks by node id."""


def check_cluster(
    address: str, identity: Identity, view: Callable[[str], ClusterView], ask: Asking
) -> Iterator[Check]:
    """Check the head, this machine's versions against it, and all of its nodes.

    Args:
        address: of the head.
        identity: of this machine.
        view: queries the head; raises JobsError.
        ask: makes nodes check their own hardware; raises JobsError.
    """
    try:
        check_address(address)
        cluster = view(address)
    except JobsError as err:
        yield Check("head", FAIL, str(err), "start it, or correct the address or the token")
        return
    yield Check("head", OK, f"answers at {cluster.address}, with the same token")
    here = Versions(python_version(), find_installed("ray"), gfjobs_version())
    yield from _versions("this machine", here, cluster, is_jetson=identity.is_jetson)
    said = _asked(cluster, ask)
    if isinstance(said, str):
        found = f"their devices, disks, memory, clocks and power were not checked: {said}"
        yield Check("nodes", WARN, found, "run this on one of them, or gfjobs doctor on each")
    for node in cluster.nodes:
        yield from _node(node, cluster)
        if TIMING in node.resources:
            yield from _hardware(node, said)


def check_launcher_file(path: Path) -> Iterator[Check]:
    """Check a file for `ray up`; reports every problem in it."""
    try:
        read = read_launcher_file(Document.read(path).text, path)
    except BadInputError as err:
        for problem in err.problems:
            where = f"{problem.file}:{problem.line}" if problem.line else problem.file
            found = f"{problem.key}: {problem.found}" if problem.key else problem.found
            yield Check(where, FAIL, found, f"allowed: {problem.allowed}")
        return
    nodes = ", ".join(read.workers)
    yield Check(str(path), OK, f"head {read.head}; {nodes}; each starts with gfjobs and the token")


def _versions(
    who: str, versions: Versions, cluster: ClusterView, *, is_jetson: bool
) -> Iterator[Check]:
    head = Versions(cluster.python, cluster.ray, cluster.gfjobs)
    found = find_clashes(versions, head, is_jetson=is_jetson)
    for clash in found:
        yield Check(who, FAIL, clash.text, clash.remedy)
    if not found:
        yield Check(who, OK, "has the head's versions of Python, Ray and gfjobs")


def _node(node: NodeView, cluster: ClusterView) -> Iterator[Check]:
    who = f"node {node.name}"
    if TIMING not in node.resources:
        remedy = "stop it, and start it with gfjobs node start"
        yield Check(who, WARN, "was not started by gfjobs: it gets no work", remedy)
        return
    facts = node.facts
    versions = Versions(facts.python, facts.ray, facts.gfjobs)
    is_jetson = facts.l4t is not None
    yield from _versions(who, versions, cluster, is_jetson=is_jetson)
    if facts.torch is None:
        yield Check(who, FAIL, "has no torch", "install it there (docs/nodes.md)")
    closed = [
        f"{what} ({port})" for what, port in node.ports.items() if not _answers(node.address, port)
    ]
    if closed:
        yield Check(
            who,
            FAIL,
            f"{' and '.join(closed)} at {node.address} cannot be reached from here",
            f"open the head's port and {PORTS.start} to {PORTS.stop - 1} (TCP) between the nodes",
        )
    else:
        yield Check(who, OK, f"its ports at {node.address} can be reached")


def _asked(cluster: ClusterView, ask: Asking) -> Mapping[str, Sequence[Check]] | str:
    """Return the nodes' checks of their own hardware, by node id; or why they were not asked."""
    ours = {address.address for card in psutil.net_if_addrs().values() for address in card}
    if not ours & {node.address for node in cluster.nodes}:
        return "this machine is not a node of the cluster"
    able = [node for node in cluster.nodes if TIMING in node.resources and node.facts.torch]
    try:
        return ask(cluster.address, able)
    except JobsError as err:
        return str(err)


def _hardware(node: NodeView, said: Mapping[str, Sequence[Check]] | str) -> Iterator[Check]:
    who = f"node {node.name}"
    if not isinstance(said, str):
        for check in said.get(node.node_id, ()):
            yield replace(check, what=f"{who}, {check.what}")
        if node.node_id in said:
            return
        found = "did not answer about its device, disk, memory, clocks and power"
        yield Check(who, WARN, found, "it may be timing: retry later, or run gfjobs doctor on it")
    if node.facts.power is None:  # known from its label
        yield Check(
            who, WARN, "reads no power: energy will be NULL", "gfjobs doctor on it shows why"
        )


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), TIMEOUT_S).close()
    except OSError:
        return False
    return True
