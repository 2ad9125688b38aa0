"""Who looks and then acts: what happens in between is neither lost nor doubled."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import storage
from storage.backends import file_lock, local, open_backend
from storage.maintenance import compaction, fsck, history_check
from storage.results import connection
from storage.runs import history

pytestmark = pytest.mark.usefixtures("short_ladder")

SHARDS, IMAGES = 4, 3
CELL = storage.CellRow("r", "c", kind="latency", status="done", images=SHARDS * IMAGES)


def tables(shard: int, run_id: str = "r") -> dict[str, Any]:
    """The rows of one shard."""
    images = np.arange(IMAGES) + shard * IMAGES
    of_cell: dict[str, object] = {"run_id": run_id, "cell_id": "c", "round": 0}
    return {"records": storage.build_table("records", {**of_cell, "image_id": images})}


def commit(store: storage.RunStore, *shards: int) -> None:
    """Commit shards."""
    for shard in shards:
        entry = storage.CommitEntry("c", 0, shard, rows=IMAGES)
        assert store.commit(entry, tables(shard, store.run.run_id))


def write(root: Path, *shards: int, run_id: str = "r", is_ended: bool = True) -> None:
    """A run with some of its shards, not merged; begun or taken up."""
    cell = dataclasses.replace(CELL, run_id=run_id, rows=IMAGES * len(shards))
    run = storage.RunRow(run_id, status="done" if is_ended else "running")
    with storage.RunStore.create(root, run, [cell], {}) as store:
        commit(store, *shards)


def images(root: Path) -> list[int]:
    """The images of all rows, as a reader finds them."""
    rows = storage.query(root, "SELECT image_id FROM records ORDER BY 1")
    return [int(image) for image in rows["image_id"].to_pylist()]


def of(*shards: int) -> list[int]:
    """The images of shards."""
    return [image for shard in shards for image in range(shard * IMAGES, (shard + 1) * IMAGES)]


def add(root: Path) -> None:
    """Another driver takes the run up, and ends it well."""
    with storage.RunStore.open(root, "r") as store:
        commit(store, 2, 3)
        store.save_cells([dataclasses.replace(CELL, rows=SHARDS * IMAGES)])


def add_and_merge(root: Path) -> None:
    """It merges, too."""
    add(root)
    with storage.RunStore.open(root, "r") as store:
        store.merge()


def add_and_compact(root: Path) -> None:
    """The root is compacted besides."""
    add(root)
    storage.compact(root)


def replace(root: Path) -> None:
    """The run is removed, and another of its name made."""
    storage.remove_run(root, "r")
    write(root, 0, 1)
    add(root)


@pytest.mark.parametrize("act", [add, add_and_merge, add_and_compact, replace])
@pytest.mark.parametrize("is_repair", [False, True])
def test_what_is_committed_while_fsck_looks_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[Path], None], is_repair: bool
) -> None:
    """The repair looks again under the lease, and sees a run in which nothing is wrong."""
    write(tmp_path, 0, 1)
    (tmp_path / "runs/r/data/orphan").write_text("?")
    check, looks = fsck.check_run, []

    def looked(*args: Any, **options: Any) -> Any:
        found = check(*args, **options)
        looks.append(found)
        if len(looks) == 1:
            act(tmp_path)
        return found

    monkeypatch.setattr(fsck, "check_run", looked)
    problems = storage.fsck(tmp_path, is_repair=is_repair)
    assert all(problem.is_repaired for problem in problems) or not is_repair
    assert images(tmp_path) == of(0, 1, 2, 3)
    assert storage.fsck(tmp_path, is_repair=True)[1:] == []
    assert images(tmp_path) == of(0, 1, 2, 3)
    ((cell,),) = (storage.read_cells(tmp_path, "r"),)
    assert (cell.status, cell.rows) == ("done", SHARDS * IMAGES)


def test_what_is_judged_while_fsck_looks_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Judging takes no lease: a damaged file that is replaced meanwhile is not the one to go."""
    write(tmp_path, 0)
    file = tmp_path / "runs/r/regressions.parquet"
    storage.save_regressions(tmp_path, "r", [])
    good = file.read_bytes()
    file.write_bytes(b"damaged")
    rename = local.LocalBackend.rename

    def judged(self: local.LocalBackend, name: str) -> local.LocalBackend:
        file.write_bytes(good)
        return rename(self, name)

    monkeypatch.setattr(local.LocalBackend, "rename", judged)
    storage.fsck(tmp_path, is_repair=True)
    assert file.read_bytes() == good
    assert sorted(path.name for path in file.parent.glob("regressions*")) == [file.name]


