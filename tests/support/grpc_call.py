"""A call of gRPC as a stranger makes it: HTTP/2 without Ray's token."""

from __future__ import annotations

import socket

from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)

TIMEOUT_S = 10.0
EMPTY = b"\0\0\0\0\0"
"""A message without fields, as gRPC frames it."""


def call(address: tuple[str, int], method: str, message: bytes = EMPTY) -> int | None:
    """Call a method without metadata.

    Args:
        address: host and port.
        method: such as `/grpc.health.v1.Health/Check`.
        message: framed; empty: the stream has none.

    Returns: the status of gRPC, 0 for ok; None if the server ended without one.
    """
    http = H2Connection()
    http.initiate_connection()
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", method),
        (":authority", f"{address[0]}:{address[1]}"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
    http.send_headers(1, headers, end_stream=not message)
    if message:
        http.send_data(1, message, end_stream=True)
    status: int | None = None
    with socket.create_connection(address, TIMEOUT_S) as connection:
        connection.sendall(http.data_to_send())
        while said := _received(connection):
            for event in http.receive_data(said):
                if isinstance(event, ResponseReceived | TrailersReceived):
                    found = dict(event.headers).get(b"grpc-status")
                    status = status if found is None else int(found)
                if isinstance(event, StreamEnded | StreamReset | ConnectionTerminated):
                    return status
            connection.sendall(http.data_to_send())
    return status


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""
