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
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not host or not port.isdigit():
        raise UsageError(f"--address {address!r} is not HOST:PORT, such as 10.0.0.1:6379")
    try:
        socket.create_connection((host.strip("[]"), int(port)), TIMEOUT_S).close()
    except (OSError, OverflowError) as err:
        raise UsageError(
            f"no Ray cluster answers at {address!r}: {err}. Check the address with"
            f" `ray status --address {address}`, or leave --address away to run on this machine"
        ) from err
