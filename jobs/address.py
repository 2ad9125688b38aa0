"""Where a Ray cluster is said to be: whether anything answers there, asked before anything runs."""

from __future__ import annotations

import socket

from jobs.errors import UsageError

TIMEOUT_S = 5.0
DISCOVERED = ("auto", "local")
"""Addresses that Ray finds out by itself."""


def check_address(address: str) -> None:
    """See whether something listens at HOST:PORT; Ray itself would try for minutes.

    Raises:
        UsageError: the address is not HOST:PORT, or nothing answers there.
    """
    if address in DISCOVERED:
        return
    host, port = split_address(address)
    try:
        socket.create_connection((host, port), TIMEOUT_S).close()
    except (OSError, OverflowError) as err:
        raise UsageError(
            f"no Ray cluster answers at {address!r}: {err}. Check the address and the network with"
            f" `gfjobs doctor --address {address}`, or leave --address away to run on this machine"
        ) from err


def split_address(address: str) -> tuple[str, int]:
    """Host and port of an address.

    Raises:
        UsageError: it is not HOST:PORT.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not host or not port.isdigit():
        raise UsageError(f"--address {address!r} is not HOST:PORT, such as 10.0.0.1:6379")
    return host.strip("[]"), int(port)
