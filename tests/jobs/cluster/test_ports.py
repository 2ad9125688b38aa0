"""Ports of a node: a block of its own, and the addresses at which they answer."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from jobs.cluster import ports
from jobs.cluster.ports import Exposure, find_exposure, listening, port_options
from jobs.common.errors import JobsError

ME = psutil.Process()


def numbers() -> dict[str, int]:
    """The ports of Ray's options, by name."""
    return {name: int(port) for name, port in (o[2:].split("=") for o in port_options())}


@pytest.fixture
def block(monkeypatch: pytest.MonkeyPatch) -> int:
    """The first port of two blocks that nobody uses: those of real nodes are left alone."""
    monkeypatch.setattr(ports, "NODE_PORTS", 20)
    for first in range(21_000, 30_000, 40):
        monkeypatch.setattr(ports, "PORTS", range(first, first + 40))
        if numbers()["node-manager-port"] == first:
            return first
    pytest.skip("no free ports")


def test_a_node_has_a_block_of_ports(block: int) -> None:
    """Each service its own, the workers the others."""
    found = numbers()
    assert len(found) == 8
    assert list(found.values())[:6] == list(range(block, block + 6))
    assert (found["min-worker-port"], found["max-worker-port"]) == (block + 6, block + 19)


def test_a_block_in_use_is_left_to_its_node(block: int) -> None:
    """On whatever address the other one listens, and whichever of the ports."""
    for host in ("127.0.0.1", "0.0.0.0"):  # noqa: S104 - as Ray does
        with socket.create_server((host, block + 3)):
            assert numbers()["node-manager-port"] == block + 20
    everywhere = {"family": socket.AF_INET6, "dualstack_ipv6": True}
    with socket.create_server(("::", block), **everywhere):
        assert numbers()["node-manager-port"] == block + 20
    with (
        socket.create_server(("127.0.0.1", block)),
        socket.create_server(("127.0.0.1", block + 25)),
        pytest.raises(JobsError, match=f"every block of 20 ports from {block} to {block + 39}"),
    ):
        port_options()


@contextlib.contextmanager
def server(host: str) -> Iterator[int]:
    """Something that listens."""
    with socket.create_server((host, 0)) as made:
        yield made.getsockname()[1]


def test_what_listens_on_loopback_is_reached_by_nobody() -> None:
    """So no address is tried."""
    before = set(listening(ME))
    with server("127.0.0.1"):
        assert set(listening(ME)) == before
    with server("0.0.0.0") as port:  # noqa: S104 - as Ray does
        assert set(listening(ME)) - before == {port}


def test_addresses_that_answer_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only those: 192.0.2.1 belongs to nobody."""
    with server("0.0.0.0") as port:  # noqa: S104 - as Ray does
        monkeypatch.setattr(ports, "listening", lambda _process: iter([port]))
        found = find_exposure(ME, lambda: ["127.0.0.3", "192.0.2.1", "127.0.0.2"])
    assert found == Exposure(("127.0.0.2", "127.0.0.3"), port)
    monkeypatch.setattr(ports, "listening", lambda _process: iter(()))
    assert find_exposure(ME, lambda: ["127.0.0.2"]) == Exposure((), None)


def test_loopback_is_none_of_the_own_addresses() -> None:
    """However it is written."""
    assert not [a for a in ports.own_addresses() if a.startswith("127.") or a == "::1"]
    for address in ("127.0.1.1", "::ffff:127.0.0.1", "::1"):
        assert ports._is_loopback(address)
    for address in ("::", "::ffff:0.0.0.0", "fe80::1%eth0", "10.0.0.1"):
        assert not ports._is_loopback(address)


def test_the_example_of_a_firewall_covers_them() -> None:
    """Its set of ports is that of the code."""
    text = (Path(__file__).parents[3] / "examples/gfjobs-node.nft").read_text()
    assert f"{ports.PORTS.start}-{ports.PORTS.stop - 1} }}" in text
