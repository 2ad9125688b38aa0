"""Commits and merges: each row once, whatever dies, whenever."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import storage
from storage.backends import open_backend
from storage.backends.local import LocalBackend
from storage.runs import manifests, merge
from storage.runs.layout import RunPaths, run_paths
from storage.tables import parquet
from tests.storage.conftest import ask

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("short_ladder")

SHARDS = 2
RUN = storage.RunRow("run-1")
CELL = storage.CellRow("run-1", "cell-1", kind="latency", dataset_sha256="d0")


class CrashError(BaseException):
    """Stands for the end of the process: no handler of ours may catch it."""


def shard_tables(shard: int) -> dict[str, Any]:
    """Make the two tables of one shard, three rows each, out of order."""
    common: dict[str, object] = {"run_id": "run-1", "cell_id": "cell-1", "round": 0}
    images = [3 * shard + 2, 3 * shard, 3 * shard + 1]
    return {
        "records": storage.build_table("records", {**common, "image_id": images}),
        "exit_costs": storage.build_table(
            "exit_costs", {**common, "image_id": images, "exit_block": 1}
        ),
    }


def seen(root: Path) -> tuple[list[int], list[int], list[int]]:
    """Read the image_ids of both tables, and the shards of `commits`, as a reader finds them."""
    found = ask(
        root,
        records="SELECT image_id AS id FROM records ORDER BY 1",
        exit_costs="SELECT image_id AS id FROM exit_costs ORDER BY 1",
        commits="SELECT shard AS id FROM commits ORDER BY 1",
    )
    records, exit_costs, shards = ([row["id"] for row in rows] for rows in found.values())
    return records, exit_costs, shards


def whole(shards: int) -> tuple[list[int], list[int], list[int]]:
    """Say what a reader must find of this many shards."""
    images = list(range(3 * shards))
    return images, images, list(range(shards))


def committed_run(root: Path, shards: int = SHARDS) -> storage.RunStore:
    """Make a run with some shards committed; the store is open."""
    store = storage.RunStore.create(root, RUN, [CELL], {"grid": "g.yaml"})
    for shard in range(shards):
        assert store.commit(storage.CommitEntry("cell-1", 0, shard, rows=3), shard_tables(shard))
    return store


def crash_at(step: int) -> Callable[[], None]:
    """Make an action that ends the "process" at one step, and at every later one."""
    steps = itertools.count()

    def action() -> None:
        if next(steps) >= step:
            raise CrashError

    return action


def test_committed_shard_is_visible_whole_and_once(tmp_path: Path) -> None:
    """A second commit of the same shard says False and changes nothing."""
    with committed_run(tmp_path, 2) as store:
        again = storage.CommitEntry("cell-1", 0, 1, rows=99)
        assert store.commit(again, shard_tables(1)) is False
        assert seen(tmp_path) == whole(2)
        assert [entry.rows for entry in store.entries()] == [3, 3]
    with storage.RunStore.open(tmp_path, "run-1") as store:
        assert store.commit(again, shard_tables(1)) is False
        assert store.commit(storage.CommitEntry("cell-1", 0, 2), shard_tables(2)) is True
        assert seen(tmp_path) == whole(3)


@pytest.mark.parametrize("step", range(4))
def test_crash_during_a_commit_shows_all_of_it_or_nothing(
    tmp_path: Path,
    on_each_step: Callable[..., None],
    step: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two data files, one manifest and its rename: only after the last is the shard there."""
    store = committed_run(tmp_path, 1)
    on_each_step(crash_at(step))
    with pytest.raises(CrashError):
        store.commit(storage.CommitEntry("cell-1", 0, 1, rows=3), shard_tables(1))
    monkeypatch.undo()
    store.close()
    assert seen(tmp_path) == whole(1)
    with storage.RunStore.open(tmp_path, "run-1") as store:
        assert store.commit(storage.CommitEntry("cell-1", 0, 1, rows=3), shard_tables(1))
        assert seen(tmp_path) == whole(2)
        store.merge()
        assert_nothing_left_over(tmp_path)


