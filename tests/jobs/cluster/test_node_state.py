"""Where Ray keeps its sessions: a folder of this user's own, short enough for its sockets."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from jobs.cluster.node_state import MAX_RAY_FOLDER, RAY_FOLDER, ray_folder
from jobs.common.errors import JobsError, UsageError

OWN = f"gfjobs-{os.getuid()}"


@pytest.fixture(autouse=True)
def _none_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RAY_FOLDER, raising=False)


def test_it_is_closed_to_other_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the temporary directory; Ray's own would be open to all."""
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        monkeypatch.setattr(tempfile, "tempdir", base)
        folder = ray_folder()
        assert folder == Path(base) / OWN
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_long_temporary_directory_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm's are of 91 characters: Ray ended with a traceback."""
    long = tmp_path / ("a" * 60)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    assert ray_folder() == Path("/tmp") / OWN  # noqa: S108
    assert list(long.iterdir()) == []


def test_a_folder_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts as it is; one that no socket fits in is refused with what to do."""
    monkeypatch.setenv(RAY_FOLDER, "/dev/shm")  # noqa: S108
    assert ray_folder() == Path("/dev/shm")  # noqa: S108
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        given = f"{base}/".ljust(MAX_RAY_FOLDER, "a")
        monkeypatch.setenv(RAY_FOLDER, given)
        assert ray_folder() == Path(given)
        assert not Path(given).exists()
    monkeypatch.setenv(RAY_FOLDER, given + "a")
    with pytest.raises(UsageError, match=r"is 37 bytes long, .* room for 36: set RAY_TMPDIR"):
        ray_folder()


def test_a_folder_that_cannot_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray ended with a traceback."""
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        Path(base, "file").touch()
        for given in (f"{base}/file", f"{base}/file/x"):
            monkeypatch.setenv(RAY_FOLDER, given)
            with pytest.raises(UsageError, match=rf"^\$RAY_TMPDIR is {given}, .* not a folder"):
                ray_folder()


def test_a_temporary_directory_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said in one line."""
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(JobsError, match=r"/nowhere/gfjobs-.* cannot be created: No such"):
        ray_folder()
