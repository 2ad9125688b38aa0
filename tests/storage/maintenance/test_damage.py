"""A run whose small tables are damaged: readers of the others go on, and name it."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import storage
import storage.backends
import storage.tables.parquet
from storage.tables.records import table_to_rows
from tests.storage.conftest import Builder, ask
from tests.storage.one_run import damage, the_file, whole, write_run
from tests.storage.several_runs import training_rows

pytestmark = pytest.mark.usefixtures("short_ladder")

DAMAGES: dict[str, Callable[[Path], object]] = {
    "run torn": lambda root: the_file(root, "run.parquet").write_bytes(b"PAR1"),
    "cells torn": lambda root: the_file(root, "cells.parquet").write_bytes(b"PAR1"),
    "a bit of the cells": lambda root: damage(the_file(root, "cells.parquet"), b"digits"),
    "cells gone": lambda root: the_file(root, "cells.parquet").unlink(),
    "a torn manifest": lambda root: the_file(root, "commits/*").write_text("{"),
}

QUESTIONS = {
    "ladder": "FROM ladder",
    "rows": "SELECT count(*) FROM records JOIN cells USING (run_id, cell_id)"
    " JOIN runs USING (run_id)",
}


def test_whatever_bit_turns_is_seen(tmp_path: Path) -> None:
    """It is an error of ours; no other error, and no other row."""
    cells = [
        storage.CellRow("run-1", f"c{i}", model="m", exit_blocks=(1, 2), note="n" * 40)
        for i in range(4)
    ]
    content = storage.tables.parquet.parquet_bytes(storage.rows_to_table(storage.CellRow, cells))
    file = tmp_path / "cells.parquet"
    backend = storage.backends.open_backend(file)
    refused = 0
    for position in range(0, len(content), 7):
        turned = bytearray(content)
        turned[position] ^= 0x80
        file.write_bytes(bytes(turned))
        try:
            rows = table_to_rows(storage.CellRow, storage.tables.parquet.read_table(backend))
        except storage.StorageError:
            refused += 1
        else:
            assert rows == tuple(cells)
    assert refused > len(content) / 7 / 3


@pytest.mark.parametrize("name", DAMAGES)
def test_other_runs_are_read_and_the_damaged_one_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """Once a question; of the run itself an answer has nothing but that it is damaged."""
    write_run(tmp_path, "run-2")
    alone = ask(tmp_path, **QUESTIONS)
    write_run(tmp_path)
    DAMAGES[name](tmp_path)
    assert ask(tmp_path, **QUESTIONS) == alone
    caplog.clear()
    trend = storage.query(tmp_path, "SELECT run_id FROM trend('static')").to_pylist()
    assert {row["run_id"] for row in trend} == {"run-2"}
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "run run-1 is left out" in caplog.text
    assert "gfjobs fsck" in caplog.text
    shown = storage.named_query(tmp_path, "run_progress").to_pylist()
    assert {row["run_id"]: row["status"] for row in shown} == {
        "run-1": "damaged",
        "run-2": "done",
    }
    assert {run.run_id for run in storage.list_runs(tmp_path)} == {"run-1", "run-2"}
    assert storage.resolve_run(tmp_path, "run-1") == "run-1"
    with pytest.raises(storage.StorageError, match=r"run run-1 .* is (damaged|missing)"):
        storage.query(tmp_path, "FROM ladder", run_ids=["run-1"])
    of_other = storage.query(tmp_path, "FROM ladder", run_ids=["run-2"])
    assert of_other.to_pylist() == alone["ladder"]
    assert storage.compact(tmp_path).added == ["run-2"]
    storage.remove_run(tmp_path, "run-1")
    assert {run.run_id for run in storage.list_runs(tmp_path)} == {"run-2"}


SMALL = ("run.parquet", "cells.parquet", "nodes.parquet")


@pytest.mark.parametrize("name", SMALL)
def test_a_compacted_run_has_a_copy(tmp_path: Path, name: str) -> None:
    """The history gives back exactly what was there; the damaged file is kept beside it."""
    write_run(tmp_path)
    with storage.RunStore.open(tmp_path, "run-1") as store:
        store.save_nodes([storage.NodeRow("run-1", "node-a", "cpu")])
        store.merge()
    expected = [whole(tmp_path), storage.query(tmp_path, "FROM nodes").to_pylist()]
    run = storage.find_run(tmp_path, "run-1")
    storage.compact(tmp_path)
    the_file(tmp_path, name).write_bytes(b"PAR1")
    found = storage.fsck(tmp_path, ["run-1"])
    assert [problem.remedy for problem in found] == ["taken from its copy in the history"]
    assert found[0].what.startswith(f"{name}: cannot be read")
    assert storage.fsck(tmp_path, ["run-1"], is_repair=True)[0].is_repaired
    assert the_file(tmp_path, f"{name}.damaged").read_bytes() == b"PAR1"
    assert storage.fsck(tmp_path) == []
    assert [whole(tmp_path), storage.query(tmp_path, "FROM nodes").to_pylist()] == expected
    assert storage.find_run(tmp_path, "run-1") == run


def test_nodes_are_named_again_by_commits(tmp_path: Path) -> None:
    """What they were is lost, and said to be; all else stays."""
    write_run(tmp_path)
    expected = whole(tmp_path)
    (tmp_path / "runs" / "run-1" / "nodes.parquet").write_bytes(b"PAR1")
    (problem,) = storage.fsck(tmp_path, is_repair=True)
    assert "their details are lost" in problem.remedy
    assert storage.fsck(tmp_path) == []
    left = whole(tmp_path)
    assert left | {"ladder": None} == expected | {"ladder": None}  # that has the note
    (node,) = storage.query(tmp_path, "SELECT node, device, note FROM nodes").to_pylist()
    assert node == {
        "node": "node-a",
        "device": "cpu",
        "note": "the details of this node were lost with nodes.parquet",
    }


@pytest.mark.parametrize("name", SMALL[:2])
def test_what_nothing_holds_is_said(tmp_path: Path, name: str) -> None:
    """And nothing is changed; other damage of the run is named beside it, other runs repaired."""
    write_run(tmp_path)
    write_run(tmp_path, "run-2")
    the_file(tmp_path, name).write_bytes(b"PAR1")
    lost = the_file(tmp_path, "data/records-*")
    lost.unlink()
    names = sorted((tmp_path / "runs" / "run-1").rglob("*"))
    for is_repair in (False, True):
        found = storage.fsck(tmp_path, None, None, lambda _: "no grid", is_repair=is_repair)
        assert [(problem.remedy, problem.is_repaired) for problem in found] == [("", False)] * 2
        assert f"{name}: cannot be read" in found[0].what
        assert "the history has no copy; no grid; its rows are Parquet in" in found[0].what
        assert lost.name in found[1].what
    assert sorted((tmp_path / "runs" / "run-1").rglob("*")) == names


# Each needs other tables: rows alone, verdicts alone, stored summaries.
COUNTS = {
    "records": "SELECT run_id, count(*) AS n FROM records GROUP BY ALL ORDER BY ALL",
    "verdicts": "SELECT run_id, count(*) AS n FROM regressions GROUP BY ALL ORDER BY ALL",
    "ladder": "SELECT run_id, count(*) AS n FROM ladder GROUP BY ALL ORDER BY ALL",
    "committed": "SELECT run_id, count(*) AS n FROM committed GROUP BY ALL ORDER BY ALL",
    "cells": "SELECT run_id, count(*) AS n FROM cells GROUP BY ALL ORDER BY ALL",
    "nodes": "SELECT run_id, count(*) AS n FROM nodes GROUP BY ALL ORDER BY ALL",
}


VERDICT = storage.RegressionRow(
    "run-1", "static", "digits", "cpu", "node-a", "torch", "float32", 1, 1, None, None,
    "latency", "step", "ok",
)  # fmt: skip


def count_each(root: Path) -> dict[str, list[dict[str, object]]]:
    """The rows of each table and view, each in a statement of its own."""
    return {name: storage.query(root, sql).to_pylist() for name, sql in COUNTS.items()}


@pytest.fixture(params=[False, True], ids=["plain", "compacted"])
def noted(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A run with a node and verdicts, in the history or not."""
    write_run(tmp_path)
    with storage.RunStore.open(tmp_path, "run-1") as store:
        store.save_nodes([storage.NodeRow("run-1", "node-a", "cpu")])
        store.merge()
    storage.save_regressions(tmp_path, "run-1", [VERDICT])
    if request.param:
        storage.compact(tmp_path)
    return tmp_path