def assert_nothing_left_over(root: Path) -> None:
    """Three merged files, the summary and one manifest are all that a merged run has."""
    folder = root / "runs" / "run-1"
    assert [path.name.split("-merged-")[0] for path in sorted((folder / "data").iterdir())] == [
        "commits",
        "committed",
        "exit_costs",
        "ladder",
        "records",
    ]
    assert len(list((folder / "commits").iterdir())) == 1


def test_reader_at_every_step_of_a_merge_sees_each_row_once(
    tmp_path: Path, on_each_step: Callable[..., None]
) -> None:
    """Before, between and after the steps of a merge the rows are the same."""
    steps = itertools.count()

    def read() -> None:
        next(steps)
        assert seen(tmp_path) == whole(SHARDS)

    with committed_run(tmp_path) as store:
        on_each_step(read)
        store.merge()
        read()
    assert next(steps) > SHARDS + 5
    assert_nothing_left_over(tmp_path)


# Steps of a merge of SHARDS shards of two tables; `test_merge_has_these_steps` holds it.
MERGE_STEPS = 19


@pytest.mark.parametrize("step", range(MERGE_STEPS))
def test_crash_during_a_merge_loses_and_doubles_nothing(
    tmp_path: Path, on_each_step: Callable[..., None], step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash at any step a reader sees each row once, and the next merge tidies up."""
    store = committed_run(tmp_path)
    on_each_step(crash_at(step))
    with pytest.raises(CrashError):
        store.merge()
    monkeypatch.undo()
    store.close()
    assert seen(tmp_path) == whole(SHARDS)
    with storage.RunStore.open(tmp_path, "run-1") as store:
        assert len(store.entries()) == SHARDS
        assert not store.commit(storage.CommitEntry("cell-1", 0, 0), shard_tables(0))
        assert store.commit(storage.CommitEntry("cell-1", 0, SHARDS), shard_tables(SHARDS))
        store.merge()
    assert seen(tmp_path) == whole(SHARDS + 1)
    assert_nothing_left_over(tmp_path)


def test_merge_has_these_steps(tmp_path: Path, on_each_step: Callable[..., None]) -> None:
    """The crash tests cover every step that there is."""
    steps: list[None] = []
    with committed_run(tmp_path) as store:
        on_each_step(lambda: steps.append(None))
        store.merge()
    assert len(steps) == MERGE_STEPS


def test_merged_file_is_sorted_compressed_and_versioned(tmp_path: Path) -> None:
    """One file a table, in the order of its keys, zstd, with the schema version."""
    import pyarrow.parquet as pq

    with committed_run(tmp_path) as store:
        store.merge()
        store.merge()  # nothing to do
    (path,) = (tmp_path / "runs" / "run-1" / "data").glob("records-*.parquet")
    with pq.ParquetFile(path) as file:
        assert file.read().column("image_id").to_pylist() == list(range(3 * SHARDS))
        assert file.metadata.row_group(0).column(0).compression == "ZSTD"
        assert file.metadata.metadata[b"gfjobs_schema_version"] == b"8"


def test_snapshot_taken_across_a_merge_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing may miss old manifests and the merged one; it must not be believed."""
    store = committed_run(tmp_path)
    original = manifests.manifest_names
    calls = itertools.count()

    def racing(paths: RunPaths) -> list[str]:
        names = original(paths)
        if next(calls) == 0:
            monkeypatch.setattr(merge, "read_snapshot", lambda _: snapshot)
            store.merge()
            return names[:1]  # what a listing that was overtaken could show
        return names

    snapshot = manifests.read_snapshot(run_paths(open_backend(tmp_path), "run-1"))
    monkeypatch.setattr(merge, "remove_leftovers", lambda *_: None)
    monkeypatch.setattr(manifests, "manifest_names", racing)
    assert seen(tmp_path) == whole(SHARDS)
    store.close()


def test_query_lists_again_when_a_file_vanished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A merge between the listing and the reading is invisible to `query`."""
    from storage.results import connection as catalog

    store = committed_run(tmp_path)
    open_, connections = catalog._list_and_open, itertools.count()

    def overtaken(*arguments: Any) -> Any:
        opened = open_(*arguments)
        if next(connections) == 0:
            store.merge()
        return opened

    monkeypatch.setattr(catalog, "_list_and_open", overtaken)
    assert storage.query(tmp_path, "SELECT count(*) AS n FROM records").to_pylist() == [
        {"n": 3 * SHARDS}
    ]
    assert next(connections) == 2
    store.close()


def test_torn_and_foreign_files_are_ignored(tmp_path: Path) -> None:
    """Half-written files, whatever they hold, are nobody's."""
    committed_run(tmp_path, 2).close()
    folder = tmp_path / "runs" / "run-1"
    (folder / "commits" / ".tmp-1").write_text('{"schema_version": 1, "entr')
    (folder / "commits" / ".tmp-2.json").write_text("{")
    (folder / "data" / "records-cell-1.0.7.parquet").write_bytes(b"PAR1 torn")
    (folder / ".tmp-3").write_bytes(b"")
    (tmp_path / "runs" / "half-made").mkdir()
    (tmp_path / "runs" / ".removed-1").mkdir()
    assert seen(tmp_path) == whole(2)
    assert [run.run_id for run in storage.list_runs(tmp_path)] == ["run-1"]
    with storage.RunStore.open(tmp_path, "run-1") as store:  # one that died beside its row left it
        assert not (folder / ".tmp-3").exists()
        store.merge()
    assert list(folder.rglob(".tmp-*")) == []


def test_damaged_or_escaping_manifest_is_named(tmp_path: Path) -> None:
    """A manifest that something else wrote to is an error with its path, not a guess."""
    committed_run(tmp_path, 1).close()
    (manifest,) = (tmp_path / "runs" / "run-1" / "commits").iterdir()
    content = json.loads(manifest.read_text())
    for text in ("{", "[]", json.dumps({**content, "files": {"records": ["../../x.parquet"]}})):
        manifest.write_text(text)
        with pytest.raises(storage.DamagedError, match=r"cell-1\.0\.0\.json is damaged"):
            storage.connect(tmp_path, ["run-1"])


def test_newer_schema_versions_are_refused(tmp_path: Path) -> None:
    """A file of a newer version is named with both versions."""
    committed_run(tmp_path, 1).close()
    (manifest,) = (tmp_path / "runs" / "run-1" / "commits").iterdir()
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "schema_version": 9}))
    with pytest.raises(
        storage.SchemaVersionError,
        match=r"cell-1\.0\.0\.json has schema version 9.* versions up to 8",
    ):
        storage.query(tmp_path, "FROM records")
    manifest.write_text(json.dumps(content))
    run_file = run_paths(open_backend(tmp_path), "run-1").run
    table = parquet.read_table(run_file)
    newer = table.replace_schema_metadata({"gfjobs_schema_version": "9"})
    parquet.publish_table(run_file, newer)
    with pytest.raises(storage.SchemaVersionError, match=r"run\.parquet has schema version 9"):
        storage.list_runs(tmp_path)


