"""Notifications: runs the command that a schedule names with the facts of a night."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

import storage
from jobs.common.errors import BadInputError
from jobs.common.formatting import format_duration
from jobs.common.text import ShowText, escape_controls
from jobs.common.yaml_document import Document
from jobs.nightly.ledger import Ledger
from jobs.nightly.records import Night
from jobs.nightly.schedule import Schedule, read_schedule

LIMIT_S = 60.0
"""Time limit of the command; then it is killed, with all that it started in its session."""

MAX_SAID_BYTES = 100_000
"""Most output of the command, kept in the night's log; a command that writes more is killed."""

_POLL_S = 0.1

AGAIN_MINUTES = (1, 5, 15, 60, 240)
"""Waits before each further try after a failure; after the last one there is no further try."""

_WITHOUT_SCHEDULER = "when a scheduler runs (`gfjobs scheduler`)"


def notify_all(
    ledger: Ledger, now: datetime, say: ShowText, limit_s: float = LIMIT_S, only: int | None = None
) -> None:
    """Send all notifications that are due; a later call retries those that fail.

    Each is claimed in the ledger first, so that two processes do not both send it. After a kill
    while the command runs, a notification may be sent twice.

    Args:
        ledger: the nights.
        now: the time of day.
        say: shows the result of each to the user.
        limit_s: time limit of each command.
        only: the id of the only night to notify about; None: all nights.
    """
    for night in ledger.to_tell(now):
        if only not in (None, night.night_id):
            continue
        left = AGAIN_MINUTES[night.tells : night.tells + 1]
        again_at = now + timedelta(minutes=left[0]) if left else None
        if not ledger.claim(night, again_at):
            continue
        error = _tell(ledger, night, limit_s)
        ledger.told(night, now, error)
        about = f"{night.schedule}, {night.state}"
        if error is None:
            say(f"{about}: notified")
        elif again_at:
            # Another process may have to retry: `schedule run` ends after this.
            is_waited_for = storage.lock_holder(ledger.daemon_lock) is not None
            when = f"after {left[0]} min" if is_waited_for else _WITHOUT_SCHEDULER
            say(f"{about}: notification failed: {error}; next try {when}")
        else:
            say(f"{about}: notification failed: {error}; given up")


def _tell(ledger: Ledger, night: Night, limit_s: float) -> str | None:
    """Run the notify command of a night's schedule; returns why it failed, None if it did not."""
    try:
        schedule = read_schedule(Document(Path(night.path), night.text), night.results)
    except BadInputError as err:
        return str(err)
    if schedule.notify is None:
        return "its schedule names no command"
    words = [schedule.notify.program(schedule.base), *schedule.notify.command[1:]]
    log = ledger.log_of(night)
    log.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryFile() as text, log.open("ab") as output:
        most_bytes = output.tell() + MAX_SAID_BYTES
        # A file, not a pipe: the program need not read it, and only the program is waited for.
        text.write(compose_message(night, schedule).encode())
        text.seek(0)
        try:
            process = subprocess.Popen(
                words,
                stdin=text,
                stdout=output,
                stderr=output,
                cwd=schedule.base,
                env=os.environ | collect_facts(night, schedule),
                start_new_session=True,
            )
        except OSError as err:
            return f"{words[0]}: {err.strerror}"
        deadline_s = time.monotonic() + limit_s
        try:
            while (code := process.poll()) is None:
                if time.monotonic() > deadline_s:
                    return f"{words[0]} did not end within {format_duration(limit_s)}"
                if log.stat().st_size > most_bytes:
                    return f"{words[0]} wrote more than {MAX_SAID_BYTES:,} bytes"
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL_S)
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if log.stat().st_size > most_bytes:
                os.truncate(log, most_bytes)
    return f"{words[0]} exited with {code}; its last output: {_end_of(log)}" if code else None


def collect_facts(night: Night, schedule: Schedule) -> dict[str, str]:
    """Environment variables for the command; those without a value are empty."""
    return {
        "GFJOBS_SCHEDULE": night.schedule,
        "GFJOBS_STATE": night.state,
        "GFJOBS_DUE": night.due_at.isoformat(timespec="seconds"),
        "GFJOBS_RUN": night.run_id or "",
        "GFJOBS_RESULTS": str(schedule.results),
        "GFJOBS_NOTE": escape_controls(night.note or "").replace("\n", " "),
        "GFJOBS_REPORT": night.report or "",
    }


def compose_message(night: Night, schedule: Schedule) -> str:
    """The text on the command's standard input."""
    due = night.due_at.astimezone(schedule.calendar.zone)
    lines = [
        f"{night.schedule}: {night.state}",
        f"due {due:%Y-%m-%d %H:%M} {schedule.calendar.zone.key}",
    ]
    if night.run_id:
        lines.append(f"run {night.run_id} in {schedule.results}")
    if night.note:
        lines.append(night.note)
    if night.report:
        lines.append(f"report: {night.report}")
    if night.found:
        lines += ["", night.found.rstrip("\n")]
    return escape_controls("\n".join(lines) + "\n")


def _end_of(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return escape_controls(lines[-1][-200:]) if lines else "nothing"
