"""A merge by itself: what it writes, what it keeps, what it clears away, and when it is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

import storage
from storage.backends import open_backend
from storage.errors import RunLockedError
from storage.runs import merge
from storage.runs.layout import RunPaths, run_paths
from storage.runs.manifests import CommitEntry, Manifest, Snapshot, publish_manifest, read_snapshot
from storage.runs.merge import merge_run, remove_leftovers
from tests.storage.conftest import NOON, Builder


@pytest.fixture
def store(tmp_path: Path) -> Iterator[storage.RunStore]:
    """An open run of two timed cells, of which three shards are committed, out of order."""
    builder = Builder(tmp_path, "run-1")
    cells = [builder.cell(), builder.cell()]
    with storage.RunStore.create(tmp_path, builder.run, cells, {}) as opened:
        for cell, shard in ((cells[1], 0), (cells[0], 1), (cells[0], 0)):
            commit(opened, cell, shard)
        yield opened


def commit(store: storage.RunStore, cell: storage.CellRow, shard: int, **more: Any) -> None:
    """Two records of a shard, and other tables."""
    records = storage.build_table(
        "records",
        {
            "run_id": "run-1",
            "cell_id": cell.cell_id,
            "round": 0,
            "image_id": [2 * shard + 1, 2 * shard],
            "loss": 0.5,
        },
    )
    entry = CommitEntry(cell.cell_id, 0, shard, "node-a", 2, 1.0, NOON, None)
    assert store.commit(entry, {"records": records, **more})


def paths_of(store: storage.RunStore) -> RunPaths:
    """Of its run."""
    return store._paths


def merged(store: storage.RunStore, **options: Any) -> tuple[str, Manifest]:
    """Merge it: its only manifest, with its name."""
    merge_run(paths_of(store), store._lease, **options)
    ((name, manifest),) = read_snapshot(paths_of(store)).manifests.items()
    return name, manifest


def rows(store: storage.RunStore, table: str = "records") -> list[tuple[Any, ...]]:
    """Cell and image of each row of its only file, in the order of the file."""
    (backend,) = read_snapshot(paths_of(store)).files(table)
    found = storage.tables.parquet.read_table(backend)
    column = "image_id" if table == "records" else "shard"
    return list(zip(*(found.column(it).to_pylist() for it in ("cell_id", column)), strict=True))


def listed(store: storage.RunStore) -> tuple[set[str], set[str]]:
    """The files in its two folders."""
    folders = paths_of(store).data, paths_of(store).commits
    data, manifests = ({backend.name for backend in folder.children()} for folder in folders)
    return data, manifests


ALL = [("latency-0", 0), ("latency-0", 1), ("latency-0", 2), ("latency-0", 3)]
ALL += [("latency-1", 0), ("latency-1", 1)]


def test_one_file_a_table_in_the_order_of_its_keys(store: storage.RunStore) -> None:
    """One manifest names them, with their digests, and supersedes all that was there."""
    before = listed(store)[1]
    name, manifest = merged(store)
    assert name == "merged-g000001.json"
    assert rows(store) == ALL
    assert rows(store, "commits") == [("latency-0", 0), ("latency-0", 1), ("latency-1", 0)]
    assert manifest.entries == ()
    assert set(manifest.files) == {"records", "commits"}
    assert manifest.supersedes == tuple(sorted(before))
    assert manifest.summary is not None
    assert set(manifest.summary.files) == {"ladder", "committed"}
    assert set(manifest.digests) == set(manifest.named())
    for file, digest in manifest.digests.items():
        assert re.fullmatch(r"\w+-merged-g000001\.[0-9a-f]{8}\.parquet", file)
        content = (paths_of(store).data / file).read()
        assert hashlib.sha256(content).hexdigest() == digest
    assert listed(store) == (set(manifest.named()), {name})
    entries = read_snapshot(paths_of(store)).entries()
    assert [entry.key for entry in entries] == [
        ("latency-0", 0, 0),
        ("latency-0", 0, 1),
        ("latency-1", 0, 0),
    ]


def test_a_merged_run_is_not_merged_again(store: storage.RunStore) -> None:
    """Unless something was committed since; then all of it is one file again."""
    first = merged(store)
    assert merged(store) == first
    commit(store, store.cells[1], 1)
    name, manifest = merged(store)
    assert name == "merged-g000002.json"
    assert rows(store) == [*ALL, ("latency-1", 2), ("latency-1", 3)]
    assert set(manifest.supersedes) == {*first[1].supersedes, first[0], "latency-1.0.1.json"}
    assert not set(manifest.named()) & set(first[1].named())


def test_a_summary_alone_is_made_anew(store: storage.RunStore) -> None:
    """Where cells are other than it was made of: the files of rows stay, with their digests."""
    name, first = merged(store)
    store.save_cells([dataclasses.replace(cell, note="other") for cell in store.cells])
    again, second = merged(store)
    assert again == "merged-g000002.json"
    assert second.files == first.files
    assert second.supersedes == (*first.supersedes, name)
    assert first.summary is not None
    assert second.summary is not None
    assert second.summary.made_of != first.summary.made_of
    assert not set(second.summary.files.values()) & set(first.summary.files.values())
    assert set(second.digests) == set(second.named())
    for names in first.files.values():
        assert all(second.digests[file] == first.digests[file] for file in names)
    assert listed(store)[0] == set(second.named())


def test_digests_that_an_older_version_did_not_write(store: storage.RunStore) -> None:
    """Are made when only the summary is."""
    _, first = merged(store)
    snapshot = read_snapshot(paths_of(store))
    bare = {
        name: dataclasses.replace(it, digests={}, summary=None)
        for name, it in snapshot.manifests.items()
    }
    files, digests = merge._merged_files(dataclasses.replace(snapshot, manifests=bare))
    assert files == first.files
    assert digests == {name: first.digests[name] for names in files.values() for name in names}


def test_what_is_merged() -> None:
    """Nothing at all, or the one manifest of a merge."""
    for names, expected in (
        ([], True),
        (["merged-g000001.json"], True),
        (["cell.0.0.json"], False),
        (["merged-g000001.json", "cell.0.0.json"], False),
        (["merged-a.json", "merged-b.json"], False),
    ):
        manifests = dict.fromkeys(names, Manifest((), {}))
        assert merge._is_merged(Snapshot(None, manifests)) is expected
    assert merge._merged_files(Snapshot(None, {})) == ({}, {})


def test_cells_are_dropped_in_the_same_step(store: storage.RunStore) -> None:
    """Their rows and what was committed of them; a run that goes on has no summary."""
    _, manifest = merged(store, without={"latency-0"})
    assert rows(store) == [("latency-1", 0), ("latency-1", 1)]
    entries = read_snapshot(paths_of(store)).entries()
    assert [entry.key for entry in entries] == [("latency-1", 0, 0)]
    assert manifest.summary is None
    assert set(manifest.digests) == set(manifest.named())
    _, manifest = merged(store, without={"latency-1", "it's no cell"})
    assert rows(store) == []
    _, manifest = merged(store, without=())
    assert manifest.summary is None


def test_a_run_without_a_commit_has_a_summary(tmp_path: Path) -> None:
    """Its ladder says of each cell that nothing came of it."""
    builder = Builder(tmp_path, "run-1")
    with storage.RunStore.create(tmp_path, builder.run, [builder.cell()], {}) as store:
        name, manifest = merged(store)
    assert (name, manifest.files, manifest.supersedes) == ("merged-g000001.json", {}, ())
    assert manifest.summary is not None
    assert len(builder.ladder()) == 1


def power(node: str | None, rail: str, watts: float | None, second: int = 0) -> dict[str, Any]:
    """A reading."""
    at = NOON + timedelta(seconds=second)
    return {"node": node, "rail": rail, "sampled_at": at, "power_mw": watts, "phase": "active"}


def power_table(readings: list[dict[str, Any]]) -> Any:
    """Readings as rows of a cell."""
    columns = {key: [it[key] for it in readings] for key in readings[0]}
    of_cell = {"run_id": "run-1", "cell_id": "latency-0", "round": 0, "shard": 0}
    return storage.build_table("power", of_cell | columns)


def test_readings_of_a_node_are_replaced(store: storage.RunStore) -> None:
    """Those of its total; marks of windows, other rails and other nodes stay."""
    old = [
        power("node-a", "total", 1.0, 0),
        power("node-a", "total", None, 1),
        power("node-a", "gpu", 2.0, 2),
        power("node-b", "total", 3.0, 3),
        power(None, "total", 4.0, 4),
    ]
    commit(store, store.cells[0], 2, power=power_table(old))
    merged(store)
    new = power_table([power("node-a", "total", 9.0, 5)])
    merged(store, power=({"node-a", "it's none"}, new))
    assert readings(store) == [2.0, 3.0, 4.0, 9.0, None]
    merged(store, power=({""}, power_table([power(None, "total", 8.0, 6)])))
    assert readings(store) == [2.0, 3.0, 8.0, 9.0, None]
    assert rows(store)[:4] == ALL[:4]


def readings(store: storage.RunStore) -> list[float | None]:
    """All that its power file has."""
    (backend,) = read_snapshot(paths_of(store)).files("power")
    found = storage.tables.parquet.read_table(backend).column("power_mw").to_pylist()
    return sorted(found, key=lambda it: (it is None, it))


def test_readings_come_where_there_were_none(store: storage.RunStore) -> None:
    """As a meter's log brings them."""
    merged(store, power=({"node-a"}, power_table([power("node-a", "total", 9.0)])))
    assert readings(store) == [9.0]


