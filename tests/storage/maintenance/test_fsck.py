"""fsck: it finds nothing in what is whole, names what is wrong, and repairs what can be."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import storage
import storage.backends
import storage.tables.parquet
from tests.storage.one_run import Made, change_stored, copied, damage, the_file, whole, write_run

pytestmark = pytest.mark.usefixtures("short_ladder")


def double_rows(root: Path) -> None:
    """The rows of a merged file once more, in a manifest that nothing wrote."""
    manifest = the_file(root, "commits/merged-*")
    content = json.loads(manifest.read_bytes())
    content |= {"summary": None, "files": {"records": content["files"]["records"]}}
    (manifest.parent / "stray.json").write_text(json.dumps(content | {"supersedes": []}))


FAULTS: dict[str, tuple[Callable[[Path], object], bool, str, bool]] = {
    # What happens, to a merged run or not, what is said, whether rows must be run again.
    "a bit of rows": (lambda r: damage(the_file(r, "data/records-*")), True, "SHA-256", True),
    "a bit of a pass": (lambda r: damage(the_file(r, "data/exits-*")), True, "SHA-256", True),
    "rows of rounds gone": (
        lambda r: the_file(r, "data/rounds-*").unlink(),
        True,
        "is missing",
        True,
    ),
    "commits gone": (lambda r: the_file(r, "data/commits-*").unlink(), True, "is missing", True),
    "a shard gone": (lambda r: the_file(r, "data/records-*").unlink(), False, "is missing", True),
    "a bit of a shard": (lambda r: damage(the_file(r, "data/exits-*")), False, "SHA-256", True),
    "a torn manifest": (lambda r: the_file(r, "commits/*").write_text("{"), False, "read", True),
    "the manifest": (lambda r: the_file(r, "commits/*").write_text("{"), True, "read", False),
    "a manifest gone": (lambda r: the_file(r, "commits/*").unlink(), False, "no manifest", True),
    "an orphan": (
        lambda r: (the_file(r, "data") / "x").write_text("?"),
        True,
        "no manifest",
        False,
    ),
    "a bit of the ladder": (lambda r: damage(the_file(r, "data/ladder*")), True, "SHA-256", False),
    "the ladder gone": (lambda r: the_file(r, "data/ladder*").unlink(), True, "is missing", False),
    "a wrong ladder": (change_stored, True, "does not match the rows", False),
    "doubled rows": (double_rows, True, "names them too", False),
    "a manifest copied": (
        lambda r: shutil.copy(the_file(r, "commits/*"), the_file(r, "commits") / "copy.json"),
        True,
        "names them too",
        False,
    ),
    "a shard's manifest copied": (
        lambda r: shutil.copy(the_file(r, "commits/*"), the_file(r, "commits") / "a.json"),
        False,
        "names them too",
        False,
    ),
}


def test_nothing_is_found_in_what_is_whole(tmp_path: Path) -> None:
    """Merged and not, compacted, empty, interrupted; progress is told."""
    assert storage.fsck(tmp_path) == []
    write_run(tmp_path)
    write_run(tmp_path, "run-2", is_merged=False)
    told: list[tuple[str, int, int]] = []
    assert storage.fsck(tmp_path, None, lambda *step: told.append(step)) == []
    assert told == [("run-1", 1, 2), ("run-2", 2, 2)]
    storage.compact(tmp_path)
    assert storage.fsck(tmp_path) == []
    assert storage.fsck(tmp_path, is_repair=True) == []
    with storage.RunStore.open(tmp_path, "run-1") as store:
        store.save_run(dataclasses.replace(store.run, status="running"))
        assert storage.fsck(tmp_path) == []
    assert storage.fsck(tmp_path) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_repaired_and_run_again(
    made: dict[bool, Made], tmp_path: Path, fault: str
) -> None:
    """Checking changes nothing; after the repair nothing is wrong; a resume gives all again."""
    act, is_merged, said, is_rerun = FAULTS[fault]
    root, expected = copied(made[is_merged], tmp_path)
    act(root)
    names = sorted(root.rglob("*"))
    found = storage.fsck(root)
    assert {problem.run_id for problem in found} == {"run-1"}
    assert any(said in problem.what for problem in found), found
    assert sorted(root.rglob("*")) == names
    repaired = storage.fsck(root, is_repair=True)
    assert repaired
    assert all(problem.is_repaired for problem in repaired)
    # The manifest of a merge is made again from its files, so a resume then finds nothing to do.
    assert any(problem.is_resumed for problem in repaired) == (is_rerun or fault == "the manifest")
    assert storage.fsck(root) == []
    left = whole(root)
    assert (left != expected) == is_rerun
    (run,) = storage.list_runs(root)
    assert run.status == ("failed" if is_rerun else "done")
    if is_rerun:
        assert "queued" in {cell["status"] for cell in left["cells"]}
        write_run(root, is_resumed=True, is_merged=is_merged)
        assert whole(root) == expected
        assert storage.fsck(root) == []


def test_a_copied_manifest_doubles_no_row(made: dict[bool, Made], tmp_path: Path) -> None:
    """A run in which two manifests name one file is left out of answers, by name."""
    for is_merged in (False, True):
        root, expected = copied(made[is_merged], tmp_path / str(is_merged))
        shutil.copy(the_file(root, "commits/*"), the_file(root, "commits") / "copy.json")
        assert not any(whole(root).values())
        with pytest.raises(storage.DamagedError, match=r"copy\.json .* names .* too.*gfjobs fsck"):
            storage.query(root, "FROM records", run_ids=["run-1"])
        (problem,) = storage.fsck(root, is_repair=True)
        assert problem.is_repaired
        assert whole(root) == expected


def test_a_fault_of_one_run_is_none_of_another(merged: Made) -> None:
    """Nor is the other repaired, and each can be looked at by itself."""
    root = merged.root
    write_run(root, "run-2", is_merged=False)
    other = {file: file.read_bytes() for file in (root / "runs/run-2").rglob("*.*")}
    damage(the_file(root, "data/records-*"))
    assert {problem.run_id for problem in storage.fsck(root)} == {"run-1"}
    assert storage.fsck(root, ["run-2"]) == []
    assert {problem.run_id for problem in storage.fsck(root, ["run-1"], is_repair=True)} == {
        "run-1"
    }
    assert {run.run_id: run.status for run in storage.list_runs(root)} == {
        "run-1": "failed",
        "run-2": "done",
    }
    assert {file: file.read_bytes() for file in (root / "runs/run-2").rglob("*.*")} == other


def test_a_wrong_state_is_put_right(merged: Made) -> None:
    """A cell that says more than was committed waits for a resume."""
    tmp_path = merged.root
    with storage.RunStore.open(tmp_path, "run-1") as store:
        store.save_cells([dataclasses.replace(store.cells[0], rows=999), *store.cells[1:]])
    (problem,) = storage.fsck(tmp_path)
    assert "says done with 999 rows, but 18 exist" in problem.what
    assert storage.fsck(tmp_path, is_repair=True)[0].is_repaired
    rows = storage.query(tmp_path, "SELECT status, rows FROM cells ORDER BY position").to_pylist()
    assert rows[0] == {"status": "queued", "rows": 18}
    assert rows[1]["status"] == "done"
    assert storage.fsck(tmp_path) == []


def test_images_other_than_committed_are_named(tmp_path: Path) -> None:
    """The counts of rows and of commits must agree."""
    write_run(tmp_path, is_merged=False)
    manifest = the_file(tmp_path, "commits/latency*")
    content = json.loads(manifest.read_bytes())
    content["entries"][0]["rows"] = 5
    manifest.write_text(json.dumps(content))
    (problem,) = storage.fsck(tmp_path)
    assert "records has 18 images of round 0, but 17 are committed" in problem.what


def test_what_cannot_be_repaired_says_so(merged: Made) -> None:
    """Without its cells a run is not repaired, and stays as it is."""
    tmp_path = merged.root
    damage(the_file(tmp_path, "cells.parquet"))
    the_file(tmp_path, "cells.parquet").write_bytes(b"PAR1")
    names = sorted(tmp_path.rglob("*"))
    for is_repair in (False, True):
        (problem,) = storage.fsck(tmp_path, is_repair=is_repair)
        assert "cells.parquet" in problem.what
        assert "it cannot be rebuilt: the history has no copy" in problem.what
        assert (problem.remedy, problem.is_repaired) == ("", False)
    assert sorted(tmp_path.rglob("*")) == names


def test_a_damaged_history_goes(merged: Made) -> None:
    """It is a copy: nothing is lost, and compacting makes it again."""
    tmp_path, expected = merged
    for act in (
        lambda: damage(next(iter((tmp_path / "history").glob("ladder-*")))),
        lambda: next(iter((tmp_path / "history").glob("cells-*"))).unlink(),
        lambda: (tmp_path / "history" / "index.json").write_text("{}"),
    ):
        storage.compact(tmp_path)
        act()
        (problem,) = storage.fsck(tmp_path)
        assert problem.run_id is None
        assert "history" in problem.what
        assert storage.fsck(tmp_path, is_repair=True)[0].is_repaired
        assert whole(tmp_path) == expected
        assert storage.fsck(tmp_path) == []


def test_a_foreign_file_is_named(merged: Made) -> None:
    """One of ours in the wrong folder, by fsck and by whoever asks."""
    tmp_path = merged.root
    (tmp_path / "training").mkdir()
    stray = tmp_path / "training" / "stray.parquet"
    stray.write_bytes(the_file(tmp_path, "cells.parquet").read_bytes())
    (problem,) = storage.fsck(tmp_path)
    assert str(stray) in problem.what
    with pytest.raises(
        storage.StorageError, match=r"stray\.parquet is not a file of the table `training`"
    ):
        storage.query(tmp_path, "FROM training")
    assert storage.query(tmp_path, "FROM ladder").num_rows > 0


@pytest.fixture
def killed_merge(merged: Made, monkeypatch: pytest.MonkeyPatch) -> Made:
    """A merged run; of another merge after it all files are there, and no manifest."""
    with storage.RunStore.open(merged.root, "run-1") as store, monkeypatch.context() as patch:
        patch.setattr("storage.runs.merge.publish_manifest", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.discard(["nothing"])
    return merged


def test_a_damaged_merge_is_made_again_beside_the_files_of_a_killed_one(killed_merge: Made) -> None:
    """The files that carry its name are its own."""
    root, expected = killed_merge
    assert len(list((root / "runs/run-1/data").glob("commits-*"))) == 2
    the_file(root, "commits/*").write_text("{")
    problems = storage.fsck(root, is_repair=True)
    assert all(problem.is_repaired for problem in problems), problems
    assert whole(root) == expected
    assert storage.fsck(root) == []


def test_a_damaged_merge_made_again_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before it took away what it superseded, which the damaged manifest does not say."""
    with monkeypatch.context() as patch:
        patch.setattr("storage.runs.merge.remove_leftovers", lambda *_: None)
        write_run(tmp_path)
    expected = whole(tmp_path)
    the_file(tmp_path, "commits/merged-*").write_text("{")
    for _ in range(2):
        storage.fsck(tmp_path, is_repair=True)
        assert whole(tmp_path) == expected
    assert storage.fsck(tmp_path) == []


