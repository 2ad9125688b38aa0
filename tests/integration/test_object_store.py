"""Results on an object store: a real server process that speaks S3, and real drivers."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support import object_store

import storage
from jobs.cli import main
from storage.backends import open_backend
from storage.backends.s3 import backend, lease
from storage.backends.s3 import bucket as buckets

pytestmark = pytest.mark.xdist_group("object store")  # they share a server

REPOSITORY = Path(__file__).parents[2]
PATIENCE_S = 120

RUN = storage.RunRow("run-1", name="run-1", status="running")
CELL = storage.CellRow("run-1", "cell-1", kind="latency")
SHARDS = 4

GRID = """\
name: ladder
models: [digits-gfnet, digits-dynn]
datasets: [{name: digits, limit: 20}]
thresholds: [0.5, {start: 0.0, stop: 1.0, num: 5}]
threads: [1]
latency: {rounds: 2, warmup_images: 2}
"""

# A driver that commits shards as it is told, one a line.
DRIVER = """
import os, signal, sys
sys.path[:0] = [{repository!r}, {tests!r}, {here!r}]
import storage
from storage.runs import claims as writing
from storage.backends.s3 import lease
from test_object_store import CELL, RUN, entry, rows
lease.BEAT_S, lease.STALE_S, lease.PROVEN_S = 0.1, 2.0, 0.5
def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)
store = storage.RunStore.create({root!r}, RUN, [CELL], {{}})
print("ready", flush=True)
for line in sys.stdin:
    word, shard = line.split()
    if word == "die-before-manifest":
        writing.publish_manifest = killed
    try:
        print(store.commit(entry(int(shard)), rows(int(shard))), flush=True)
    except storage.RunLockedError as err:
        print(type(err).__name__, err, flush=True)
"""


def entry(shard: int) -> storage.CommitEntry:
    """Name a shard."""
    return storage.CommitEntry("cell-1", 0, shard, rows=3)


def rows(shard: int) -> dict[str, Any]:
    """Make two tables of one shard, three rows each, out of order."""
    common: dict[str, object] = {"run_id": "run-1", "cell_id": "cell-1", "round": 0}
    images = [3 * shard + 2, 3 * shard, 3 * shard + 1]
    return {
        "records": storage.build_table("records", {**common, "image_id": images}),
        "exit_costs": storage.build_table(
            "exit_costs", {**common, "image_id": images, "exit_block": 1}
        ),
    }


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    """One server for all tests of this file, found by the usual environment."""
    with pytest.MonkeyPatch.context() as patch, object_store.served() as variables:
        for name, value in variables.items():
            patch.setenv(name, value)
        buckets.bucket_named.cache_clear()
        backend._prove_conditions.cache_clear()
        yield


@pytest.fixture
def root(request: pytest.FixtureRequest) -> str:
    """Make a bucket for one test."""
    name = f"b{abs(hash(request.node.nodeid))}"
    buckets.bucket_named(name)._client.create_bucket(Bucket=name)
    return f"s3://{name}/results"


@pytest.fixture
def stale(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every lease seem as old as the next driver wants."""
    monkeypatch.setattr(lease, "STALE_S", -1.0)


def keys(root: str, below: str = "") -> list[str]:
    """List what lies under a root."""
    bucket, _, prefix = root.removeprefix("s3://").partition("/")
    found = buckets.bucket_named(bucket).list(f"{prefix}/{below}", is_deep=True)
    return [each.key.removeprefix(f"{prefix}/") for each in found]


def seen(root: str) -> tuple[list[int], list[int], list[int]]:
    """Read the image_ids of both tables, and the shards of `commits`, as a reader finds them."""
    row = storage.query(
        root,
        "SELECT (SELECT list(image_id ORDER BY image_id) FROM records) AS a,"
        " (SELECT list(image_id ORDER BY image_id) FROM exit_costs) AS b,"
        " (SELECT list(shard ORDER BY shard) FROM commits) AS c",
    ).to_pylist()[0]
    return row["a"] or [], row["b"] or [], row["c"] or []