def as_written_by(version: int, folder: Path) -> None:
    """Turn a run that was not merged into what an older version wrote of it."""
    for manifest in (folder / "commits").iterdir():
        content = json.loads(manifest.read_text())
        assert content["schema_version"] == 8
        for key in ("digests", "summary") if version < 4 else ():
            del content[key]
        manifest.write_text(json.dumps({**content, "schema_version": version}))
    older = list(folder.rglob("*.parquet"))
    assert len(older) >= 4
    for path in older:
        as_table_of(version, path)


def as_table_of(version: int, path: Path) -> None:
    """Turn a file into what an older version wrote."""
    new_columns = {
        "cells": ["protocol"],
        "rounds": ["cpu_clock_mhz", "emc_clock_mhz", "trip_c", "fan_pct", "from_log"],
    }
    if version < 3:
        new_columns["power"] = ["shard", "exit_block"]
    table = parquet.read_table(LocalBackend(path))
    table = table.drop_columns(new_columns.get(path.stem.partition("-")[0], []))
    table = table.replace_schema_metadata({"gfjobs_schema_version": str(version)})
    parquet.publish_table(LocalBackend(path), table)


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_files_of_an_older_version_are_read_merged_and_compacted(
    tmp_path: Path, version: int
) -> None:
    """What they wrote has fewer tables, columns and digests, and the same rows."""
    power = {"run_id": "run-1", "cell_id": "cell-1", "round": 0, "rail": "total", "power_mw": 5.0}
    with committed_run(tmp_path, 2) as store:
        store.add_power(storage.build_table("power", power))
        store.save_run(dataclasses.replace(store.run, status="done"))
    as_written_by(version, tmp_path / "runs" / "run-1")
    assert seen(tmp_path) == whole(2)
    of_today = {
        "reference": "FROM reference_agreement",
        "power": "SELECT power_mw, shard, exit_block FROM power",
        "ladder": "FROM ladder",
        "digests": "SELECT dataset_sha256 FROM records UNION SELECT dataset_sha256 FROM exit_costs",
        "costs": "SELECT DISTINCT dataset_sha256 FROM exit_costs",
        "runs": "SELECT status FROM runs",
    }
    found = ask(tmp_path, **of_today)
    assert len(found["ladder"]) == 1
    assert found == {
        "reference": [],
        "power": [{"power_mw": 5.0, "shard": None, "exit_block": None}],
        "ladder": found["ladder"],
        "digests": [{"dataset_sha256": "d0"}],
        "costs": [{"dataset_sha256": "d0"}],
        "runs": [{"status": "done"}],
    }
    assert storage.compact(tmp_path).added == ["run-1"]
    assert seen(tmp_path) == whole(2)
    assert ask(tmp_path, **of_today) == found


