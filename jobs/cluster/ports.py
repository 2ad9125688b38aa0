"""The ports of this machine's node: where they lie, and at which addresses they answer.

Some of Ray's services answer without the token, and can be ended by anyone who reaches them
(docs/security.md). Ray listens on all addresses of a machine unless its own is loopback.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

import psutil

from jobs.common.errors import JobsError

PORTS = range(11_000, 20_000)
"""Where a node's ports lie: one rule of a firewall covers them. Apart from them a head has its own,
and 10001 if Ray's client server is installed."""

NODE_PORTS = 500
"""Ports of one node: two nodes of one machine, of two users, must not share any."""

_SERVICES = (
    "node-manager-port",
    "object-manager-port",
    "metrics-export-port",
    "runtime-env-agent-port",
    "dashboard-agent-grpc-port",
    "dashboard-agent-listen-port",
)
"""Ray's options for the first ports of a node; its workers have the others."""

_TIMEOUT_S = 1.0


def port_options() -> list[str]:
    """Return options of `ray start` for the ports of a node, the first block that has room.

    Raises:
        JobsError: programs listen in every block.
    """
    for first in range(PORTS.start, PORTS.stop, NODE_PORTS):
        services = {name: first + number for number, name in enumerate(_SERVICES)}
        if all(map(_is_free, services.values())):
            services["min-worker-port"] = first + len(_SERVICES)
            services["max-worker-port"] = first + NODE_PORTS - 1
            return [f"--{name}={port}" for name, port in services.items()]
    raise JobsError(
        f"programs listen in every block of {NODE_PORTS} ports from {PORTS.start} to"
        f" {PORTS.stop - 1}, each begun by the {len(_SERVICES)} ports that Ray needs: stop some"
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # ended connections may linger
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


@dataclass(frozen=True)
class Exposure:
    """Where the ports of a node can be reached.

    Attributes:
        addresses: of this machine that answer, loopback aside; sorted.
        port: the one that was tried; None if all ports are on loopback.
    """

    addresses: tuple[str, ...]
    port: int | None


def find_exposure(
    supervisor: psutil.Process, addresses: Callable[[], list[str]] | None = None
) -> Exposure:
    """Return where the node below a supervisor can be reached on this machine.

    Args:
        supervisor: its process.
        addresses: returns the addresses of this machine; tests give others.
    """
    ports = sorted(listening(supervisor))
    if not ports:
        return Exposure((), None)
    tried = (addresses or own_addresses)()
    return Exposure(tuple(sorted(a for a in tried if _answers(a, ports[0]))), ports[0])


def listening(process: psutil.Process) -> Iterator[int]:
    """Yield the ports beyond loopback on which a process or one below it listens."""
    for each in [process, *process.children(recursive=True)]:
        try:
            connections = each.net_connections("tcp")
        except psutil.Error:  # it has ended, or is not ours to look at
            continue
        for connection in connections:
            address = connection.laddr
            if connection.status == psutil.CONN_LISTEN and not _is_loopback(address.ip):
                yield address.port


def own_addresses() -> list[str]:
    """Return the IPv4 and IPv6 addresses of this machine, loopback aside."""
    found = [
        address.address
        for card in psutil.net_if_addrs().values()
        for address in card
        if address.family in (socket.AF_INET, socket.AF_INET6)
    ]
    return [address for address in found if not _is_loopback(address)]


def _is_loopback(address: str) -> bool:
    found = ip_address(address.partition("%")[0])
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


def _answers(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), _TIMEOUT_S).close()
    except OSError:
        return False
    return True
