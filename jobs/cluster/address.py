"""The address of a Ray cluster, checked for an answer before anything runs."""

from __future__ import annotations

import os
import socket

from jobs.common.errors import UsageError
from jobs.common.text import parse_whole_number

TIMEOUT_S = 5.0
MAX_PORT = 65535
_SHOWN = 80
LOOPBACK = "127.0.0.1"
"""The address that only this machine reaches; Ray knows no other of that kind."""

DISCOVERED = ("auto", "local")
"""Addresses that Ray resolves itself."""

CLIENT_SCHEME = "ray://"
"""Prefix of the address of a Ray Client server, which supports trainings but no runs."""

_OPENING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""First bytes that an HTTP/2 client, and so a gRPC client, sends: RFC 9113, section 3.4."""

_FRAME_HEAD_BYTES = 9
_TYPE, _SETTINGS = 3, 4
"""Index of the type in a frame's header, and the type of the first frame from a server."""

_RIGHT_ADDRESS = (
    "Give the address that `gfjobs node start --head` showed on the head; the port is 6379 unless"
    " --port has set another"
)

_TLS = "RAY_USE_TLS"


def check_address(address: str, given_as: str = "--address") -> None:
    """Check that a server like Ray's answers at HOST:PORT; Ray itself would try for a minute.

    Args:
        address: HOST:PORT, or one of DISCOVERED.
        given_as: the option or the variable that it comes from.

    Raises:
        UsageError: the address is not HOST:PORT, nothing answers, or the server is not Ray.
    """
    if address in DISCOVERED:
        return
    host, port = split_address(address, given_as)
    try:
        with socket.create_connection((host, port), TIMEOUT_S) as connection:
            if os.environ.get(_TLS, "0").lower() in ("1", "true"):
                return  # a TLS server expects another opening
            connection.settimeout(TIMEOUT_S)
            first = _first_words(connection)
    except OSError as err:
        raise UsageError(
            f"no Ray cluster answers at {address!r}: {err}. Check the address and the network with"
            f" `gfjobs doctor --address {address}`, or omit --address to run on this machine"
        ) from err
    if len(first) < _FRAME_HEAD_BYTES or first[_TYPE] != _SETTINGS:
        raise UsageError(f"{_stranger(address, first)}. {_RIGHT_ADDRESS}")


def _stranger(address: str, first: bytes) -> str:
    if first:
        return (
            f"a server other than Ray listens at {address!r}: Ray speaks gRPC, but this answer"
            f" begins with {first[:16].decode('ascii', 'replace')!r}"
        )
    return (
        f"the server at {address!r} did not answer like Ray within {TIMEOUT_S:.0f} s: it is another"
        " program, or a head that hangs"
    )


def _first_words(connection: socket.socket) -> bytes:
    """Return a server's answer to the gRPC opening; empty if it closes or stays silent."""
    said = b""
    try:
        connection.sendall(_OPENING)
        while len(said) < _FRAME_HEAD_BYTES and (more := connection.recv(64)):
            said += more
    except OSError:
        pass  # it closed or timed out: use what it has sent
    return said


def split_address(address: str, given_as: str = "--address") -> tuple[str, int]:
    """Return host and port of an address.

    Raises:
        UsageError: it is not HOST:PORT.
    """
    host, colon, port = address.removeprefix(CLIENT_SCHEME).rpartition(":")
    number = parse_whole_number(port, MAX_PORT)
    if not colon or not host or not number:
        shown = address if len(address) <= _SHOWN else f"{address[:_SHOWN]}..."
        raise UsageError(
            f"{given_as} {shown!r} is not HOST:PORT, such as 10.0.0.1:6379, with a port from 1 to"
            f" {MAX_PORT}"
        )
    return host.strip("[]"), number