def whole(*shards: int) -> tuple[list[int], list[int], list[int]]:
    """Say what a reader must find of these shards."""
    images = [3 * shard + image for shard in sorted(shards) for image in range(3)]
    return images, images, sorted(shards)


def made(root: str, shards: int = SHARDS) -> storage.RunStore:
    """Make a run with some shards committed; the store is open."""
    store = storage.RunStore.create(root, RUN, [CELL], {"grid": "g.yaml"})
    for shard in range(shards):
        assert store.commit(entry(shard), rows(shard))
    return store


class Driver:
    """Another process that writes run-1."""

    def __init__(self, root: str) -> None:
        """Start it, and wait until it holds the lease."""
        here = Path(__file__).parent
        folders = {"repository": str(REPOSITORY), "tests": str(here.parent), "here": str(here)}
        code = DRIVER.format(**folders, root=root)
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True
        )
        assert self.process.stdout
        assert self.process.stdout.readline() == "ready\n"

    def tell(self, word: str, shard: int) -> str:
        """Have it commit a shard; empty if it died of that."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{word} {shard}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


@pytest.fixture
def driver(root: str) -> Iterator[Driver]:
    """Start one, and end it."""
    driver = Driver(root)
    with driver.process:
        yield driver
        driver.process.kill()


def test_a_group_is_committed_once(root: str) -> None:
    """By one manifest; the others' names are put before, and a killed group's are given up."""
    with made(root, 0) as store:
        group = [(entry(shard), rows(shard)) for shard in range(3)]
        assert store.commit_group(group) == [True] * 3
        assert len(keys(root, "runs/run-1/data")) == 2
        assert len(keys(root, "runs/run-1/commits")) == 3
        with pytest.MonkeyPatch.context() as patch:

            def cut_off(*_: object) -> None:
                raise TimeoutError("no answer")

            patch.setattr("storage.runs.claims.publish_manifest", cut_off)
            with pytest.raises(storage.StorageError, match="cannot be committed"):
                store.commit_group([(entry(shard), rows(shard)) for shard in (3, 4)])
    assert seen(root) == whole(0, 1, 2)
    with storage.RunStore.open(root, "run-1") as store:
        assert store.commit_group([(entry(4), rows(4)), (entry(3), rows(3))]) == [True] * 2
        store.merge()
    assert seen(root) == whole(*range(5))


def test_a_run_is_made_read_merged_resumed_and_removed(root: str) -> None:
    """As on a disk: rows by shard, each once, one file a table in the end, and nothing after."""
    with made(root, 2) as store:
        assert store.commit(entry(1), rows(1)) is False
        assert seen(root) == whole(0, 1)
        assert storage.list_runs(root)[0].status == "running"
        holder = rf"process {os.getpid()} on .* last heartbeat"
        with pytest.raises(storage.RunLockedError, match=holder):
            storage.RunStore.open(root, "run-1")
        store.save_nodes([storage.NodeRow("run-1", "node-a")])
        digits = storage.open_images("digits")
        store.save_images(digits.sha256, digits.images_table())
    assert storage.list_runs(root)[0].status == "interrupted"
    with storage.RunStore.open(root, "run-1") as store:
        assert (store.submission, store.cells) == ({"grid": "g.yaml"}, (CELL,))
        assert [node.node for node in store.nodes] == ["node-a"]
        assert store.commit(entry(1), rows(1)) is False
        assert store.commit(entry(2), rows(2))
        store.merge()
        store.merge()
        tables = {
            key.rpartition("/")[2].partition("-")[0] for key in keys(root, "runs/run-1/data/")
        }
        assert {"records", "commits", "ladder", "committed"} <= tables  # rows, and their summary
        assert len(keys(root, "runs/run-1/data/")) == len(tables)
        assert len(keys(root, "runs/run-1/commits/")) == 1
        store.save_run(dataclasses.replace(RUN, status="done"))
    assert storage.list_runs(root)[0].status == "done"
    assert seen(root) == whole(0, 1, 2)
    assert storage.query(root, "SELECT count(*) AS n FROM images").to_pylist() == [{"n": 450}]
    with pytest.raises(storage.RunExistsError, match="gfjobs resume run-1"):
        made(root)
    storage.remove_run(root, "run-1")
    assert keys(root, "runs/") == []
    assert storage.list_runs(root) == ()
    made(root, 1).close()
    assert seen(root) == whole(0)


def test_a_dropped_cell_can_be_committed_again(root: str) -> None:
    """Its rows go in one step, and new ones count once."""
    with made(root) as store:
        store.discard({"cell-1"})
        assert seen(root) == ([], [], [])
        for shard in range(SHARDS):
            assert store.commit(entry(shard), rows(shard))
        store.merge()
    assert seen(root) == whole(*range(SHARDS))


def test_reader_at_every_request_of_a_merge_sees_each_row_once(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, between and after what a merge puts and deletes."""
    found: list[bool] = []

    def reading(original: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **options: Any) -> Any:
            found.append(seen(root) == whole(*range(SHARDS)))
            return original(*args, **options)

        return step

    with made(root) as store:
        for name in ("put", "delete"):
            monkeypatch.setattr(buckets.Bucket, name, reading(getattr(buckets.Bucket, name)))
        store.merge()
        monkeypatch.undo()
    assert len(found) >= 6
    assert all(found)
    assert seen(root) == whole(*range(SHARDS))