def test_a_copied_folder_doubles_no_row(noted: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is damaged, under its own name, whatever a statement needs; fsck and rm know it."""
    expected = count_each(noted)
    assert all(len(rows) == 1 for rows in expected.values())
    runs = noted / "runs"
    shutil.copytree(runs / "run-1", runs / "run-1-backup")
    assert count_each(noted) == expected
    assert caplog.text.count("run run-1-backup is left out") == len(COUNTS)
    assert "is of run run-1: the folder was copied or renamed" in caplog.text
    assert {run.run_id: run.status for run in storage.list_runs(noted)} == {
        "run-1": "done",
        "run-1-backup": "damaged",
    }
    with pytest.raises(storage.StorageError, match="run-1-backup cannot be read"):
        storage.query(noted, COUNTS["records"], run_ids=["run-1-backup"])
    with pytest.raises(storage.DamagedError, match="gfjobs rm run-1-backup"):
        storage.RunStore.open(noted, "run-1-backup")
    assert storage.compact(noted).left == {"run-1-backup": "damaged, see `gfjobs fsck`"}
    storage.remove_run(noted, storage.resolve_run(noted, "run-1-backup"))
    assert [folder.name for folder in runs.iterdir()] == ["run-1"]
    assert count_each(noted) == expected


def test_a_copied_folder_is_not_rebuilt(noted: Path) -> None:
    """The planner would give it a row of its own, and its rows would count twice."""
    expected = count_each(noted)
    runs = noted / "runs"
    shutil.copytree(runs / "run-1", runs / "run-1-backup")

    def plan(remains: storage.Remains) -> storage.Replanned:
        return storage.Replanned(storage.RunRow(remains.run_id, status="done"), ())

    for is_repair in (False, True):
        (problem,) = storage.fsck(noted, ["run-1-backup"], planner=plan, is_repair=is_repair)
        assert problem.what.startswith("its rows are of run run-1; run.parquet")
        assert "the folder was copied or renamed" in problem.what
        assert (problem.remedy, problem.is_repaired) == ("", False)
    # Nor with its row torn: whose folder it is, its rows say.
    (runs / "run-1-backup" / "run.parquet").write_bytes(b"PAR1")
    (problem,) = storage.fsck(noted, ["run-1-backup"], planner=plan, is_repair=True)
    assert problem.what.startswith("its rows are of run run-1; run.parquet")
    assert not problem.is_repaired
    assert count_each(noted) == expected


def test_a_renamed_folder_is_named_by_its_folder(noted: Path) -> None:
    """Renamed back, it is whole."""
    expected = count_each(noted)
    (noted / "runs" / "run-1").rename(noted / "runs" / "other")
    assert not any(count_each(noted).values())
    assert [(run.run_id, run.status) for run in storage.list_runs(noted)] == [("other", "damaged")]
    (noted / "runs" / "other").rename(noted / "runs" / "run-1")
    assert count_each(noted) == expected
    assert storage.fsck(noted) == []


@pytest.mark.parametrize("table", ["images", "training", "regressions"])
def test_a_copied_file_of_a_root_is_refused(build: Builder, table: str) -> None:
    """Its rows would count twice, and those of a join with it."""
    build.records(build.cell(), 3)
    build.store()
    of_images = {"dataset_sha256": "d0", "image_id": [0, 1, 2], "path": "a.png"}
    with storage.RunStore.open(build.root, "run-1") as store:
        store.save_images("d0", storage.build_table("images", of_images))
    training = dataclasses.replace(training_rows()[0], training_id="t")
    storage.TrainingLog(build.root, "t").write([training])
    storage.save_regressions(build.root, "run-1", [VERDICT])
    before = storage.query(build.root, f"FROM {table} ORDER BY ALL")
    Builder(build.root, "run-2").store()
    files = {
        "images": ("images/d0.parquet", "images/d0-old.parquet"),
        "training": ("training/t.parquet", "training/u.parquet"),
        "regressions": ("runs/run-1/regressions.parquet", "runs/run-2/regressions.parquet"),
    }
    source, copy = files[table]
    shutil.copy(build.root / source, build.root / copy)
    with pytest.raises(storage.StorageError, match=r"parquet has rows of \w+ .*would count twice"):
        storage.query(build.root, f"FROM {table} ORDER BY ALL")
    problems = [problem.what for problem in storage.fsck(build.root)]
    assert any(copy.rpartition("/")[2] in what for what in problems)
    (build.root / copy).unlink()
    assert storage.query(build.root, f"FROM {table} ORDER BY ALL") == before


@pytest.mark.parametrize("name", SMALL)
def test_a_small_table_of_another_run_is_damaged(noted: Path, name: str) -> None:
    """One file copied over: it is named, and taken back from the history if that has it."""
    expected = count_each(noted)
    write_run(noted, "run-2")
    with storage.RunStore.open(noted, "run-2") as store:
        store.save_nodes([storage.NodeRow("run-2", "node-b", "cpu")])
        store.merge()
    of_both = count_each(noted)
    is_compacted = (noted / "history").exists()
    shutil.copy(noted / "runs" / "run-2" / name, the_file(noted, name))
    if is_compacted:
        assert count_each(noted) == of_both
    else:
        for table, rows in count_each(noted).items():
            assert all(row in of_both[table] for row in rows), table
    problems = storage.fsck(noted, ["run-1"], is_repair=True)
    assert problems[0].what.startswith(f"{name}: cannot be read")
    assert "is of run run-2" in problems[0].what
    assert problems[0].is_repaired == is_compacted or name == "nodes.parquet"
    if is_compacted:
        assert count_each(noted) == of_both
    assert expected["records"][0] in of_both["records"]


@pytest.mark.parametrize("name", SMALL)
def test_a_history_is_not_wrong_about_a_damaged_table(tmp_path: Path, name: str) -> None:
    """A whole root is checked to its end, and the only copy is kept."""
    write_run(tmp_path)
    with storage.RunStore.open(tmp_path, "run-1") as store:
        store.save_nodes([storage.NodeRow("run-1", "node-a", "cpu")])
        store.merge()
    storage.compact(tmp_path)
    the_file(tmp_path, name).write_bytes(b"PAR1")
    assert [problem.run_id for problem in storage.fsck(tmp_path)] == ["run-1"]
    assert storage.fsck(tmp_path, is_repair=True)[0].is_repaired
    assert storage.fsck(tmp_path) == []
