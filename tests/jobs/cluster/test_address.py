"""Whether a cluster answers, against a real socket."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from jobs.cluster import address as module
from jobs.cluster.address import check_address, split_address
from jobs.common.errors import UsageError

SETTINGS = bytes([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 64, 0, 0])
"""As Ray's server begins, shortened."""


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of one that treats each connection so."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_port_that_speaks_grpc() -> None:
    """With and without Ray's client scheme, in pieces too; what Ray discovers is left to it."""

    def settle(connection: socket.socket) -> None:
        assert connection.recv(64).startswith(b"PRI * HTTP/2.0"), "HTTP/2 begins with the client"
        connection.sendall(SETTINGS[:2])
        connection.sendall(SETTINGS[2:])
        connection.recv(64)

    with server(settle) as address:
        check_address(address)
        check_address(f"ray://{address}")
    check_address("auto")
    with pytest.raises(UsageError, match=f"no Ray cluster answers at '{address}'"):
        check_address(address)


def test_a_web_server_is_no_cluster() -> None:
    """Said at once, with what it is and which address would be right."""
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as web:
        BaseHTTPRequestHandler.log_message = lambda *_: None
        thread = threading.Thread(target=web.serve_forever, daemon=True)
        thread.start()
        began_s = time.monotonic()
        with pytest.raises(UsageError) as caught:
            check_address(f"127.0.0.1:{web.server_port}")
        assert time.monotonic() - began_s < module.TIMEOUT_S
        web.shutdown()
        thread.join()
    said = str(caught.value)
    assert f"a server other than Ray listens at '127.0.0.1:{web.server_port}'" in said
    assert "this answer begins with '<!DOCTYPE HTML>" in said
    assert "`gfjobs node start --head` showed on the head" in said


def test_a_port_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that ends the connection at once: no wait without an end."""
    monkeypatch.setattr(module, "TIMEOUT_S", 0.2)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(UsageError, match="did not answer like Ray"),
    ):
        check_address(f"127.0.0.1:{silent.getsockname()[1]}")
    with (
        server(lambda _: None) as address,
        pytest.raises(UsageError, match="did not answer like Ray"),
    ):
        check_address(address)


def test_a_cluster_with_tls_is_only_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its server waits for another opening, which Ray knows."""
    monkeypatch.setenv("RAY_USE_TLS", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        check_address(f"127.0.0.1:{silent.getsockname()[1]}")


@pytest.mark.parametrize("address", ["", "host", "host:", ":6379", "host:port", "a:1:x"])
def test_texts_that_are_no_address(address: str) -> None:
    """The form is named."""
    with pytest.raises(UsageError, match="is not HOST:PORT"):
        check_address(address)


@pytest.mark.parametrize("port", ["", "0", "65536", "²", "-1", "+1", "9" * 5000])
def test_a_port_that_is_none(port: str) -> None:
    """Refused in a line that can be read, however long the number is."""
    with pytest.raises(UsageError, match="a port from 1 to 65535") as caught:
        split_address(f"10.0.0.1:{port}")
    assert len(str(caught.value)) < 250
    assert split_address("ray://[::1]:65535") == ("::1", 65535)
