"""Groups of shards: one step makes all of them visible, and each shard is committed once."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import storage
from storage.backends.local import LocalBackend
from tests.storage.runs.test_commits import (
    CrashError,
    assert_nothing_left_over,
    committed_run,
    crash_at,
    seen,
    shard_tables,
    whole,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("short_ladder")

GROUP_STEPS = 7
"""Two data files and their folder, claims, their temporary name, manifest, its temporary name;
`test_a_group_has_these_steps` holds it."""


def commit(store: storage.RunStore, *shards: int) -> list[bool]:
    """Commit some shards together."""
    return store.commit_group(
        [(storage.CommitEntry("cell-1", 0, shard, rows=3), shard_tables(shard)) for shard in shards]
    )


def commits(root: Path) -> list[str]:
    """List the manifests."""
    return sorted(path.name for path in (root / "runs" / "run-1" / "commits").iterdir())


def odd_files(root: Path) -> list[str]:
    """Say what fsck finds of files and manifests; the rows of these tests are made up."""
    told = [problem.what for problem in storage.fsck(root)]
    return [what for what in told if not what.startswith("cell-1: exit_costs has")]


def test_a_group_is_there_in_one_file_a_table(tmp_path: Path) -> None:
    """One manifest names all; the other shards' names are taken too."""
    with committed_run(tmp_path, 0) as store:
        assert commit(store, 0, 1, 2) == [True, True, True]
        assert seen(tmp_path) == whole(3)
        assert [entry.shard for entry in store.entries()] == [0, 1, 2]
    data = sorted((tmp_path / "runs" / "run-1" / "data").iterdir())
    assert [path.name.partition(".")[0] for path in data] == ["exit_costs-cell-1", "records-cell-1"]
    assert commits(tmp_path) == ["cell-1.0.0.json", "cell-1.0.1.json", "cell-1.0.2.json"]
    assert odd_files(tmp_path) == []
    with storage.RunStore.open(tmp_path, "run-1") as store:
        assert commit(store, 1) == [False]
        store.merge()
    assert seen(tmp_path) == whole(3)
    assert_nothing_left_over(tmp_path)


def test_a_shard_that_is_there_or_twice_in_a_group_is_left_out(tmp_path: Path) -> None:
    """A task may run twice, and both may end together."""
    with committed_run(tmp_path, 1) as store:
        assert commit(store, 0, 1, 1, 2) == [False, True, False, True]
        assert commit(store, 1, 2) == [False, False]
        assert store.commit_group([]) == []
        assert seen(tmp_path) == whole(3)


def test_a_group_is_refused_whole(tmp_path: Path) -> None:
    """Rows of another cell in one shard: no other shard is committed."""
    with committed_run(tmp_path, 0) as store:
        wrong = storage.CommitEntry("cell-2", 0, 1)
        good = storage.CommitEntry("cell-1", 0, 0)
        with pytest.raises(storage.StorageError, match="cell-2"):
            store.commit_group([(good, shard_tables(0)), (wrong, shard_tables(1))])
        assert store.entries() == ()
        assert seen(tmp_path) == whole(0)


@pytest.mark.parametrize("step", range(GROUP_STEPS))
def test_crash_during_a_group_shows_all_of_it_or_nothing(
    tmp_path: Path,
    on_each_step: Callable[..., None],
    step: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a crash at any step the shards can be committed, in any group, each once."""
    store = committed_run(tmp_path, 1)
    on_each_step(crash_at(step))
    with pytest.raises(CrashError):
        commit(store, 1, 2, 3)
    monkeypatch.undo()
    store.close()
    is_there = step == GROUP_STEPS - 1
    assert seen(tmp_path) == whole(4 if is_there else 1)
    with storage.RunStore.open(tmp_path, "run-1") as store:
        assert commit(store, 3, 2) == [not is_there] * 2
        assert commit(store, 1) == [not is_there]
        assert seen(tmp_path) == whole(4)
        store.merge()
        assert_nothing_left_over(tmp_path)
    assert odd_files(tmp_path) == []
    assert seen(tmp_path) == whole(4)


def test_a_group_has_these_steps(tmp_path: Path, on_each_step: Callable[..., None]) -> None:
    """The crash tests cover every step that there is."""
    steps: list[None] = []
    with committed_run(tmp_path) as store:
        on_each_step(lambda: steps.append(None))
        commit(store, 2, 3, 4)
    assert len(steps) == GROUP_STEPS


@pytest.fixture
def _locks_are_local(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each store believes that it alone holds the lease."""
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)


