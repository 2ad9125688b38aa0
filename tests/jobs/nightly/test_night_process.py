"""The process of one night: one at a time, and ended whatever it does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.processes import until_gone

from jobs.nightly import night_process
from jobs.nightly.daemon import BUSY
from jobs.nightly.ledger import Ledger
from jobs.nightly.lock import Lock
from jobs.nightly.records import Entry, NightOutcome

from .conftest import AUTUMN

STUBBORN = """\
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
below = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
print(below.pid, flush=True)
time.sleep(300)
"""


def test_a_night_that_another_process_is_at(
    ledger: Ledger, entry: Entry, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ends with a code of its own, and leaves the night alone."""
    night = ledger.begin(entry, AUTUMN, "nightly-1", AUTUMN)
    with Lock(ledger.night_lock, ""):
        assert night_process.run_night_process(str(ledger.path), str(night.night_id)) == BUSY
    assert f"process {os.getpid()} on" in capsys.readouterr().err
    assert ledger.night(night.night_id) == night


def test_a_night_that_has_ended_meanwhile(
    ledger: Ledger, entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Is not run again."""
    night = ledger.begin(entry, AUTUMN, "nightly-1", AUTUMN)
    ledger.end(night, NightOutcome("done"), AUTUMN, is_to_tell=False)
    monkeypatch.setattr(night_process, "run_night", None)
    assert night_process.run_night_process(str(ledger.path), str(night.night_id)) == 0


def test_a_process_that_heeds_no_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is killed, with all below it."""
    with subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        below = int(process.stdout.readline())
        monkeypatch.setattr(night_process, "STOP_S", 1)
        night_process.end(process)
        assert process.returncode == -signal.SIGKILL
    until_gone(below)


def test_old_logs_go(ledger: Ledger, entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest stay; what a night says is appended to its own."""
    monkeypatch.setattr(night_process, "KEPT_LOGS", 3)
    night = ledger.begin(entry, AUTUMN, "nightly-1", AUTUMN)
    ledger.end(night, NightOutcome("done"), AUTUMN, is_to_tell=False)
    folder = ledger.log_of(night).parent
    folder.mkdir()
    for number in range(5):
        path = folder / f"old-{number}.log"
        path.touch()
        os.utime(path, (number, number))
    process = night_process.start_night(ledger, night)
    assert process.wait(60) == 0
    names = sorted(path.name for path in Path(folder).iterdir())
    assert names == ["nightly-1.log", "old-2.log", "old-3.log", "old-4.log"]
