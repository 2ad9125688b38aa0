"""Whether a cluster answers, against a real socket."""

from __future__ import annotations

import socket

import pytest

from jobs.address import check_address
from jobs.errors import UsageError


def test_a_port_that_listens() -> None:
    """With and without Ray's client scheme; what Ray discovers itself is left to it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        check_address(f"127.0.0.1:{port}")
        check_address(f"ray://127.0.0.1:{port}")
    check_address("auto")
    with pytest.raises(UsageError, match=f"no Ray cluster answers at '127.0.0.1:{port}'"):
        check_address(f"127.0.0.1:{port}")


@pytest.mark.parametrize("address", ["", "host", "host:", ":6379", "host:port", "a:1:x"])
def test_texts_that_are_no_address(address: str) -> None:
    """The form is named."""
    with pytest.raises(UsageError, match="is not HOST:PORT"):
        check_address(address)


def test_ports_that_cannot_be() -> None:
    """A number beyond all ports is no crash."""
    with pytest.raises(UsageError, match="no Ray cluster answers"):
        check_address("127.0.0.1:99999")