@pytest.mark.usefixtures("_locks_are_local")
@pytest.mark.parametrize("first", [1, 2, 3])
def test_a_driver_that_slept_before_it_published_commits_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    """Another one buried it meanwhile, whichever of its shards that one commits first."""
    committed_run(tmp_path, 1).close()
    late = storage.RunStore.open(tmp_path, "run-1")
    publish = LocalBackend.publish_new

    def meanwhile(self: LocalBackend, content: bytes) -> None:
        monkeypatch.setattr(LocalBackend, "publish_new", publish)
        with storage.RunStore.open(tmp_path, "run-1") as early:
            assert commit(early, first) == [True]
        publish(self, content)

    monkeypatch.setattr(LocalBackend, "publish_new", meanwhile)
    with pytest.raises(storage.RunLockedError, match=r"3 shards from .* by another driver"):
        commit(late, 1, 2, 3)
    with storage.RunStore.open(tmp_path, "run-1") as store:
        assert commit(store, 1, 2, 3) == [shard != first for shard in (1, 2, 3)]
        assert seen(tmp_path) == whole(4)
        store.merge()
    assert seen(tmp_path) == whole(4)
    assert odd_files(tmp_path) == []


@pytest.mark.usefixtures("_locks_are_local")
def test_groups_that_overlap_are_committed_by_one_driver(tmp_path: Path) -> None:
    """The later finds a name taken: its rows are dropped, and a resume commits the rest."""
    committed_run(tmp_path, 1).close()
    both = [storage.RunStore.open(tmp_path, "run-1") for _ in range(2)]
    commit(both[0], 1, 2)
    with pytest.raises(storage.RunLockedError, match="no row is duplicated"):
        commit(both[1], 3, 2)
    assert seen(tmp_path) == whole(3)
    with storage.RunStore.open(tmp_path, "run-1") as store:
        assert commit(store, 3, 4) == [True, True]
    assert seen(tmp_path) == whole(5)
    assert odd_files(tmp_path) == []


@pytest.mark.usefixtures("_locks_are_local")
def test_a_leader_that_came_after_all_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver that found only its claims commits none of its shards again."""
    committed_run(tmp_path, 1).close()
    late = storage.RunStore.open(tmp_path, "run-1")
    publish = LocalBackend.publish_new
    early: list[storage.RunStore] = []

    def meanwhile(self: LocalBackend, content: bytes) -> None:
        monkeypatch.setattr(LocalBackend, "publish_new", publish)
        early.append(storage.RunStore.open(tmp_path, "run-1"))
        publish(self, content)

    monkeypatch.setattr(LocalBackend, "publish_new", meanwhile)
    assert commit(late, 1, 2) == [True, True]
    for shard in (1, 2):
        with pytest.raises(storage.RunLockedError, match="committed by another driver"):
            commit(early[0], shard)
    assert seen(tmp_path) == whole(3)


def test_a_group_that_failed_can_be_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that was full between claims and manifest; with room, by the same store."""
    with committed_run(tmp_path, 1) as store:
        with monkeypatch.context() as patch:

            def full(*_: object) -> None:
                raise OSError(errno.ENOSPC, "No space left on device")

            patch.setattr(LocalBackend, "publish_new", full)
            with pytest.raises(storage.StorageError, match=r"2 shards from .* cannot be committed"):
                commit(store, 1, 2)
        assert seen(tmp_path) == whole(1)
        assert commit(store, 1, 2) == [True, True]
        assert seen(tmp_path) == whole(3)
        store.discard(["cell-1"])
        assert commit(store, 0, 1, 2) == [True, True, True]
        assert seen(tmp_path) == whole(3)


def test_names_are_given_also_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAT has none."""

    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no links")

    monkeypatch.setattr("os.link", refused)
    folder = LocalBackend(tmp_path)
    folder.publish_all_new(["a", "b"], b"content")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "a": b"content",
        "b": b"content",
    }
    with pytest.raises(FileExistsError):
        folder.publish_all_new(["c", "b"], b"other")
    assert (tmp_path / "b").read_bytes() == b"content"