def test_a_history_made_while_fsck_looks_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was wrong with the old one is no reason to delete the new one."""
    write(tmp_path, 0)
    storage.compact(tmp_path)
    index = tmp_path / "history/index.json"
    damaged = index.read_text()[:-9]
    look, looks = history_check.find_faults, []
    index.write_text(damaged)

    def looked(backend: Any) -> list[str]:
        faults = look(backend)
        looks.append(faults)
        if len(looks) == 2:
            index.unlink()
            storage.compact(tmp_path)
        return faults

    monkeypatch.setattr(history_check, "find_faults", looked)
    assert [each.is_repaired for each in storage.fsck(tmp_path, is_repair=True)] in ([], [True])
    assert index.is_file()
    assert storage.fsck(tmp_path) == []


def test_a_history_that_is_replaced_while_fsck_looks_is_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files go with the compaction that takes its place; the new one is looked at."""
    for run_id in ("r", "other"):
        write(tmp_path, 0, run_id=run_id)
    storage.compact(tmp_path)
    read, left = history_check.read_table, ["other"]

    def replaced(backend: Any) -> Any:
        if "history" in str(backend) and left:
            storage.remove_run(tmp_path, left.pop())
            storage.compact(tmp_path)
        return read(backend)

    monkeypatch.setattr(history_check, "read_table", replaced)
    assert storage.fsck(tmp_path) == []
    assert left == []


def test_a_run_that_comes_back_while_a_root_is_compacted_is_not_of_the_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resumed and killed between the look and the lease, it has not ended."""
    write(tmp_path, 0, 1)
    opened = storage.RunStore.open

    def resumed(root: Path, run_id: str) -> storage.RunStore:
        with opened(root, run_id) as store:
            store.save_run(dataclasses.replace(store.run, status="running"))
        return opened(root, run_id)

    monkeypatch.setattr(compaction.RunStore, "open", resumed)
    assert storage.compact(tmp_path).left == {"r": "interrupted"}
    assert history.list_seals(open_backend(tmp_path), "r") == []


@pytest.mark.parametrize("act", [storage.remove_run, lambda root, _: add(root)])
def test_a_run_that_changes_after_it_was_sealed_does_not_stop_a_compaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[Path, str], None]
) -> None:
    """Its copy is of what was sealed, and counts no more."""
    write(tmp_path, 0, 1)
    write(tmp_path, 0, run_id="other")
    written = compaction._written

    def changed(*args: Any) -> Any:
        act(tmp_path, "r")
        return written(*args)

    monkeypatch.setattr(compaction, "_written", changed)
    storage.compact(tmp_path)
    shown = storage.query(
        tmp_path, "SELECT run_id, count(*) n FROM records GROUP BY ALL ORDER BY 1"
    )
    removed = act is storage.remove_run
    expected = [("other", IMAGES)] + ([] if removed else [("r", SHARDS * IMAGES)])
    assert [tuple(row.values()) for row in shown.to_pylist()] == expected
    assert len(storage.list_runs(tmp_path)) == 2 - removed


def test_a_lock_of_a_removed_file_keeps_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it waits, the file goes and another one takes its name and its lock: it is not held."""
    path = tmp_path / "lock"
    first = file_lock.take_lock(path)
    others: list[int] = []

    def meanwhile(_: float) -> None:
        if not others:
            path.unlink()
            os.close(first)
            others.append(os.open(path, os.O_RDWR | os.O_CREAT))
            fcntl.flock(others[0], fcntl.LOCK_EX)

    monkeypatch.setattr(time, "sleep", meanwhile)
    with pytest.raises(file_lock.HeldError):
        file_lock.take_lock(path)
    os.close(others[0])
    again = file_lock.take_lock(path)
    assert os.path.samestat(os.fstat(again), path.stat())
    os.close(again)