def test_a_question_outlives_a_merge_that_takes_its_files(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file too large to be fetched when it is opened is gone when it is read."""
    from storage.results import connection

    monkeypatch.setattr(backend, "END_BYTES", 64)
    original, opened = connection._list_and_open, []

    def overtaken(*arguments: Any) -> Any:
        opened.append(original(*arguments))
        if len(opened) == 1:
            store.merge()
        return opened[-1]

    with made(root) as store:
        monkeypatch.setattr(connection, "_list_and_open", overtaken)
        assert seen(root) == whole(*range(SHARDS))
    assert len(opened) == 2


def test_kill_9_between_data_and_manifest(root: str, driver: Driver) -> None:
    """What was committed counts, what was not does not, and the dead driver is replaced at once."""
    assert driver.tell("commit", 0) == "True"
    with pytest.raises(storage.RunLockedError, match=rf"process {driver.process.pid} on "):
        storage.RunStore.open(root, "run-1")
    assert driver.tell("die-before-manifest", 1) == ""
    assert driver.process.wait() == -signal.SIGKILL
    assert len(keys(root, "runs/run-1/data/")) == 4
    assert len(keys(root, "runs/run-1/commits/")) == 1
    assert storage.list_runs(root)[0].status == "interrupted"
    assert seen(root) == whole(0)
    with storage.RunStore.open(root, "run-1") as store:
        assert [store.commit(entry(shard), rows(shard)) for shard in (0, 1)] == [False, True]
        store.merge()
    assert seen(root) == whole(0, 1)


def test_a_frozen_driver_is_replaced_and_writes_no_more(
    root: str, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is heard of no more, another goes on, and when it wakes up it is told."""
    monkeypatch.setattr(lease, "STALE_S", 2.0)
    assert driver.tell("commit", 0) == "True"
    driver.process.send_signal(signal.SIGSTOP)
    deadline = time.monotonic() + PATIENCE_S
    while storage.is_locked(root, "run-1"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    with storage.RunStore.open(root, "run-1") as store:
        assert [store.commit(entry(shard), rows(shard)) for shard in (0, 1)] == [False, True]
        driver.process.send_signal(signal.SIGCONT)
        told = driver.tell("commit", 2)
        assert told.startswith("RunLockedError the lease of run run-1 was lost to process ")
        assert f"process {os.getpid()} on " in told
        assert store.commit(entry(2), rows(2))
        store.merge()
    assert seen(root) == whole(0, 1, 2)


@pytest.mark.usefixtures("stale")
@pytest.mark.parametrize("is_merged", [False, True])
def test_two_drivers_commit_each_shard_once(
    root: str, monkeypatch: pytest.MonkeyPatch, *, is_merged: bool
) -> None:
    """The worst case: one that lost its lease is past its check, and puts what it has."""
    late = made(root, 1)
    assert not late.commit(entry(0), rows(0))
    with storage.RunStore.open(root, "run-1") as store:
        assert store.commit(entry(1), rows(1))
        monkeypatch.setattr(lease, "PROVEN_S", -1.0)
        with pytest.raises(storage.RunLockedError, match=r"was lost to process"):
            late.commit(entry(2), rows(2))
        monkeypatch.setattr(late._lease, "confirm", lambda: None)
        if is_merged:
            store.merge()
            assert late.commit(entry(1), rows(1))  # put, and already superseded
        else:
            with pytest.raises(storage.RunLockedError, match=r"committed by another driver"):
                late.commit(entry(1), rows(1))
        assert late.commit(entry(3), rows(3))  # of a free name: it counts, once
        assert seen(root) == whole(0, 1, 3)
        with pytest.raises(storage.RunLockedError, match=r"committed by another driver"):
            store.commit(entry(3), rows(3))
        assert store.commit(entry(2), rows(2))
        store.merge()
        store.merge()
        assert seen(root) == whole(0, 1, 2, 3)
    late.close()
    assert seen(root) == whole(0, 1, 2, 3)


@pytest.mark.usefixtures("stale")
def test_a_merge_keeps_what_is_committed_meanwhile(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A late driver's shard appears after the merge has read, and is neither dropped nor lost."""
    late = made(root, 2)
    with storage.RunStore.open(root, "run-1") as store:
        monkeypatch.setattr(late._lease, "confirm", lambda: None)
        confirm = store._lease.confirm

        def overtaken() -> None:
            confirm()
            assert late.commit(entry(2), rows(2))

        monkeypatch.setattr(store._lease, "confirm", overtaken)
        store.merge()
        assert seen(root) == whole(0, 1, 2)
        monkeypatch.setattr(store._lease, "confirm", confirm)
        store.merge()
    late.close()
    assert seen(root) == whole(0, 1, 2)
    assert len(keys(root, "runs/run-1/commits/")) == 1


def test_a_lease_is_taken_by_one_of_many(root: str) -> None:
    """Eight at once, of which one gets it; given back, it is free at once."""
    from concurrent.futures import ThreadPoolExecutor

    folder = open_backend(root) / "runs" / "run-1"

    def take(_: int) -> Any:
        try:
            return folder.lease()
        except storage.RunLockedError:
            return None

    with ThreadPoolExecutor(8) as pool:
        taken = [found for found in pool.map(take, range(8)) if found]
    assert len(taken) == 1
    assert folder.is_leased()
    taken[0].release()
    assert not taken[0].is_held
    assert not folder.is_leased()
    folder.lease().release()


def test_a_bucket_that_is_not_there() -> None:
    """Said before anything is run."""
    with pytest.raises(storage.RootNotWritableError, match="NoSuchBucket; there is no such bucket"):
        storage.check_root("s3://no-such-bucket/results")


def test_command_line_gives_the_same_rows_as_on_a_disk(root: str, tmp_path: Path) -> None:
    """A whole run, and what is asked of it, by --results and by the environment."""
    grid = tmp_path / "grid.yaml"
    grid.write_text(GRID)
    local = str(tmp_path / "results")

    def gfjobs(*arguments: str, results: str = root) -> str:
        done = CliRunner().invoke(main, arguments, env={"GFJOBS_RESULTS": results})
        assert done.exit_code == 0, (arguments, done.output, done.exception)
        return done.stdout

    for results in (local, root):
        gfjobs("submit", str(grid), "--run", "one", "--inline", "--results", results)
    for table, columns in {
        "records": "cell_id, round, image_id, label, prediction, exit_block, gate_score, loss",
        "exits": "cell_id, image_id, exit_block, prediction, gate_score, loss",
        "images": "*",
        "cells": "cell_id, kind, status, rows, attempts, is_valid",
        "commits": "cell_id, round, shard, rows",
        "ladder": "model, threshold, acc1, loss, exit_counts, samples",
    }.items():
        query = f"SELECT {columns} FROM {table} ORDER BY ALL"  # noqa: S608 (ours)
        expected = storage.query(local, query)
        assert expected.num_rows
        assert storage.query(root, query).equals(expected), table
    query = "SELECT model, acc1 FROM ladder ORDER BY ALL"
    assert gfjobs("sql", query) == gfjobs("sql", query, results=local)
    assert "one" in gfjobs("runs")
    assert "digits-dynn" in gfjobs("summary", "latest")
    assert "done" in gfjobs("status", "one")
    assert gfjobs("curve", "one")
    assert "of device time, by earlier runs" in gfjobs("plan", str(grid))
    gfjobs("resume", "one", "--inline")
    gfjobs("rm", "one")
    assert keys(root, "runs/") == []


def test_an_evaluation_keeps_its_grid_in_the_store(root: str, tmp_path: Path) -> None:
    """It is copied to a file to be submitted, and removed with the run; a resume finds the rest."""
    words = ["eval", "digits-dynn", "--data", "digits", "--limit", "4", "--rounds", "1"]
    words += ["--threads", "1", "--inline", "--run", "one"]
    done = CliRunner().invoke(main, [*words, "--results", root])
    assert done.exit_code == 0, done.output
    url = f"{root}/runs/one/grid.yaml"
    assert storage.kept_grid(root, "one") == url
    assert f"copy its grid, {url}, to a file, and submit that" in done.stderr
    copy = tmp_path / "copy.yaml"
    copy.write_bytes((open_backend(root) / "runs" / "one" / "grid.yaml").read())
    for again in (["submit", str(copy), "--run", "one"], ["resume", "one"]):
        done = CliRunner().invoke(main, [*again, "--inline", "--results", root])
        assert "run one is done: nothing is missing" in done.stderr, done.output
    assert CliRunner().invoke(main, ["rm", "one", "--results", root]).exit_code == 0
    assert keys(root, "runs/") == []


def test_history_is_compacted_checked_and_repaired(root: str) -> None:
    """A summary, a history and its seals; a lost object; a resume; a removal."""
    with made(root) as store:
        store.merge()
        store.save_run(dataclasses.replace(store.run, status="done"))
    ladder = storage.query(root, "FROM ladder").to_pylist()
    assert storage.compact(root).added == ["run-1"]
    assert storage.compact(root).kept == ["run-1"]
    assert storage.query(root, "FROM ladder").to_pylist() == ladder
    assert seen(root) == whole(*range(SHARDS))
    assert [run.run_id for run in storage.list_runs(root)] == ["run-1"]
    (lost,) = [key for key in keys(root, "runs/run-1/data") if "records-" in key]
    (open_backend(root) / "runs" / "run-1" / "data" / lost.rpartition("/")[2]).delete()
    assert any("is missing" in problem.what for problem in storage.fsck(root))
    assert all(problem.is_repaired for problem in storage.fsck(root, is_repair=True))
    with storage.RunStore.open(root, "run-1") as store:
        for shard in range(SHARDS):
            store.commit(entry(shard), rows(shard))
        store.merge()
    assert seen(root) == whole(*range(SHARDS))
    storage.remove_run(root, "run-1")
    assert storage.query(root, "FROM ladder").num_rows == 0


def test_runs_are_found_by_listing_not_one_by_one(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many requests a listing takes does not grow with the runs, nor does who was judged."""
    asked: list[str] = []
    for name in ("list", "has"):
        original = getattr(buckets.Bucket, name)

        def counted(*args: Any, original: Any = original, name: str = name, **options: Any) -> Any:
            asked.append(name)
            return original(*args, **options)

        monkeypatch.setattr(buckets.Bucket, name, counted)

    def requests(act: Callable[[], object]) -> int:
        asked.clear()
        act()
        return len(asked)

    counts = []
    for number in (1, 2, 3):
        run = dataclasses.replace(RUN, run_id=f"night-{number}", status="done")
        cell = dataclasses.replace(CELL, run_id=run.run_id)
        storage.RunStore.create(root, run, [cell], {}).close()
        row = storage.RegressionRow(
            run.run_id,
            *(None for _ in range(10)),
            metric="latency",
            kind="step",
            verdict="ok",
        )
        storage.save_regressions(root, run.run_id, [row])
        counts.append(
            (
                requests(lambda: storage.list_runs(root)),
                requests(lambda: storage.query(root, "SELECT count(*) FROM regressions")),
            )
        )
        assert storage.query(root, "FROM regressions").num_rows == number
        assert len(storage.list_runs(root)) == number
    assert counts[0] == counts[2]
    assert sum(counts[0]) <= 8


ENERGY_GRID = """\
name: night
models: [digits-dynn]
datasets: [{name: digits, limit: 12}]
thresholds: [0.5]
threads: [1]
measure: [accuracy, latency, energy]
energy: {idle_s: 0.1, active_s: 0.1, settle_s: 0}
latency: {rounds: 2, warmup_images: 1, images: 3}
"""
RECIPE = """name: tiny
stage: baseline
dataset: digits
validation: {fraction: 0.5, seed: 0}
model: {img_size: 8, patch_size: 2, embed_dim: 8, depth: 2}
epochs: 1
batch_size: 64
learning_rate: 0.002
weight_decay: 0.05
warmup_epochs: 0
seed: 0
precision: float32
threads: 1
output: tiny.safetensors
"""


def test_every_command_that_writes_or_reads_results_knows_a_store(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A meter's log, a training, a choice, a report, a verdict, a comparison; kept and checked."""
    monkeypatch.delenv("GFJOBS_POWER", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("night.yaml").write_text(ENERGY_GRID)
    Path("tiny.yaml").write_text(RECIPE)

    def gfjobs(*words: str) -> str:
        done = CliRunner().invoke(main, [*words, "--results", root])
        assert done.exit_code == 0, (words, done.output, done.exception)
        return done.stdout

    for run in ("one", "two"):
        gfjobs("submit", "night.yaml", "--run", run, "--inline")
    (times,) = storage.query(
        root, "SELECT epoch(min(started_at)) AS a, epoch(max(ended_at)) AS b FROM rounds"
    ).to_pylist()
    # Dense, since the windows of a quick machine are short.
    steps = range(int((times["b"] - times["a"] + 2) / 0.002))
    lines = [f"{times['a'] - 1 + 0.002 * step:.3f},{5 + step % 2}" for step in steps]
    Path("meter.csv").write_text("\n".join(["time,watts", *lines]))
    gfjobs("power", "import", "meter.csv", "--run", "one")
    powers = "SELECT count(*) AS n FROM ladder WHERE run_id = 'one' AND power_w > 0"
    assert storage.query(root, powers).to_pylist() == [{"n": 1}]
    assert "digits-dynn" in gfjobs("choose", "one", "--max-drop", "5")
    gfjobs("report", "one", "-o", "report.html")
    assert "<html" in Path("report.html").read_text()
    assert "accuracy" in gfjobs("judge", "two")
    assert storage.query(root, "SELECT run_id FROM regressions").num_rows > 0
    assert "McNemar" in gfjobs("compare", "one", "two")
    monkeypatch.setenv("GFJOBS_LEDGER", str(tmp_path / "nights.sqlite"))
    Path("nights.yaml").write_text(
        "grid: night.yaml\ncron: 0 2 * * *\ninline: true\nreport: pages\n"
    )
    gfjobs("schedule", "add", "nights.yaml")
    night = CliRunner().invoke(main, ["schedule", "run", "nights"])
    assert ": learning: " in night.stderr, night.output
    assert len(list(Path("pages").iterdir())) == 1
    storage.remove_run(root, storage.resolve_run(root, "latest"))
    gfjobs("train", "tiny.yaml")
    assert storage.query(root, "SELECT epoch FROM training").to_pylist() == [{"epoch": 1}]
    assert gfjobs("compact").startswith("2 runs compacted")
    assert gfjobs("fsck") == "nothing is wrong\n"
    (open_backend(root) / "runs" / "two" / "regressions.parquet").publish(b"PAR1")
    (open_backend(root) / "runs" / "one" / "cells.parquet").publish(b"PAR1")
    said = gfjobs("fsck", "--repair")
    assert "set aside as regressions.parquet.damaged" in said
    assert "taken from its copy in the history" in said
    assert gfjobs("fsck") == "nothing is wrong\n"
    assert "accuracy" in gfjobs("judge", "two")
