"""Symbolic links, pipes and devices among results, logs and replays: nothing outside is written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import storage
from jobs.common.errors import BadInputError
from jobs.machine.power.meter_log import read_log
from jobs.machine.power.replay import Replay
from jobs.nightly.ledger import Ledger


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A results root with a run that has ended."""
    row = storage.RunRow(run_id="r", name="r")
    storage.RunStore.create(tmp_path / "root", row, [], {"grid": "a grid"}).close()
    return tmp_path / "root"


def _write(root: Path, how: str) -> None:
    """What takes the lease of a run."""
    if how == "resume":
        storage.RunStore.open(root, "r").close()
    elif how == "rm":
        storage.remove_run(root, "r")
    else:
        storage.fsck(root, is_repair=True)


@pytest.mark.parametrize("how", ["resume", "rm", "fsck"])
@pytest.mark.parametrize("name", ["lock", "data", "commits", "driver.log"])
def test_no_link_out_of_a_root_is_followed(root: Path, how: str, name: str) -> None:
    """`lock` as a link: the file behind it was emptied, and the lock's JSON written there."""
    outside = root.parent / "outside"
    entry = root / "runs" / "r" / name
    if entry.is_dir():
        entry.rename(outside)
    else:
        outside.write_text("precious")
        entry.unlink(missing_ok=True)
    entry.symlink_to(outside)
    before = sorted(outside.iterdir()) if outside.is_dir() else outside.read_text()
    if how == "fsck" and name != "lock":
        assert storage.fsck(root, is_repair=True) == [], "nothing is wrong, and nothing written"
    else:
        with pytest.raises(storage.StorageError, match="is a symbolic link"):
            _write(root, how)
    assert before == (sorted(outside.iterdir()) if outside.is_dir() else outside.read_text())
    assert entry.is_symlink()


def test_what_is_read_is_a_file_of_the_root(root: Path) -> None:
    """A link is refused, and a pipe is not waited for."""
    cells = root / "runs" / "r" / "cells.parquet"
    for make, status in ((lambda path: path.symlink_to(cells), ["damaged"]), (os.mkfifo, [])):
        file = root / "runs" / "r" / "run.parquet"
        file.unlink(missing_ok=True)
        make(file)
        assert [run.status for run in storage.list_runs(root)] == status
        file.unlink()


@pytest.mark.parametrize("kind", ["pipe", "device", "large"])
def test_logs_and_replays_are_files_of_a_bounded_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A pipe was waited for, and /dev/zero took all memory."""
    path = tmp_path / "log.csv"
    words = "not a regular file"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    else:
        path.write_text("time,watts\n" + "1795593601,9\n" * 100)
        words = "more than 100 bytes"
        monkeypatch.setattr("jobs.machine.power.meter_log.MAX_LOG_BYTES", 100)
        monkeypatch.setattr("jobs.machine.power.replay.MAX_BYTES", 100)
    with pytest.raises(BadInputError, match=words):
        read_log(path)
    with pytest.raises(BadInputError, match=words):
        Replay(path)


def test_the_ledger_is_of_this_user_alone(tmp_path: Path) -> None:
    """It holds the texts of schedules; one of before is closed."""
    path = tmp_path / "nights.sqlite"
    for _ in range(2):
        Ledger(path).close()
        assert path.stat().st_mode & 0o777 == 0o600
        path.chmod(0o644)
