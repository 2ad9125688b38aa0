"""The address of a Ray cluster: whether anything answers there, asked before anything runs."""

from __future__ import annotations

import os
import socket

from jobs.common.errors import UsageError
from jobs.common.text import parse_whole_number

TIMEOUT_S = 5.0
MAX_PORT = 65535
_SHOWN = 80
DISCOVERED = ("auto", "local")
"""Addresses that Ray finds out by itself."""

CLIENT_SCHEME = "ray://"
"""Begins the address of a Ray Client server, through which trainings can go, but no runs."""

_OPENING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""What a client of HTTP/2, and so of gRPC, says first: RFC 9113, section 3.4."""

_FRAME_HEAD_BYTES = 9
_TYPE, _SETTINGS = 3, 4
"""Where a frame's head has its type, and that of the frame with which a server must begin."""

_RIGHT_ADDRESS = (
    "Give the address that `gfjobs node start --head` showed on the head; the port is 6379 unless"
    " --port said otherwise"
)

_TLS = "RAY_USE_TLS"


def check_address(address: str) -> None:
    """See whether Ray may listen at HOST:PORT; Ray itself would try for a minute.

    Raises:
        UsageError: the address is not HOST:PORT, nothing answers there, or something else does.
    """
    if address in DISCOVERED:
        return
    host, port = split_address(address)
    try:
        with socket.create_connection((host, port), TIMEOUT_S) as connection:
            if os.environ.get(_TLS, "0").lower() in ("1", "true"):
                return  # a server of TLS waits for another opening
            connection.settimeout(TIMEOUT_S)
            first = _first_words(connection)
    except OSError as err:
        raise UsageError(
            f"no Ray cluster answers at {address!r}: {err}. Check the address and the network with"
            f" `gfjobs doctor --address {address}`, or leave --address away to run on this machine"
        ) from err
    if len(first) < _FRAME_HEAD_BYTES or first[_TYPE] != _SETTINGS:
        raise UsageError(f"{_stranger(address, first)}. {_RIGHT_ADDRESS}")


def _stranger(address: str, first: bytes) -> str:
    if first:
        return (
            f"something else than Ray listens at {address!r}: Ray speaks gRPC, and this begins"
            f" with {first[:16].decode('ascii', 'replace')!r}"
        )
    return (
        f"what listens at {address!r} does not answer as Ray does in {TIMEOUT_S:.0f} s: it is"
        " something else, or a head that hangs"
    )


def _first_words(connection: socket.socket) -> bytes:
    """What a server answers to the opening of gRPC; empty where it ends or says nothing."""
    said = b""
    try:
        connection.sendall(_OPENING)
        while len(said) < _FRAME_HEAD_BYTES and (more := connection.recv(64)):
            said += more
    except OSError:
        pass  # it closed, or is silent: what it said counts
    return said


def split_address(address: str) -> tuple[str, int]:
    """Host and port of an address.

    Raises:
        UsageError: it is not HOST:PORT.
    """
    host, colon, port = address.removeprefix(CLIENT_SCHEME).rpartition(":")
    number = parse_whole_number(port, MAX_PORT)
    if not colon or not host or not number:
        shown = address if len(address) <= _SHOWN else f"{address[:_SHOWN]}..."
        raise UsageError(
            f"--address {shown!r} is not HOST:PORT, such as 10.0.0.1:6379, with a port from 1 to"
            f" {MAX_PORT}"
        )
    return host.strip("[]"), number
