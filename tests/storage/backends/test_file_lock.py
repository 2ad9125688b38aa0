"""The lease of a run folder, and locks of files: who has them, and what is said of it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.leaks import no_file_left

from storage.backends import file_lock
from storage.backends.file_lock import FileLease, HeldError, lease_holder, lock_holder, take_lock
from storage.errors import RunLockedError

HERE = f"process {os.getpid()} on {socket.gethostname()}"


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses, none of which is made."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


def test_a_lease_excludes_others_until_it_is_given_back(tmp_path: Path, slept: list[float]) -> None:
    """Within one process too; the error names the holder and the way out."""
    folder = tmp_path / "run-1"
    folder.mkdir()
    assert lease_holder(folder) is None
    lease = FileLease(folder)
    assert lease.is_held
    assert lease.since_ns == (folder / "lock").stat().st_mtime_ns
    assert lease_holder(folder) == HERE
    said = (
        f"run run-1 is being written by {HERE}; follow it with `gfjobs watch run-1`"
        ", or stop it with `gfjobs cancel run-1`"
    )
    with pytest.raises(RunLockedError, match=f"^{re.escape(said)}$"):
        FileLease(folder)
    assert slept == [file_lock._PAUSE_S] * (file_lock._ATTEMPTS - 1)
    lease.confirm()
    lease.release()
    assert not lease.is_held
    assert lease_holder(folder) is None
    lease.release()
    lease.confirm()
    FileLease(folder).release()


def test_the_first_handle_is_held_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without standard input gets the number 0."""
    lease = FileLease(tmp_path)
    handle = lease._handle
    closed: list[int] = []
    lease._handle = 0
    assert lease.is_held
    monkeypatch.setattr(file_lock, "_is_named", lambda *_: False)
    with pytest.raises(RunLockedError):
        lease.confirm()
    monkeypatch.setattr(os, "close", closed.append)
    lease.release()
    lease.release()
    monkeypatch.undo()
    assert closed == [0]
    os.close(handle)


def test_a_folder_that_is_gone_has_no_lease(tmp_path: Path) -> None:
    """It is not made."""
    with pytest.raises(FileNotFoundError):
        FileLease(tmp_path / "gone")
    assert lease_holder(tmp_path / "gone") is None


@pytest.mark.parametrize("replace", [False, True])
def test_a_lock_that_lost_its_name_is_told(tmp_path: Path, *, replace: bool) -> None:
    """Removed, or replaced by another file: this process writes nothing more."""
    folder = tmp_path / "run-1"
    folder.mkdir()
    lease = FileLease(folder)
    (folder / "lock").unlink()
    if replace:
        (folder / "lock").touch()
    said = (
        f"the lock of run run-1 ({folder / 'lock'}) was removed or replaced while it was held, so"
        " another process may be writing a run of that name; this process writes nothing more"
    )
    with pytest.raises(RunLockedError, match=f"^{re.escape(said)}$"):
        lease.confirm()
    assert lease.is_held, "until it is given back"
    lease.release()


def test_a_lock_says_who_has_it(tmp_path: Path) -> None:
    """As JSON in its file, in place of what was there; anybody may read it, one may write."""
    path = tmp_path / "lock"
    path.write_text("x" * 1000)
    handle = take_lock(path)
    assert json.loads(path.read_text()) == {"pid": os.getpid(), "host": socket.gethostname()}
    assert not os.get_inheritable(handle)
    os.close(handle)
    before = os.umask(0)
    try:
        os.close(take_lock(tmp_path / "new"))
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"pid": 1}', '{"host": "h"}'])
def test_a_holder_that_left_no_name(tmp_path: Path, slept: list[float], text: str) -> None:
    """Is another process."""
    path = tmp_path / "lock"
    handle = take_lock(path)
    path.write_text(text)
    assert lock_holder(path) == "another process"
    with pytest.raises(HeldError, match=r"^another process$"):
        take_lock(path)
    assert slept
    os.close(handle)


def test_a_reader_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lock is shared and gone at once; who meets it tries again, a moment later."""
    path = tmp_path / "lock"
    path.touch()
    reader = os.open(path, os.O_RDONLY)
    fcntl.flock(reader, fcntl.LOCK_SH)
    assert lock_holder(path) is None, "readers do not disturb each other"
    pauses: list[float] = []

    def leave(pause_s: float) -> None:
        pauses.append(pause_s)
        if len(pauses) == file_lock._ATTEMPTS - 1:
            os.close(reader)

    monkeypatch.setattr(time, "sleep", leave)
    handle = take_lock(path)
    assert len(pauses) == file_lock._ATTEMPTS - 1
    os.close(handle)


def test_a_file_that_was_removed_meanwhile_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock is given back, and the file of that name is locked instead."""
    path = tmp_path / "lock"
    lock, handles = file_lock._lock, []

    def after_a_removal(handle: int) -> None:
        lock(handle)
        handles.append(handle)
        if len(handles) == 1:
            path.unlink()

    monkeypatch.setattr(file_lock, "_lock", after_a_removal)
    with no_file_left():
        handle = take_lock(path)
        assert len(handles) == 2
        assert os.path.samestat(os.fstat(handle), path.stat())
        os.close(handle)


def _broken_truncation(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "ftruncate", fail)


def _held(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise BlockingIOError

    monkeypatch.setattr(fcntl, "flock", fail)


@pytest.mark.parametrize(("break_it", "error"), [(_broken_truncation, OSError), (_held, HeldError)])
def test_a_lock_that_fails_leaves_no_open_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    slept: list[float],
    break_it: Callable[[pytest.MonkeyPatch], None],
    error: type[Exception],
) -> None:
    """However it fails."""
    break_it(monkeypatch)
    with no_file_left(), pytest.raises(error):
        take_lock(tmp_path / "lock")
    assert len(slept) in (0, file_lock._ATTEMPTS - 1)
