"""Locks beside the ledger."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import storage
from jobs.common.errors import UsageError
from jobs.nightly.lock import BusyError, Lock

HOLD = """\
import sys, time
from pathlib import Path
from jobs.nightly.lock import Lock
with Lock(Path(sys.argv[1]), "{owner}"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_another_process_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    """Until that one dies, however it dies."""
    path = tmp_path / "x.daemon"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(BusyError, match=rf"^taken by process {other.pid} on \S+$"):
            Lock(path, "taken by {owner}").__enter__()
        assert storage.lock_holder(path) is not None
        os.kill(other.pid, signal.SIGKILL)
    with Lock(path, "taken"):
        assert (storage.lock_holder(path) or "").startswith(f"process {os.getpid()} on ")
    assert storage.lock_holder(path) is None
    assert path.exists()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """Is said."""
    with pytest.raises(UsageError, match="cannot be locked: No such file"):
        Lock(tmp_path / "no" / "x", "taken").__enter__()
    assert storage.lock_holder(tmp_path / "no" / "x") is None
