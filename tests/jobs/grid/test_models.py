"""Checkpoints of a grid: one that has not changed since it was last planned is not read again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import gfnet
from gfnet import checkpoint
from jobs.common.yaml_document import Document
from jobs.grid.models import Model, read_model
from storage.images import digests


def planned(path: Path) -> Model:
    """The checkpoint, as a grid names it."""
    document = Document(Path("grid.yaml"), str(path))
    model = read_model(document.root(), path.parent)
    document.check()
    assert model is not None
    return model


def test_a_checkpoint_is_digested_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then its header alone is read, until it changes, though size and time stay."""
    monkeypatch.setenv("GFJOBS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "MIN_BYTES", 0)
    monkeypatch.setattr(digests, "SETTLED_NS", -(10**9))
    path = tmp_path / "model.safetensors"
    data = bytearray(gfnet.bundled()["digits-dynn"].read_bytes())
    path.write_bytes(data)
    first = planned(path)
    with monkeypatch.context() as patch:
        patch.delattr(checkpoint, "read_bytes")
        assert planned(path) == first
    before = path.stat()
    data[-1] ^= 1
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # the clock of files ticks slowly
        path.write_bytes(data)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    changed = planned(path)
    assert changed.metadata == first.metadata
    assert changed.sha256 != first.sha256