def test_rounds_of_version_6_lack_a_boards_state(tmp_path: Path) -> None:
    """They are read as not measured, also after a merge; what they have stays."""
    state = {"run_id": "run-1", "cell_id": "cell-1", "round": 0, "clock_mhz": 612.0, "trip_c": 99.0}
    with committed_run(tmp_path, 2) as store:
        entry = storage.CommitEntry("cell-1", 0, 2)
        store.commit(entry, {"rounds": storage.build_table("rounds", state)})
    as_written_by(6, tmp_path / "runs" / "run-1")
    sql = "SELECT clock_mhz, cpu_clock_mhz, emc_clock_mhz, trip_c, fan_pct, from_log FROM rounds"
    expected = [(612.0, None, None, None, None, None)]
    assert [tuple(row.values()) for row in storage.query(tmp_path, sql).to_pylist()] == expected
    with storage.RunStore.open(tmp_path, "run-1") as store:
        store.merge()
    assert [tuple(row.values()) for row in storage.query(tmp_path, sql).to_pylist()] == expected


def test_a_history_of_version_4_is_read_and_made_anew(tmp_path: Path) -> None:
    """Its cells lack a column, and its ladders are of other queries: both are of today again."""
    sql = "SELECT protocol FROM cells"
    with committed_run(tmp_path, 2) as store:
        store.save_run(dataclasses.replace(store.run, status="done"))
    storage.compact(tmp_path)
    cells = storage.query(tmp_path, sql).num_rows
    ladder = storage.query(tmp_path, "FROM ladder").to_pylist()
    run, history = tmp_path / "runs" / "run-1", tmp_path / "history"
    for path in (*run.glob("*.parquet"), *history.glob("*.parquet")):
        as_table_of(4, path)
    index = json.loads((history / "index.json").read_text())
    older = {**index, "schema_version": 4, "definition": "of other queries"}
    (history / "index.json").write_text(json.dumps(older))
    for _ in range(2):
        assert storage.query(tmp_path, sql)["protocol"].to_pylist() == [None] * cells
        assert storage.query(tmp_path, "FROM ladder").to_pylist() == ladder
        assert seen(tmp_path) == whole(2)
        storage.compact(tmp_path)
    index = json.loads((history / "index.json").read_text())
    assert index["schema_version"] == 8
    assert index["definition"] != "of other queries"


