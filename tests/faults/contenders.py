"""Processes that want the same runs: each does one thing to a results root, again and again.

Two drivers make runs, take them up, commit, merge, and are killed in between; others remove runs,
check and repair them, compact the root, and read it. Each notes in a journal what it was told
is done, so that a reader, and the end, can be held against what must be there.
"""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import time
import traceback
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

import storage

RUNS = tuple(f"r{number}" for number in range(4))
SHARDS, IMAGES = 8, 3

EXPECTED = ("no manifest names it", "another manifest supersedes it")
"""What a check may find in a root that was only ever written by us: what the killed left."""


@dataclasses.dataclass(frozen=True)
class Ring:
    """Where they meet: the root, and a folder of files that each can append to."""

    root: str
    folder: Path

    @property
    def is_over(self) -> bool:
        """Whether all shall end."""
        return (self.folder / "over").exists()

    def note(self, *words: object) -> None:
        """Add a line to the journal, which survives the process that dies next."""
        self._append("journal", " ".join(map(str, words)))

    def complain(self, who: str, what: str) -> None:
        """Say that something was seen that must not be."""
        self._append("complaints", f"{who}: {' '.join(what.split())}")

    def _append(self, name: str, line: str) -> None:
        handle = os.open(self.folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(handle, f"{line}\n".encode())
        os.close(handle)

    def lines(self, name: str) -> list[str]:
        """What was noted so far."""
        file = self.folder / name
        return file.read_text().splitlines() if file.exists() else []


@dataclasses.dataclass
class Promised:
    """What the journal says: shards by making of a run, and the makings that were removed."""

    shards: dict[str, set[int]]
    removed: set[str]

    @classmethod
    def read(cls, ring: Ring) -> Promised:
        """At this moment."""
        promised = cls(defaultdict(set), set())
        for line in ring.lines("journal"):
            word, making, *rest = line.split()
            if word == "committed":
                promised.shards[making].add(int(rest[0]))
            elif word == "removing":
                promised.removed.add(making)
            elif word == "kept":
                promised.removed.discard(making)
        return promised


def fight(name: str, ring: Ring, seed: int, environment: dict[str, str]) -> None:
    """Be one of them until it is over; what is no refusal is complained of."""
    os.environ.update(environment)
    random_ = random.Random(seed)  # noqa: S311
    while not ring.is_over:
        try:
            for _ in CONTENDERS[name](ring, random_):
                if ring.is_over:
                    break
        except (storage.RunLockedError, storage.RunNotFoundError, storage.RunExistsError):
            time.sleep(0.01)
        except Exception:  # noqa: BLE001 - all of it is what is looked for
            ring.complain(name, traceback.format_exc())


def _drive(ring: Ring, random_: random.Random) -> Iterator[None]:
    """Make a run or take it up, commit what is missing, end it; be killed now and then."""
    run_id = random_.choice(RUNS)
    cell = storage.CellRow(run_id, "c", kind="latency", images=SHARDS * IMAGES, rounds=1)
    try:
        store = storage.RunStore.open(ring.root, run_id)
    except storage.RunNotFoundError:
        now = datetime.now()  # noqa: DTZ005 (naive throughout)
        run = storage.RunRow(run_id, name=uuid.uuid4().hex, status="running", submitted_at=now)
        store = storage.RunStore.create(ring.root, run, [cell], {})
    with store:
        done = {entry.shard for entry in store.entries()}
        missing = sorted(set(range(SHARDS)) - done)
        random_.shuffle(missing)
        if missing:
            store.save_run(dataclasses.replace(store.run, status="running"))
        while missing:
            group = [missing.pop() for _ in range(min(random_.randint(1, 3), len(missing)))]
            store.commit_group(
                [
                    (storage.CommitEntry("c", 0, shard, rows=IMAGES), rows(run_id, shard))
                    for shard in group
                ]
            )
            for shard in group:
                ring.note("committed", store.run.name, shard)
            if random_.random() < 1 / (2 * SHARDS):
                os.kill(os.getpid(), signal.SIGKILL)
            yield
        whole = dataclasses.replace(cell, rows=SHARDS * IMAGES, status="done", is_valid=True)
        store.save_cells([whole])
        store.save_run(dataclasses.replace(store.run, status="done"))
        if random_.random() < 0.7:
            store.merge()
    yield


def rows(run_id: str, shard: int) -> dict[str, Any]:
    """The rows of a shard."""
    images = np.arange(IMAGES) + shard * IMAGES
    of_cell: dict[str, object] = {"run_id": run_id, "cell_id": "c", "round": 0}
    columns = {"image_id": images, "is_correct": True, "forward_ms": 1.0, "exit_block": 0}
    return {"records": storage.build_table("records", {**of_cell, **columns})}


def _remove(ring: Ring, random_: random.Random) -> Iterator[None]:
    """Remove a run; there is only one that does."""
    time.sleep(3 * random_.random())
    run_id = random_.choice(RUNS)
    making = storage.find_run(ring.root, run_id).name
    ring.note("removing", making)
    try:
        storage.remove_run(ring.root, run_id)
    except storage.RunLockedError:
        ring.note("kept", making)
    yield


def _check(ring: Ring, random_: random.Random) -> Iterator[None]:
    """Check, and repair mostly."""
    for problem in storage.fsck(ring.root, is_repair=random_.random() < 0.8):
        if not any(each in problem.what for each in EXPECTED):
            ring.complain("fsck", str(problem))
    yield


def _compact(ring: Ring, random_: random.Random) -> Iterator[None]:
    time.sleep(random_.random() / 4)
    storage.compact(ring.root)
    yield


COUNTED = """
SELECT r.run_id, r.name, count(*) AS rows, count(DISTINCT (x.cell_id, x.round, x.image_id)) AS keys
FROM runs AS r JOIN records AS x USING (run_id) GROUP BY ALL
"""


def _read(ring: Ring, random_: random.Random) -> Iterator[None]:
    """See each row once, and all that was committed before."""
    before = Promised.read(ring)
    if random_.random() < 0.3:
        _ = [run.name for run in storage.list_runs(ring.root)]
    found = {each["name"]: each for each in storage.query(ring.root, COUNTED).to_pylist()}
    after = Promised.read(ring)
    for making, each in found.items():
        if each["rows"] != each["keys"]:
            ring.complain("reader", f"doubled: {each}")
        # Also of one that was removed meanwhile: it vanishes in one step.
        if each["rows"] < IMAGES * len(before.shards.get(making, ())):
            ring.complain("reader", f"of {len(before.shards[making])} shards: {each}")
    for making in before.shards.keys() - after.removed - found.keys():
        ring.complain("reader", f"{making} is not there, with {len(before.shards[making])} shards")
    yield


CONTENDERS: dict[str, Callable[[Ring, random.Random], Iterator[None]]] = {
    "driver": _drive,
    "second driver": _drive,
    "rm": _remove,
    "fsck": _check,
    "compact": _compact,
    "reader": _read,
}
