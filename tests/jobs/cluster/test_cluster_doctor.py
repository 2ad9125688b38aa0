"""The doctor's checks of a cluster, and the tables of nodes, on made clusters."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from platform import python_version

import pytest

from jobs.cluster import cluster_doctor
from jobs.cluster.address import split_address
from jobs.cluster.cluster_doctor import check_cluster
from jobs.cluster.cluster_state import ClusterError, ClusterView, NodeView
from jobs.cluster.doctor import FAIL, OK, Check, checks_table
from jobs.cluster.identity import Identity
from jobs.cluster.labels import Facts
from jobs.cluster.launch import find_installed
from jobs.cluster.nodes_table import nodes_tables
from jobs.common.errors import JobsError
from jobs.common.version import gfjobs_version

HERE = Facts(
    "cpu", "bench", gfjobs_version(), python_version(), find_installed("ray"), "2.9", power="rapl"
)
NANO = Identity("cuda", {"jetson-orin-nano": (0,)}, "NVIDIA Jetson Orin Nano", "36.4.3")
WELL = {"a": [Check("disk", OK, "9.0 GiB free in /tmp"), Check("clocks", OK, "locked")]}


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[NodeView]:
    """A head whose ports answer; what a server of Ray says is in test_address.py."""
    monkeypatch.setattr(cluster_doctor, "check_address", split_address)
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield NodeView(
            node_id="a",
            host="bench",
            address="127.0.0.1",
            is_head=True,
            facts=HERE,
            resources={"CPU": 2, "timing": 1, "device:cpu": 1},
            available={"CPU": 2, "timing": 1},
            ports={"node manager": server.getsockname()[1]},
        )


def diagnosed(
    *nodes: NodeView,
    said: Mapping[str, Sequence[Check]] | JobsError = WELL,
    **changes: str,
) -> list[str]:
    """What is said of a cluster whose nodes say this of their hardware."""
    address = f"127.0.0.1:{nodes[0].ports['node manager']}"
    versions = {"ray": str(find_installed("ray")), "python": python_version()} | changes
    cluster = ClusterView(address, nodes=nodes, **versions)

    def ask(_address: str, asked: Sequence[NodeView]) -> Mapping[str, Sequence[Check]]:
        if isinstance(said, JobsError):
            raise said
        return {node.node_id: said[node.node_id] for node in asked if node.node_id in said}

    return list(checks_table(check_cluster(address, NANO, lambda _: cluster, ask)))


def test_a_cluster_on_which_all_is_well(node: NodeView) -> None:
    """Head, this machine, the node, and what it says of itself."""
    lines = diagnosed(node)
    assert [line[:4] for line in lines] == ["ok  "] * 6
    assert lines[-2:] == [f"ok    node bench, {it.what}: {it.found}" for it in WELL["a"]]


def test_a_cluster_with_problems(node: NodeView) -> None:
    """Versions on either side, closed ports, nodes of others."""
    lines = diagnosed(node, ray="2.99.0")
    assert f"fail  this machine: Ray {find_installed('ray')} here, 2.99.0 on the head" in lines
    assert "      -> change this node: pip install 'ray==2.99.0'" in lines
    lines = diagnosed(node, python="3.12.1")
    assert any("change the head: set it up with Python" in line for line in lines), "it is a Jetson"
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, but does not listen
        shut = replace(node, ports=node.ports | {"object manager": closed.getsockname()[1]})
        assert "cannot be reached from here" in " ".join(" ".join(diagnosed(shut)).split())
    lines = diagnosed(replace(node, facts=replace(HERE, torch=None)))
    assert "fail  node bench: has no torch" in lines
    assert not any("9.0 GiB" in line for line in lines), "it cannot be asked"
    bare = replace(node, is_head=False, host="other", facts=Facts(), resources={"CPU": 4})
    assert "warn  node other: was not started by gfjobs: it gets no work" in diagnosed(node, bare)


def test_nodes_say_how_their_hardware_is(node: NodeView) -> None:
    """What is wrong there with its remedy; who does not answer, and that nobody could be asked."""
    full = {"a": [Check("disk", FAIL, "0.1 GiB free in /tmp", "make room")]}
    lines = diagnosed(node, said=full)
    assert lines[-2:] == ["fail  node bench, disk: 0.1 GiB free in /tmp", "      -> make room"]
    for said, told in (
        ({}, "did not answer about its device, disk, memory, clocks and power"),
        (ClusterError("joining failed"), "clocks and power were not checked: joining failed"),
    ):
        lines = diagnosed(node, said=said)
        assert told in " ".join(" ".join(lines).split())
        assert sorted(line[:4] for line in lines if line[0] != " ") == ["ok  "] * 4 + ["warn"]


def test_only_a_node_of_the_cluster_asks_the_others(
    node: NodeView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray lets nobody else send a task."""
    monkeypatch.setattr("psutil.net_if_addrs", dict)
    silent = replace(node, facts=replace(HERE, power=None))
    lines = " ".join(" ".join(diagnosed(silent)).split())
    assert "clocks and power were not checked: this machine is not a node of the cluster" in lines
    assert "warn node bench: reads no power" in lines, "its label says so"
    assert "9.0 GiB" not in lines


def test_a_head_that_does_not_answer() -> None:
    """One failure, and nothing is asked of nodes."""

    def refuse(_address: str) -> ClusterView:
        raise ClusterError("another token")

    for address in ("127.0.0.1:1", "nonsense"):
        (check,) = check_cluster(address, NANO, refuse, lambda *_: WELL)
        assert check.level == FAIL


def test_the_tables_fit_80_columns(node: NodeView) -> None:
    """With the longest names there are; what a node is doing is said in a word."""
    facts = Facts("jetson-orin-nano", "orin-nano-1", "0.1.0", "3.10.12", "2.60.0", "2.5.0", "Orin")
    board = replace(
        node,
        is_head=False,
        facts=replace(
            facts, memory_mib="7620", accelerator="NVIDIA_Jetson_Orin_Nano", power="ina3221"
        ),
        resources={"CPU": 3, "timing": 1, "device:jetson-orin-nano": 1},
        available={"CPU": 2},
        tasks=("latency dynn 0",),
    )
    text = nodes_tables(ClusterView("10.0.0.1:6379", "2.60.0", "3.10.12", (node, board)))
    assert max(map(len, text.splitlines())) <= 80
    assert [line.split()[-1] for line in text.splitlines()[2:4]] == ["–", "0"]
    assert "timing" in text
    assert "latency dynn 0" in text
    assert "7.4 GiB" in text
    assert "ina3221" in text
