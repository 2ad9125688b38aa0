"""What is checked before a node starts, on made clusters."""

from __future__ import annotations

import os
import re
import shlex
import socket
from dataclasses import replace
from pathlib import Path
from platform import python_version

import psutil
import pytest

from jobs.cli.nodes import start
from jobs.cluster import node_service, node_state
from jobs.cluster.cluster_state import ClusterError, ClusterView, NodeView
from jobs.cluster.identity import Identity
from jobs.cluster.labels import Facts
from jobs.cluster.launch import Launch, find_installed
from jobs.cluster.node_state import NodeState, read_state
from jobs.common.errors import UsageError
from jobs.common.version import gfjobs_version

CPU = Identity("cpu", {"cpu": (0,)})
LAUNCH = Launch("board", "10.0.0.21", "10.0.0.1:6379", 6379, CPU)
HEAD = NodeView("a", "bench", "10.0.0.1", is_head=True, facts=Facts(gfjobs=gfjobs_version()))
CLUSTER = ClusterView("10.0.0.1:6379", str(find_installed("ray")), python_version(), (HEAD,))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime folder of the test's own."""
    monkeypatch.setattr(node_state.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return tmp_path


def wanted(**changes: str | int | None) -> node_service.Wanted:
    """A node as asked for."""
    fields: dict[str, str | int | None] = dict.fromkeys(("head", "host", "device", "name"))
    return node_service.Wanted(**(fields | {"port": 6379} | changes))


def test_a_node_that_fits_may_join() -> None:
    """Also again, from the same address, before its death was noticed."""
    node_service.check_joining(LAUNCH, CLUSTER)
    before = NodeView("b", "x", "10.0.0.21", facts=Facts(node="board"))
    node_service.check_joining(LAUNCH, replace(CLUSTER, nodes=(HEAD, before)))


def test_a_version_clash_is_caught_at_joining() -> None:
    """All of them at once, with the side to change."""
    with pytest.raises(ClusterError) as caught:
        node_service.check_joining(LAUNCH, replace(CLUSTER, ray="2.1.0", python="3.9.0"))
    said = str(caught.value)
    assert f"Python {python_version()} here, 3.9.0 on the head: change this node" in said
    assert "2.1.0 on the head: change this node: pip install 'ray==2.1.0'" in said


def test_two_machines_may_not_share_a_name() -> None:
    """Equal boards often have equal host names."""
    twin = NodeView("b", "board", "10.0.0.22")
    with pytest.raises(ClusterError, match=r"already has a node .board., at 10\.0\.0\.22.*--name"):
        node_service.check_joining(LAUNCH, replace(CLUSTER, nodes=(HEAD, twin)))


@pytest.mark.parametrize("host", ["10.0.0.1", "127.0.0.1"])
def test_without_a_token_nothing_starts(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal has the command that makes one; other users of a machine reach its loopback."""
    monkeypatch.setattr(node_service, "find_token", lambda: None)
    with pytest.raises(UsageError, match="ray get-auth-token --generate"):
        node_service.prepare(wanted(host=host))


def test_a_node_is_called_as_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its device goes by that name."""
    monkeypatch.setattr(node_service, "find_token", lambda: ("t", "x"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = node_service.prepare(wanted(host="127.0.0.1", port=port, device="jetson-orin-nano"))
    assert launch.identity.devices == {"jetson-orin-nano": (0,)}


def test_an_empty_name_of_a_device_is_refused() -> None:
    """It is given: not the same as not given."""
    with pytest.raises(UsageError, match="--device '' is not a valid device name"):
        node_service.prepare(wanted(host="127.0.0.1", device=""))


def test_a_port_in_use_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Ray starts."""
    monkeypatch.setattr(node_service, "find_token", lambda: ("t", "x"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(UsageError, match=f"already listens at 127.0.0.1:{port}"):
            node_service.prepare(wanted(host="127.0.0.1", port=port))


@pytest.mark.parametrize("port", [11000, 16399, 19999, 8265])
def test_a_port_of_rays_own_is_refused(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """Ray would end with a traceback."""
    monkeypatch.setattr(node_service, "find_token", lambda: ("t", "x"))
    with pytest.raises(UsageError, match=f"--port {port} is one of those that a node"):
        node_service.prepare(wanted(host="127.0.0.1", port=port))


def test_the_unit_of_systemd_starts_what_there_is() -> None:
    """Its command is one that the program takes, and stays in the foreground."""
    text = (Path(__file__).parents[3] / "examples/gfjobs-node.service").read_text()
    (line,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    program, *words = shlex.split(line)
    assert program.endswith("/gfjobs")
    assert words[:2] == ["node", "start"]
    given = start.make_context("start", words[2:]).params
    assert given["block"]
    assert given["address"] == "10.0.0.1:6379"


def test_the_state_of_a_node_is_that_of_its_process(folder: Path) -> None:
    """One that has ended, or whose number another process has now, is no node."""
    assert read_state() is None
    here = NodeState(os.getpid(), psutil.Process().create_time(), "board", "10.0.0.1:6379")
    here.write()
    assert read_state() == here
    with pytest.raises(UsageError, match="node board already runs here"):
        node_service.prepare(wanted())
    replace(here, created_s=here.created_s - 100).write()
    assert read_state() is None
    with pytest.raises(UsageError, match="no node runs here"):
        node_service.stop()
    with pytest.raises(UsageError, match="give --address"):
        node_service.cluster_address(None)
    (folder / f"gfjobs-{os.getuid()}" / "node.json").write_text("{")
    assert read_state() is None


def test_the_own_address_is_on_the_way_to_the_head() -> None:
    """Loopback for a head on this machine."""
    assert node_service.own_address("127.0.0.1:6379") == "127.0.0.1"


@pytest.mark.parametrize("host", ["nonsense.invalid", "203.0.113.9"])
def test_a_host_that_is_not_this_machine_is_refused(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray would try for ever to listen there."""
    monkeypatch.setattr(node_service, "find_token", lambda: ("t", "x"))
    with pytest.raises(UsageError, match=f"--host {host} is not an address of this machine"):
        node_service.prepare(wanted(host=host))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_head_for_this_machine_alone(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name or address, Ray is told to keep to it."""
    monkeypatch.setattr(node_service, "find_token", lambda: ("t", "x"))
    launch = node_service.prepare(wanted(host=host, port=1))
    assert launch.host == "127.0.0.1"
    assert launch.environment({})["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in LAUNCH.environment({})


@pytest.mark.parametrize(
    ("host", "head", "said"),
    [
        ("0.0.0.0", None, r"--host 0\.0\.0\.0 .*no address at which other nodes"),  # noqa: S104
        ("127.0.1.1", None, r"--host 127\.0\.1\.1 .*or 127\.0\.0\.1 for a head that only"),
        ("127.0.0.1", "10.0.0.1:6379", "no other machine reaches, cannot join the head at 10"),
        ("localhost", "127.0.0.1:6379", "no other machine reaches, cannot join the head at 127"),
    ],
)
def test_an_address_that_nobody_reaches_is_refused(host: str, head: str | None, said: str) -> None:
    """Debian gives a host's own name 127.0.1.1; Ray would listen on all addresses instead."""
    with pytest.raises(UsageError, match=said):
        node_service.node_address(host, head)


def test_a_setting_of_power_that_no_node_could_follow_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Now, and not in a note of each run."""
    monkeypatch.setenv("GFJOBS_POWER", "bogus")
    with pytest.raises(UsageError, match="GFJOBS_POWER=bogus is unknown"):
        node_service.prepare(wanted(host="127.0.0.1"))