def test_a_newer_history_is_named(tmp_path: Path) -> None:
    """And not guessed at."""
    with committed_run(tmp_path, 1) as store:
        store.save_run(dataclasses.replace(store.run, status="done"))
    storage.compact(tmp_path)
    index = tmp_path / "history" / "index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "schema_version": 9}))
    with pytest.raises(storage.SchemaVersionError, match=r"index\.json has schema version 9"):
        storage.list_runs(tmp_path)


def test_a_question_about_one_run_or_cell_reads_a_part_of_the_rows(tmp_path: Path) -> None:
    """Row groups of other cells, and files of other runs, are skipped by their statistics."""
    images = merge.ROW_GROUP_ROWS // 2
    cells = [storage.CellRow(run_id, f"cell-{n}") for run_id in ("a", "b") for n in range(8)]
    for run_id in ("a", "b"):
        of_run = [cell for cell in cells if cell.run_id == run_id]
        run = storage.RunRow(run_id, status="done")
        with storage.RunStore.create(tmp_path, run, of_run, {}) as store:
            for cell in of_run:
                columns = {
                    "run_id": run_id,
                    "cell_id": cell.cell_id,
                    "round": 0,
                    "image_id": np.arange(images),
                    "forward_ms": 1.0,
                }
                rows = storage.build_table("records", columns)
                store.commit(storage.CommitEntry(cell.cell_id, 0, 0), {"records": rows})
            store.merge()

    def groups(where: str) -> int:
        """Row groups that DuckDB read, by its own count."""
        sql = f"SELECT avg(forward_ms) FROM records {where}"  # noqa: S608 (ours)
        (row,) = connection.sql(f"EXPLAIN (ANALYZE, FORMAT json) {sql}").fetchall()
        return sum(groups_read(json.loads(row[1])["operator"]))

    cells = 1  # the small table that the digest of a data set comes from
    with storage.connect(tmp_path) as connection:
        everything = groups("")
        assert everything >= 8
        assert groups("WHERE run_id = 'b'") <= everything // 2 + cells
        assert groups("WHERE run_id = 'a' AND cell_id = 'cell-5'") <= 2 + cells


def groups_read(plan: list[Any]) -> list[int]:
    """The row groups that each scan in a profile read."""
    found = [node["row_groups_scanned"] for node in plan if "row_groups_scanned" in node]
    return found + [number for node in plan for number in groups_read(node.get("children", []))]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recrods": "records"}, "table 'recrods' is not committed by shard"),
        ({"runs": "records"}, "table 'runs' is not committed by shard"),
        ({"exits": "records"}, "table exits does not match its schema: entropy: absent, not float"),
    ],
)
def test_tables_of_another_kind_are_refused(
    tmp_path: Path, change: dict[str, str], message: str
) -> None:
    """A wrong table is refused before anything is written."""
    tables = shard_tables(0)
    with committed_run(tmp_path, 0) as store:
        with pytest.raises(storage.StorageError) as caught:
            store.commit(
                storage.CommitEntry("cell-1", 0, 0),
                {name: tables[source] for name, source in change.items()},
            )
        assert message.split(":", maxsplit=1)[0] in str(caught.value)
        assert store.entries() == ()
    assert not list((tmp_path / "runs" / "run-1" / "data").iterdir())


