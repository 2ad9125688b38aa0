"""A run whose small tables are damaged: readers of the others go on, and name it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

import storage
import storage.backends
import storage.tables.parquet
from storage.tables.records import table_to_rows
from tests.storage.conftest import ask
from tests.storage.one_run import damage, the_file, whole, write_run

pytestmark = pytest.mark.usefixtures("short_ladder")

DAMAGES: dict[str, Callable[[Path], object]] = {
    "run torn": lambda root: the_file(root, "run.parquet").write_bytes(b"PAR1"),
    "cells torn": lambda root: the_file(root, "cells.parquet").write_bytes(b"PAR1"),
    "a bit of the cells": lambda root: damage(the_file(root, "cells.parquet")),
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