def test_an_orphan_of_a_day_to_come_goes_too(merged: Made) -> None:
    """The clock was set back since."""
    tmp_path = merged.root
    orphan = tmp_path / "runs/run-1/data/orphan"
    orphan.write_text("?")
    later = orphan.stat().st_mtime + 400 * 24 * 3600
    os.utime(orphan, (later, later))
    assert [each.is_repaired for each in storage.fsck(tmp_path, is_repair=True)] == [True]
    assert not orphan.exists()


def test_what_stays_is_not_said_to_be_repaired(
    merged: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on an object store, where what nothing names may still be named for a day."""
    tmp_path = merged.root
    (tmp_path / "runs/run-1/data/orphan").write_text("?")
    monkeypatch.setattr("storage.backends.local.LocalBackend.is_abandoned", lambda *_: False)
    assert [each.is_repaired for each in storage.fsck(tmp_path, is_repair=True)] == [False]


def test_a_file_that_is_listed_and_not_there_is_named(tmp_path: Path) -> None:
    """A dangling link is no run that keeps changing."""
    write_run(tmp_path, is_merged=False)
    manifest = the_file(tmp_path, "commits/*")
    manifest.unlink()
    manifest.symlink_to("nowhere")
    for is_repair in (False, True):
        problem, orphan = storage.fsck(tmp_path, is_repair=is_repair)
        assert f"commits/{manifest.name}: cannot be read" in problem.what
        assert "no manifest names it" in orphan.what
        assert problem.is_repaired is orphan.is_repaired is is_repair
    assert not manifest.is_symlink(), "the link itself was deleted"