def test_rows_of_another_cell_are_refused(tmp_path: Path) -> None:
    """A commit holds rows of its own cell and run only."""
    with (
        committed_run(tmp_path, 0) as store,
        pytest.raises(
            storage.StorageError, match="rows of cell_id cell-2 carry the cell_id 'cell-1'"
        ),
    ):
        store.commit(storage.CommitEntry("cell-2", 0, 0), shard_tables(0))


def test_full_disk_is_an_error_of_ours_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An OSError while writing arrives as StorageError that names the shard."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with committed_run(tmp_path, 1) as store:
        monkeypatch.setattr(LocalBackend, "write", full)
        with pytest.raises(storage.StorageError, match=r"\('cell-1', 0, 1\).*No space left"):
            store.commit(storage.CommitEntry("cell-1", 0, 1), shard_tables(1))
        monkeypatch.undo()
        assert store.commit(storage.CommitEntry("cell-1", 0, 1), shard_tables(1))
    assert seen(tmp_path) == whole(2)


@pytest.mark.parametrize("is_merged", [False, True])
@pytest.mark.parametrize("is_reopened", [False, True])
def test_a_dropped_cell_can_be_committed_again(
    is_merged: bool, is_reopened: bool, tmp_path: Path
) -> None:
    """All its rows go in one step, the other cell keeps its own, and new rows count once."""
    other = dataclasses.replace(CELL, cell_id="cell-2")
    with storage.RunStore.create(tmp_path, RUN, [CELL, other], {}) as store:
        for shard in range(SHARDS):
            store.commit(storage.CommitEntry("cell-1", 0, shard), shard_tables(shard))
        kept = storage.build_table(
            "records", {"run_id": "run-1", "cell_id": "cell-2", "round": 0, "image_id": [100]}
        )
        store.commit(storage.CommitEntry("cell-2", 0, 0), {"records": kept})
        if is_merged:
            store.merge()
        store.discard({"cell-1"})
        assert seen(tmp_path) == ([100], [], [0])
        if not is_reopened:
            recommit(store)
    if is_reopened:
        with storage.RunStore.open(tmp_path, "run-1") as store:
            recommit(store)
    images, costs, shards = whole(SHARDS)
    assert seen(tmp_path) == ([*images, 100], costs, sorted([*shards, 0]))


def recommit(store: storage.RunStore) -> None:
    """All shards of cell 1 anew, each once, and merged."""
    for shard in range(SHARDS):
        entry = storage.CommitEntry("cell-1", 0, shard)
        assert store.commit(entry, shard_tables(shard))
        assert not store.commit(entry, shard_tables(shard))
    assert len(store.entries()) == SHARDS + 1
    store.merge()


@pytest.mark.parametrize("is_retried", [False, True])
def test_a_crash_after_a_drop_hides_no_new_row(
    is_retried: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old manifests that were not cleared away lie under the names of the new ones."""

    def remaining() -> None:
        """Clear nothing away."""

    def crash() -> None:
        raise CrashError

    with storage.RunStore.create(tmp_path, RUN, [CELL], {}) as store:
        for shard in range(SHARDS):
            store.commit(storage.CommitEntry("cell-1", 0, shard), shard_tables(shard))
        calls = iter([remaining, crash])  # the first comes before anything is dropped
        with monkeypatch.context() as patch:
            patch.setattr(merge, "remove_leftovers", lambda *_: next(calls)())
            with pytest.raises(CrashError):
                store.discard({"cell-1"})
    assert seen(tmp_path) == ([], [], [])
    with storage.RunStore.open(tmp_path, "run-1") as store:
        if is_retried:
            store.discard({"cell-1"})
        for shard in range(SHARDS):
            assert store.commit(storage.CommitEntry("cell-1", 0, shard), shard_tables(shard))
        assert seen(tmp_path) == whole(SHARDS)
        store.merge()
    assert seen(tmp_path) == whole(SHARDS)