def test_what_is_kept_may_be_less_than_is_named(store: storage.RunStore) -> None:
    """As a repair has it: only that is merged, and all the rest counts no more."""
    snapshot = read_snapshot(paths_of(store))
    some = {key: it for key, it in snapshot.manifests.items() if key.startswith("latency-1")}
    kept = dataclasses.replace(snapshot, manifests=some, superseded=frozenset(snapshot.manifests))
    merge_run(paths_of(store), store._lease, kept=kept)
    assert rows(store) == [("latency-1", 0), ("latency-1", 1)]
    assert len(listed(store)[1]) == 1


@pytest.mark.parametrize("is_later", [False, True])
def test_of_two_merges_one_counts(
    store: storage.RunStore, monkeypatch: pytest.MonkeyPatch, *, is_later: bool
) -> None:
    """The other one is dropped, with its files: its name is taken, or counts no more."""
    paths = paths_of(store)
    publish = publish_manifest

    def overtaken(_: RunPaths, name: str, manifest: Manifest) -> None:
        if is_later:
            publish(paths, name, manifest)
        gone = (name,) if is_later else ()
        other = Manifest((), {"records": ("theirs.parquet",)}, (*manifest.supersedes, *gone))
        (paths.data / "theirs.parquet").write(b"")
        publish(paths, "merged-g000002.json" if is_later else name, other)
        if not is_later:
            publish(paths, name, manifest)

    monkeypatch.setattr(merge, "publish_manifest", overtaken)
    before = listed(store)[0]
    said = (
        "run run-1 was merged by another process just now; its merge counts, this one is dropped,"
        " and no row is duplicated"
    )
    with pytest.raises(RunLockedError, match=f"^{re.escape(said)}$"):
        merge_run(paths, store._lease)
    assert listed(store)[0] == before | {"theirs.parquet"}


