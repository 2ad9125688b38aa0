"""What the Ray executor sends, without Ray: only its `put` is a stand-in."""

from __future__ import annotations

import pytest

from jobs.fanout import object_store
from jobs.fanout.object_store import ObjectStore


def test_weights_and_shards_are_sent_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read and put once while kept: Ray copies one object to a node once. The oldest go first."""
    put: list[bytes] = []

    def put_one(value: bytes) -> int:
        put.append(value)
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
