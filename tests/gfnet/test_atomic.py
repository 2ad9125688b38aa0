"""Files that are replaced whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gfnet.atomic import replace_file

KILLED = """
import os, signal, sys
from pathlib import Path
from gfnet import atomic
atomic.os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
atomic.replace_file(Path(sys.argv[1]), b"new")
"""


def test_a_kill_leaves_the_old_content_and_the_next_write_clears_up(tmp_path: Path) -> None:
    """What another file's writer left stays: it may be one that lives."""
    path, other = tmp_path / "state", tmp_path / f".other.host.{os.getpid()}.tmp"
    other.touch()
    replace_file(path, b"old")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert killed.returncode < 0
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 3
    replace_file(path, b"newer")
    assert path.read_bytes() == b"newer"
    assert sorted(tmp_path.iterdir()) == sorted([path, other])


def test_an_attempt_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old content stands."""
    path = tmp_path / "state"
    replace_file(path, b"old")

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space left"):
        replace_file(path, b"new")
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"old"]


def test_a_link_stays_and_what_it_points_at_is_replaced(tmp_path: Path) -> None:
    """Also where that is not there yet."""
    (tmp_path / "there").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "there" / "state")
    for content in (b"first", b"second"):
        replace_file(link, content)
        assert link.is_symlink()
        assert (tmp_path / "there" / "state").read_bytes() == content


def test_a_pipe_is_written_to_and_a_folder_is_refused(tmp_path: Path) -> None:
    """Neither a device nor a pipe becomes a file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE) as reader:
        replace_file(pipe, b"through")
        assert reader.communicate(timeout=60)[0] == b"through"
    assert pipe.is_fifo()
    with pytest.raises(IsADirectoryError):
        replace_file(tmp_path, b"new")


def test_what_a_living_process_writes_stays(tmp_path: Path) -> None:
    """Two write the same file: each has its own temporary, and the last one stands."""
    path = tmp_path / "state"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as living:
        replace_file(path, b"mine")
        theirs = tmp_path / f".state.{_host()}.{living.pid}.tmp"
        theirs.write_bytes(b"theirs")
        replace_file(path, b"mine again")
        assert theirs.exists()
        living.communicate(b"\n")
    replace_file(path, b"mine")
    assert not theirs.exists()


def _host() -> str:
    from gfnet import atomic

    return atomic._HOST