def test_who_lost_the_lease_publishes_nothing(
    store: storage.RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked once more, when all is written."""
    before = read_snapshot(paths_of(store)).manifests

    def lost() -> None:
        raise RunLockedError("lost")

    monkeypatch.setattr(store._lease, "confirm", lost)
    with pytest.raises(RunLockedError, match="lost"):
        merge_run(paths_of(store), store._lease)
    assert read_snapshot(paths_of(store)).manifests == before


class Folder:
    """A folder that says what is done with it; of its files some are older than the lease."""

    def __init__(self, names: list[str], old: set[str], done: list[Any]) -> None:
        self.names, self.old, self.done = names, old, done

    def children(self) -> list[Any]:
        """Its files."""
        return [Named(name, name in self.old) for name in self.names]

    def delete_all(self, files: list[Any]) -> None:
        """Delete some."""
        self.done.append(sorted(file.name for file in files))

    def sync(self) -> None:
        """Make it durable."""
        self.done.append("sync")


class Named:
    """A file of it."""

    def __init__(self, name: str, is_old: bool) -> None:
        self.name, self.is_old = name, is_old

    def is_abandoned(self, lease: object) -> bool:
        """Whether somebody before left it."""
        assert lease == "lease"
        return self.is_old


def test_leftovers_go_manifests_first() -> None:
    """What counts stays, what is superseded goes, and what else is there if it was abandoned."""
    done: list[Any] = []
    manifests = ["live.json", "dead.json", "old.json", "new.json", "live-too.json"]
    data = ["live.parquet", "dead.parquet", "old.parquet", "new.parquet", "summary.parquet"]
    old = {"old.json", "old.parquet", "live.json", "live.parquet"}

    class Paths:
        commits, data = Folder(manifests, old, done), None

    Paths.data = Folder(data, old, done)
    live = {
        "live.json": Manifest(
            (),
            {"records": ("live.parquet",)},
            summary=storage.runs.manifests.Summary({"ladder": "summary.parquet"}, ""),
        ),
        "live-too.json": Manifest((), {}),
    }
    snapshot = Snapshot(Paths, live, frozenset({"dead.json"}), frozenset({"dead.parquet"}))
    remove_leftovers(Paths, snapshot, "lease")
    assert done == [["dead.json", "old.json"], "sync", ["dead.parquet", "old.parquet"]]


def test_leftovers_go_before_and_after(
    store: storage.RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a merge that died, and what this one supersedes; not before a repair."""
    calls: list[tuple[object, int, object]] = []

    def noted(paths: RunPaths, snapshot: Snapshot, lease: object) -> None:
        calls.append((paths, len(snapshot.manifests), lease))

    monkeypatch.setattr(merge, "remove_leftovers", noted)
    paths, lease = paths_of(store), store._lease
    merge_run(paths, lease)
    assert calls == [(paths, 3, lease), (paths, 1, lease)]
    calls.clear()
    merge_run(paths, lease, kept=read_snapshot(paths), without=())
    assert calls == [(paths, 1, lease)]


def test_a_sort_spills_to_the_disk(tmp_path: Path) -> None:
    """Into the folder of the merge, beyond what a small board has."""
    with merge._connect(tmp_path) as connection:
        folder, limit = connection.execute(
            "SELECT current_setting('temp_directory'), current_setting('memory_limit')"
        ).fetchall()[0]
    assert folder == str(tmp_path / "spill")
    assert limit == "953.6 MiB"


def test_rows_are_written_in_groups(store: storage.RunStore, tmp_path: Path) -> None:
    """Compressed, with the version, sorted by the keys of their table."""
    import pyarrow.parquet as pq

    target = tmp_path / "it's.parquet"
    with duckdb.connect() as connection:
        sql = (
            "SELECT 'run-1' AS run_id, 'c' AS cell_id, 0 AS round, 250_000 - range AS image_id"
            " FROM range(250_000)"
        )
        merge._copy_sorted(connection, "records", sql, target)
    with pq.ParquetFile(target) as file:
        assert file.metadata.row_group(0).num_rows < 130_000
        assert file.metadata.num_row_groups in (2, 3)
        assert file.metadata.row_group(0).column(0).compression == "ZSTD"
        assert file.metadata.metadata[b"gfjobs_schema_version"] == b"8"
        assert file.read(["image_id"]).column(0).to_pylist() == list(range(1, 250_001))
    assert store.cells


def test_rows_to_keep() -> None:
    """As SQL; names are quoted."""
    assert merge._kept_sql("FROM x", ()) == "FROM x"
    kept = merge._kept_sql("FROM x", {"b", "it's"})
    assert kept == "SELECT * FROM (FROM x) WHERE cell_id NOT IN ('b', 'it''s')"


def test_rows_of_no_file(tmp_path: Path) -> None:
    """Are none; those of commits are the new ones."""
    snapshot = Snapshot(run_paths(open_backend(tmp_path), "run-1"), {})
    assert merge.rows_sql("records", snapshot, None) == ""
    assert merge.rows_sql("commits", snapshot, None) == "FROM new_commits"


def test_folders_named_like_columns_are_no_columns(tmp_path: Path) -> None:
    """DuckDB would take `node=board7` in a path for the column `node` of every row."""
    builder = Builder(tmp_path / "node=board7" / "round=5" / "run_id=zz")
    for round_ in range(2):
        builder.records(builder.cell(node="node-a") if not round_ else builder.cells[0], 3, round_)
    builder.store()
    before = builder.ladder()
    with storage.RunStore.open(builder.root, "run-1") as opened:
        opened.merge()
    assert builder.ladder() == before
    assert before[0]["node"] == "node-a"
    assert not [each for each in storage.fsck(builder.root) if "match" in each.what]


def test_every_scan_says_that_folders_are_no_columns() -> None:
    """A scan that forgets it gives wrong figures below some folders alone."""
    sources = Path(storage.__file__).parent.rglob("*.py")
    scans = [line for source in sources for line in source.read_text().splitlines()]
    found = [line for line in scans if "read_parquet(" in line]
    assert found
    assert all("hive_partitioning = false" in line for line in found), found
