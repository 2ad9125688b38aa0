"""The process of one night, so that its memory use and crashes do not affect the daemon."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import psutil

from jobs.common.errors import RunInterruptedError
from jobs.nightly.daemon import BUSY, STOP_S, Child, utc_now
from jobs.nightly.ledger import Ledger
from jobs.nightly.lock import BusyError, Lock
from jobs.nightly.night import run_night
from jobs.nightly.records import Night

KEPT_LOGS = 200
"""Number of log files to keep, the newest."""

REFUSAL = (
    "a night of this ledger is already running, and two at once would disturb each other: {owner}"
)


def start_night(ledger: Ledger, night: Night) -> subprocess.Popen[bytes]:
    """Start the process of a night, in a session of its own; its output goes to the night's log."""
    log = ledger.log_of(night)
    log.parent.mkdir(exist_ok=True)
    _forget_old(log.parent)
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", __name__, str(ledger.path), str(night.night_id)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def end(child: Child) -> None:
    """End the process of a night: by a signal first, then by killing it and its descendants."""
    below = []
    with contextlib.suppress(psutil.NoSuchProcess):
        below = psutil.Process(child.pid).children(recursive=True)
    child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(STOP_S)
        return
    for process in (*below, psutil.Process(child.pid)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    child.wait(STOP_S)


def run_night_process(ledger_path: str, night_id: str) -> int:
    """Run a night to its end unless another process does or did so; returns the exit code."""
    try:
        with (
            contextlib.closing(Ledger(Path(ledger_path))) as ledger,
            Lock(ledger.night_lock, REFUSAL),
        ):
            night = ledger.night(int(night_id))
            if night.state == "running":
                run_night(ledger, night, _say, utc_now)
    except BusyError as err:
        _say(str(err))
        return BUSY
    except RunInterruptedError as err:
        _say(f"run {err.run_id} was interrupted")
        return 1
    return 0


def _say(text: str) -> None:
    sys.stderr.write(f"{utc_now():%Y-%m-%dT%H:%M:%SZ} {text}\n")
    sys.stderr.flush()


def _forget_old(folder: Path) -> None:
    """Delete all logs except the newest."""
    logs = sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime)
    for path in logs[:-KEPT_LOGS]:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(run_night_process(*sys.argv[1:]))
