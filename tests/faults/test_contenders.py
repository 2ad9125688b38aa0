"""All who want the same runs take turns in one process; with kills: tests/integration."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faults.bench import Tally
from faults.contenders import CONTENDERS, IMAGES, SHARDS, Ring
from faults.scenarios.upkeep import _settle

import storage

TURNS = 30
REFUSED = (storage.RunLockedError, storage.RunNotFoundError, storage.RunExistsError)


class KilledError(BaseException):
    """In the place of a kill: what holds a lease lets it go as its process ends."""


@pytest.fixture
def bench() -> Any:
    """What is counted."""
    return SimpleNamespace(tally=Tally())


@pytest.fixture
def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ring:
    """A root with a run that nobody wants."""

    def kill(*_: int) -> None:
        raise KilledError

    monkeypatch.setattr(os, "kill", kill)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    root = str(tmp_path / "root")
    storage.RunStore.create(root, storage.RunRow("quiet", name="quiet"), [], {}).close()
    return Ring(root, tmp_path)


def take_turns(ring: Ring, turns: int, seed: int) -> None:
    """Each goes on by a step, or begins anew, as chance has it; drivers are the quickest."""
    random_ = random.Random(seed)  # noqa: S311
    at_it: dict[str, Iterator[None]] = {}
    weights = [8 if name.endswith("driver") else 1 for name in CONTENDERS]
    for name in random_.choices(list(CONTENDERS), weights, k=turns):
        try:
            next(at_it.setdefault(name, CONTENDERS[name](ring, random_)))
        except (StopIteration, KilledError, *REFUSED):  # each has its own
            del at_it[name]
    at_it.clear()  # their stores are closed


def test_nothing_is_lost_and_nothing_doubled(bench: Any, ring: Ring) -> None:
    """Whoever is refused comes again; the journal has what must be there."""
    seed = secrets.randbelow(10**6)
    take_turns(ring, TURNS, seed)
    _settle(bench, ring)
    tally = bench.tally
    assert tally.expected > 0, seed
    assert (tally.lost, tally.doubled, tally.remarks) == (0, 0, []), f"{tally} with seed {seed}"
    assert ring.lines("complaints") == [], seed


def test_what_is_lost_is_told(bench: Any, ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that nobody removed, and that is not there."""
    steady = random.Random(1)  # noqa: S311
    monkeypatch.setattr(steady, "random", lambda: 1.0)  # it is not killed, and does not merge
    for _ in CONTENDERS["driver"](ring, steady):
        pass
    (made,) = (run.run_id for run in storage.list_runs(ring.root) if run.run_id != "quiet")
    shutil.rmtree(Path(ring.root) / "runs" / made)
    _settle(bench, ring)
    assert (bench.tally.expected, bench.tally.lost) == (SHARDS * IMAGES,) * 2
