"""Hosts on one machine, and how they become a cluster: see `tests/support/hosts.py`."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator

import pytest
from support.hosts import Cluster, Network, why_not


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    """How hosts become a cluster."""
    return Cluster()


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """A switch without hosts yet."""
    if reason := why_not():
        pytest.skip(reason)
    made = Network()
    with contextlib.closing(made):
        yield made


@pytest.fixture(scope="module")
def token() -> str:
    """The token of a cluster."""
    return secrets.token_hex(32)