def test_a_driver_whose_run_was_replaced_by_hand_writes_nothing(tmp_path: Path) -> None:
    """`rm -r` takes no lease; the rows of the old run do not come into the new one."""
    write(tmp_path, 0)
    with storage.RunStore.open(tmp_path, "r") as store:
        (tmp_path / "runs/r").rename(tmp_path / "gone")
        write(tmp_path, 0)
        with pytest.raises(storage.RunLockedError, match="removed or replaced"):
            commit(store, 1)
    assert images(tmp_path) == of(0)


def test_a_run_that_is_removed_while_it_is_taken_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither is a folder of it left, nor is it half made where it is made anew."""
    write(tmp_path, 0)
    take = file_lock.take_lock

    def late(path: Path) -> int:
        monkeypatch.setattr(file_lock, "take_lock", take)
        storage.remove_run(tmp_path, "r")
        return take(path)

    monkeypatch.setattr(file_lock, "take_lock", late)
    with pytest.raises(storage.RunNotFoundError):
        storage.RunStore.open(tmp_path, "r")
    assert list((tmp_path / "runs").iterdir()) == []
    write(tmp_path, 0)
    monkeypatch.setattr(file_lock, "take_lock", late)
    with pytest.raises(storage.RunNotFoundError):
        storage.remove_run(tmp_path, "r")
    # A removal that has just deleted what another is making: both get what they asked for.
    (tmp_path / "runs/r").mkdir()

    def emptied(path: Path) -> int:
        monkeypatch.setattr(file_lock, "take_lock", take)
        local.LocalBackend(path.parent).delete()
        return take(path)

    monkeypatch.setattr(file_lock, "take_lock", emptied)
    write(tmp_path, 0, 1)
    assert images(tmp_path) == of(0, 1)


@pytest.fixture
def _locks_are_local(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a shared file system whose locks are each host's own: everybody gets them."""
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)


@pytest.mark.usefixtures("_locks_are_local")
def test_two_drivers_without_a_lock_between_them_commit_each_shard_once(tmp_path: Path) -> None:
    """Both try all shards at once, and both have looked at the name before either has it."""
    write(tmp_path)
    for _ in range(5):
        both = [storage.RunStore.open(tmp_path, "r") for _ in range(2)]
        results: Counter[str] = Counter()
        barrier = threading.Barrier(2)

        def drive(
            store: storage.RunStore,
            results: Counter[str] = results,
            barrier: threading.Barrier = barrier,
        ) -> None:
            for shard in range(SHARDS):
                barrier.wait()
                try:
                    commit(store, shard)
                    results["committed"] += 1
                except storage.RunLockedError:
                    results["refused"] += 1

        threads = [threading.Thread(target=drive, args=(store,)) for store in both]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == {"committed": SHARDS, "refused": SHARDS}
        assert images(tmp_path) == of(0, 1, 2, 3)
        both[0].discard(["c"])


@pytest.mark.usefixtures("_locks_are_local")
@pytest.mark.parametrize("times", [0, 1, 2])
def test_a_merge_of_what_was_merged_meanwhile_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """It has read the run before another merged it, once or more often: its rows do not count."""
    write(tmp_path, 0, 1, 2, is_ended=False)
    late, early = (storage.RunStore.open(tmp_path, "r") for _ in range(2))
    adopt = local.LocalBackend.adopt

    def meanwhile(self: local.LocalBackend, file: Path) -> None:
        monkeypatch.setattr(local.LocalBackend, "adopt", adopt)
        commit(early, 3)
        for _ in range(times):
            early.merge()
            early.discard(["nothing"])  # another merge
        if not times:
            early.merge()
        adopt(self, file)

    monkeypatch.setattr(local.LocalBackend, "adopt", meanwhile)
    with pytest.raises(storage.RunLockedError, match="merged by another"):
        late.merge()
    assert images(tmp_path) == of(0, 1, 2, 3)
    storage.RunStore.open(tmp_path, "r").merge()
    assert images(tmp_path) == of(0, 1, 2, 3)
    assert storage.fsck(tmp_path) == []


