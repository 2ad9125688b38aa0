"""How an embedded Ray starts, without Ray: its head and its clock are stand-ins."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from jobs.cluster.ray import connection


class _Start:
    """A head that knows the node from a time on; `get_node` may be asked only then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, known_s: float) -> None:
        self.now_s, self.known_s, self.asked_s = 0.0, known_s, list[float]()
        clock = SimpleNamespace(monotonic=lambda: self.now_s, sleep=self._sleep)
        monkeypatch.setattr(connection, "time", clock)
        monkeypatch.setattr(
            connection, "_raylet", SimpleNamespace(GcsClient=lambda **_: self, Config=None)
        )
        monkeypatch.setattr(connection, "_services", SimpleNamespace(get_node=self._get_node))

    def _sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def _get_node(self, *_: str) -> dict[str, int]:
        self.asked_s.append(self.now_s)
        return {"node_manager_port": 1}

    def get_all_node_info(self, **_: float) -> dict[bytes, Any]:
        """Fail before the head answers, then know no node, then this one."""
        if self.now_s < self.known_s / 2:
            raise RuntimeError("the head does not answer yet")
        node = SimpleNamespace(node_id=b"\xab")
        return {b"\xab": node} if self.now_s >= self.known_s else {}


def test_the_nodes_start_is_noticed_within_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray itself looks once a second."""
    start = _Start(monkeypatch, known_s=1.17)
    services: Any = connection._services
    with connection._short_looks():
        assert services.get_node("127.0.0.1:1", "ab") == {"node_manager_port": 1}
    assert start.asked_s == [pytest.approx(1.18, abs=0.02)]
    services.get_node("127.0.0.1:1", "ab")
    assert len(start.asked_s) == 2, "afterwards it is Ray's own"


def test_a_node_that_never_starts_is_left_to_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray then says what it says of such a node."""
    start = _Start(monkeypatch, known_s=1e9)
    services: Any = connection._services
    with connection._short_looks():
        services.get_node("127.0.0.1:1", "ab")
    assert start.asked_s == [pytest.approx(30, abs=0.1)]
