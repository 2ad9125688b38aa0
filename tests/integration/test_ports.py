"""The ports of a Ray of our own: on loopback alone, and what each answers without the token.

docs/security.md says so port by port. What is left to Ray is held too: a Ray that mends it fails
these tests, and the page is to be changed.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import psutil
import pytest
from support.grpc_call import call

from .commands import Processes

OK, UNIMPLEMENTED, UNAUTHENTICATED = 0, 12, 16
RAY = """
from jobs.cluster.ray import connection
connection.find_token = lambda: None
connection.start_here()
import ray
assert ray.get(ray.remote(lambda: 1).remote()) == 1
print("ready", flush=True)
input()
"""
OPEN = (
    "/grpc.health.v1.Health/Check",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "/grpc.channelz.v1.Channelz/GetServers",
)
"""What every server of gRPC in Ray answers to anyone."""

CLOSED = {
    "head": "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "node manager": "/ray.rpc.NodeManagerService/GetNodeStats",
    "object manager": "/ray.rpc.ObjectManagerService/Pull",
    "worker": "/ray.rpc.CoreWorkerService/Exit",
}
"""A method of each server; it has no others' methods."""


class Listener(NamedTuple):
    """A port on which a process listens."""

    program: str
    host: str
    port: int


class Started(NamedTuple):
    """A Ray, and what listened when it was ready."""

    process: psutil.Process
    listeners: list[Listener]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """The Ray of a plain `gfjobs submit`; afterwards none of its processes is left."""
    log = tmp_path_factory.mktemp("ray") / "stderr"
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [sys.executable, "-c", RAY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as ray,
    ):
        assert ray.stdout is not None
        assert ray.stdout.readline() == "ready\n", log.read_text()
        process = psutil.Process(ray.pid)
        below = process.children(recursive=True)
        try:
            yield Started(process, list(_listeners([process, *below])))
        finally:
            for each in [process, *below]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()


def _listeners(processes: list[psutil.Process]) -> Iterator[Listener]:
    for process in processes:
        for connection in process.net_connections("inet"):
            if connection.status in (psutil.CONN_LISTEN, psutil.CONN_NONE):  # NONE is UDP
                yield Listener(process.name(), *connection.laddr)


def test_a_ray_of_our_own_listens_on_loopback_alone(started: Started) -> None:
    """All of its programs, the driver's own process too."""
    assert len(started.listeners) >= 6
    assert {found.host for found in started.listeners} <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert {found.program for found in started.listeners} >= {"gcs_server", "raylet"}


def test_each_port_asks_for_the_token(started: Started, processes: Processes) -> None:
    """But for health, reflection and channelz, which change nothing; and for one call, at the end.

    Ray 2.60 looks at its stream before the token, and that ends the head and the node: why nobody
    else may reach these ports.
    """
    kinds: dict[str, list[int]] = defaultdict(list)
    for found in started.listeners:
        address = ("127.0.0.1", found.port)
        if found.program == "ray::RuntimeEnvAgent":  # the only one that speaks HTTP
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(
                    f"http://127.0.0.1:{found.port}/get_or_create_runtime_env", b"", timeout=30
                )
            assert refused.value.code == 401
            kinds["runtime environment"].append(found.port)
            continue
        assert [call(address, method) for method in OPEN] == [OK] * len(OPEN), found
        statuses = {kind: call(address, method) for kind, method in CLOSED.items()}
        (kind,) = (kind for kind, status in statuses.items() if status == UNAUTHENTICATED)
        assert set(statuses.values()) == {UNAUTHENTICATED, UNIMPLEMENTED}, found
        kinds[kind].append(found.port)
    assert {kind: len(ports) for kind, ports in kinds.items() if kind != "worker"} == {
        "head": 1,
        "node manager": 1,
        "object manager": 1,
        "runtime environment": 1,
    }
    assert len(kinds["worker"]) >= 2  # of the driver and of a task

    for kind in ("head", "node manager"):
        call(("127.0.0.1", kinds[kind][0]), "/ray.rpc.syncer.RaySyncer/StartSync", b"")
    servers = [p for p in started.process.children() if p.name() in {"gcs_server", "raylet"}]
    assert len(servers) == 2
    for server in servers:
        processes.until(
            lambda server=server: server.status() == psutil.STATUS_ZOMBIE, "the end of a server"
        )