def test_a_name_is_given_once_also_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAT has none; over NFS the answer to a link that was made may be an error."""
    file, content = open_backend(tmp_path / "a"), b"content"

    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no links")

    link = os.link

    def repeated(*args: Any) -> None:
        link(*args)
        link(*args)

    for number, fake in enumerate((refused, repeated)):
        monkeypatch.setattr(os, "link", fake)
        file = open_backend(tmp_path / str(number))
        file.publish_new(content)
        assert file.read() == content
        with pytest.raises(FileExistsError):
            file.publish_new(b"other")
        assert file.read() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


def refusing_sync(folder: Path) -> None:
    """A disk that cannot keep the list of names in `commits`."""
    if folder.name == "commits":
        raise OSError(errno.EIO, "Input/output error")


def test_a_commit_that_fails_after_it_was_visible_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reported as failed, it does not count; with a better disk it is committed."""
    write(tmp_path, 0)
    with storage.RunStore.open(tmp_path, "r") as store:
        with monkeypatch.context() as patch:
            patch.setattr(local, "_sync", refusing_sync)
            with pytest.raises(storage.StorageError, match="cannot be committed"):
                commit(store, 1)
        assert images(tmp_path) == of(0)
        assert len(store.entries()) == 1
        commit(store, 1)
    assert images(tmp_path) == of(0, 1)


def test_a_commit_that_counts_is_not_reported_as_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store has it, and its answer was lost."""
    write(tmp_path, 0)
    publish = local.LocalBackend.publish_new

    def unanswered(self: local.LocalBackend, content: bytes) -> None:
        publish(self, content)
        raise TimeoutError("no answer")

    monkeypatch.setattr(local.LocalBackend, "publish_new", unanswered)
    with storage.RunStore.open(tmp_path, "r") as store:
        commit(store, 1)
        assert len(store.entries()) == 2
    assert images(tmp_path) == of(0, 1)


@pytest.mark.parametrize("linked", ["", "data"])
def test_a_run_that_is_a_link_is_not_removed(tmp_path: Path, linked: str) -> None:
    """It says so before anything is gone: neither the run vanishes, nor what it leads to."""
    write(tmp_path / "root", 0)
    folder = tmp_path / "root/runs/r" / linked
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(storage.StorageError, match=r"symbolic link to .*elsewhere"):
        storage.remove_run(tmp_path / "root", "r")
    assert images(tmp_path / "root") == of(0)


def test_a_removal_is_not_disturbed_by_another_that_clears_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each deletes what removals that were killed left, and may meet one that lives."""
    write(tmp_path, 0)
    rmtree = local.shutil.rmtree

    def twice(path: Path, *, ignore_errors: bool = False) -> None:
        rmtree(path)
        rmtree(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(local.shutil, "rmtree", twice)
    storage.remove_run(tmp_path, "r")
    assert list((tmp_path / "runs").iterdir()) == []


RUNS = [f"r{number}" for number in range(6)]


@pytest.fixture
def merged_while_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Several runs, of which each reader finds another one merged after it has listed them."""
    left = list(RUNS)
    for run_id in RUNS:
        write(tmp_path, 0, run_id=run_id)
    read = connection.read_contents

    def listed(*args: Any) -> Any:
        contents = read(*args)
        for run in contents.runs:
            _ = run.snapshot
        if left:
            with storage.RunStore.open(tmp_path, left.pop()) as store:
                store.merge()
        return contents

    monkeypatch.setattr(connection, "read_contents", listed)
    return left


def test_a_reader_that_meets_merge_after_merge_reads_all_in_the_end(
    tmp_path: Path, merged_while_read: list[str]
) -> None:
    """As a query, and as a connection."""
    assert images(tmp_path) == sorted(of(0) * len(RUNS))
    assert merged_while_read == []


def test_a_file_that_is_lost_is_an_error_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not waited for: a listing that names it again says that nothing is changing."""
    write(tmp_path, 0)
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    (lost,) = (tmp_path / "runs/r/data").iterdir()
    lost.unlink()
    with pytest.raises(storage.StorageError, match=lost.name):
        storage.query(tmp_path, "FROM records")
    assert sum(slept) < 0.1


def test_runs_are_listed_while_compactions_take_files_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three in a row."""
    from storage.runs import listing

    for run_id in RUNS:
        write(tmp_path, 0, run_id=run_id)
    storage.compact(tmp_path)
    read, left = listing.read_table, [1, 2, 3]

    def compacted(backend: Any) -> Any:
        if "history" in str(backend) and left:
            left.pop()
            storage.remove_run(tmp_path, RUNS[len(left)])
            storage.compact(tmp_path)
        return read(backend)

    monkeypatch.setattr(listing, "read_table", compacted)
    assert {run.run_id for run in storage.list_runs(tmp_path)} == set(RUNS[3:])
