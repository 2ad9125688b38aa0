"""What the Ray executor sends, without Ray: only its `put` is a stand-in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import NodeDiedError

from jobs.cluster.cluster_state import TIMING, NodeView
from jobs.cluster.ray import executor, nodes, object_store
from jobs.cluster.ray.object_store import ObjectStore
from jobs.plan.sources import Sources
from jobs.plan.task import Outcome


def test_weights_and_shards_are_sent_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read and put once while kept: Ray copies one object to a node once. The oldest go first."""
    put: list[bytes] = []

    def put_one(value: memoryview) -> int:
        put.append(bytes(value))
        return len(put)

    monkeypatch.setattr(object_store.ray, "put", put_one)
    kept = ObjectStore(store_bytes=40)  # of which a quarter is kept
    values = {"weights": b"w" * 6, "shard": b"s" * 4, "next": b"n" * 4, "huge": b"h" * 20}

    def send(name: str) -> int:
        reference: int = kept.put(name, lambda: values[name]).reference
        return reference

    for _ in range(3):
        assert (send("weights"), send("shard")) == (1, 2)
    assert put == [values["weights"], values["shard"]]
    send("weights")  # used last: the shard is the older one
    assert send("next") == 3
    assert send("weights") == 1
    assert send("shard") == 4, "it had to go, and is sent again"
    assert send("huge") == 5
    assert send("huge") == 5, "one is kept however large: a round asks for it again"


def test_a_node_that_ray_calls_dead_is_asked_again_after_half_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A link down for seconds makes Ray say so of a node that lives on under the same id."""
    now_s = 0.0
    views = [
        NodeView(f"id of {name}", name, "10.0.0.1", resources={TIMING: 1.0, "CPU": 2.0})
        for name in ("head", "board")
    ]
    head = SimpleNamespace(address="10.0.0.1:6379", nodes=lambda: views)
    here = SimpleNamespace(get_node_id=lambda: "id of head")
    monkeypatch.setattr(nodes, "time", SimpleNamespace(monotonic=lambda: now_s))
    monkeypatch.setattr(executor, "join", lambda _: head)
    monkeypatch.setattr(executor, "make_remote", lambda _: None)
    monkeypatch.setattr(nodes.ray, "get_runtime_context", lambda: here)

    def died(_: object) -> None:
        raise NodeDiedError("its link was down")

    monkeypatch.setattr(executor.ray, "get", died)
    cluster = executor.RayExecutor(Sources({}, {}), "10.0.0.1:6379")

    def names() -> list[str]:
        return sorted(place.name for place in cluster.hosts())

    assert names() == ["board", "head"]
    now_s = 100.0
    lost: Any = SimpleNamespace(node_id="id of board")
    outcome = cluster._outcome(None, lost)
    assert outcome.is_lost
    assert outcome.is_gone
    assert names() == ["head"], "avoided at once, though the head still lists it"
    now_s = 100.0 + nodes.GONE_S - nodes.LOOK_S
    assert names() == ["head"]
    now_s = 100.0 + nodes.GONE_S + nodes.LOOK_S
    assert names() == ["board", "head"], "after that the head decides"


def test_a_lost_task_is_found_while_others_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray says nothing of a task that had ended when its node's link was cut; on a busy cluster
    something else is ready at every look.
    """
    now_s = 100.0
    ready = {"late"}
    monkeypatch.setattr(executor, "time", SimpleNamespace(monotonic=lambda: now_s))
    monkeypatch.setattr(executor, "make_remote", lambda _: None)
    monkeypatch.setattr(executor, "start_here", lambda: None)
    monkeypatch.setattr(executor, "check_embedded", lambda: None)
    monkeypatch.setattr(executor.ray, "cancel", lambda *_, **__: None)
    monkeypatch.setattr(executor.ray, "get", lambda reference: reference)
    monkeypatch.setattr(executor, "open_outcome", lambda name: Outcome({}, None, note=name))

    def wait(names: list[str], **_: object) -> tuple[list[str], list[str]]:
        return [name for name in names if name in ready or name.startswith("busy")][:1], []

    monkeypatch.setattr(executor.ray, "wait", wait)
    ray = executor.RayExecutor(Sources({}, {}))
    nodes: Any = SimpleNamespace(is_alive=lambda node_id: node_id == "there")
    ray._nodes = nodes

    def send(name: str, node_id: str) -> None:
        task: Any = f"task of {name}"
        ray._in_flight[name] = executor._InFlight(task, {}, node_id, b"")

    send("silent", "gone")
    send("late", "gone")
    for number in range(3):
        send(f"busy {number}", "there")
    found = []
    for _ in range(3):
        finished = ray.wait(1.0)
        assert finished is not None
        found.append(finished)
        now_s += executor.LINGER_S * 0.6
        ready.clear()
    # "late" is there at the first look, and counts; the other is lost once it lingered.
    assert [task for task, _ in found] == ["task of late", "task of busy 0", "task of silent"]
    assert [outcome.is_gone for _, outcome in found] == [False, False, True]
    send("in time", "gone")
    ray.wait(1.0)
    now_s += executor.LINGER_S * 1.1
    ready.add("in time")
    last = ray.wait(1.0)
    assert last is not None
    assert not last[1].is_gone, "it has come back all the same"
