"""Drivers, fsck, compact, rm and readers that want the same runs at once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerProcess

from faults import contenders
from faults.bench import PATIENCE_S, Bench, environment, forks
from faults.contenders import CONTENDERS, IMAGES, Promised, Ring
from faults.scenario import Scenario
from support import object_store

import storage

ROUND_S = 5.0
"""How long one time of this fault lasts; longer where by then nothing was committed."""

ENDING_S = 60.0


def on_a_disk(bench: Bench, times: int) -> None:
    """A local folder."""
    _fight(bench, times, str(bench.folder / "root"), {})


def on_an_object_store(bench: Bench, times: int) -> None:
    """A bucket."""
    with object_store.served() as variables, environment(**variables):
        from storage.backends.s3.bucket import bucket_named

        bucket_named.cache_clear()
        bucket_named("contended")._client.create_bucket(Bucket="contended")
        _fight(bench, times, "s3://contended/root", variables)


def _fight(bench: Bench, times: int, root: str, variables: dict[str, str]) -> None:
    """Let them all at it, start anew who was killed, and see what is left."""
    ring = Ring(root, bench.folder / "ring")
    ring.folder.mkdir()
    storage.RunStore.create(root, storage.RunRow("quiet", name="quiet"), [], {}).close()

    def start(name: str) -> ForkServerProcess:
        arguments = (name, ring, bench.random.randrange(10**9), variables)
        process: ForkServerProcess = forks().Process(target=contenders.fight, args=arguments)
        process.start()
        return process

    at_it = {name: start(name) for name in CONTENDERS}
    try:
        ends_s = time.monotonic() + times * ROUND_S
        while (now_s := time.monotonic()) < ends_s or not _has_committed(ring):
            assert now_s < ends_s + PATIENCE_S, "nothing was committed"
            time.sleep(0.05)
            for name, process in at_it.items():
                if not process.is_alive():
                    at_it[name] = start(name)
    finally:
        (ring.folder / "over").touch()
        for process in at_it.values():
            process.join(ENDING_S)
            process.kill()
    bench.tally.times += times
    bench.tally.remarks += ring.lines("complaints")
    _settle(bench, ring)


def _has_committed(ring: Ring) -> bool:
    return any(line.startswith("committed") for line in ring.lines("journal"))


def _settle(bench: Bench, ring: Ring) -> None:
    """Repair once more, and hold what is there against what the journal says."""
    while any(storage.is_locked(ring.root, run.run_id) for run in storage.list_runs(ring.root)):
        time.sleep(0.1)
    storage.fsck(ring.root, is_repair=True)
    storage.compact(ring.root)
    bench.tally.remarks += [f"left: {problem}" for problem in storage.fsck(ring.root)]
    promised = Promised.read(ring)
    shards = dict(_shards(ring.root))
    for making, numbers in promised.shards.items():
        bench.tally.expected += IMAGES * len(numbers)
        if making in promised.removed:  # readers have watched them until they went
            continue
        found = shards.get(making, [])
        bench.tally.lost += sum(IMAGES - min(IMAGES, found.count(number)) for number in numbers)
        bench.tally.doubled += len(found) - sum(IMAGES for _ in set(found))
    for making in promised.removed.intersection(shards):
        bench.tally.remarks.append(f"{making} was removed and is there")


def _shards(root: str) -> Iterator[tuple[str, list[int]]]:
    """The shard of each row, by making."""
    with contextlib.closing(storage.connect(root)) as connection:
        found = connection.sql(
            f"SELECT r.name, list(x.image_id // {IMAGES}) FROM runs AS r "  # noqa: S608 (a number)
            "JOIN records AS x USING (run_id) GROUP BY ALL"
        ).fetchall()
    for making, shards in found:
        yield making, [int(shard) for shard in shards]


SCENARIOS = (
    Scenario("contended", "all want the same runs, disk", on_a_disk, times=60, quick=1),
    Scenario("contended-s3", "all want the same runs, S3", on_an_object_store, times=60, quick=1),
)
