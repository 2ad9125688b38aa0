"""Telling: with a real program, which succeeds, fails, hangs, or is not there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from support.processes import until_gone

from jobs.nightly.ledger import Ledger
from jobs.nightly.lock import Lock
from jobs.nightly.notify import AGAIN_MINUTES, MAX_SAID_BYTES, notify_all
from jobs.nightly.records import Entry, Night, NightOutcome

from .conftest import AUTUMN

SH = "#!/bin/sh\n"


@pytest.fixture
def tell(tmp_path: Path, ledger: Ledger, entry: Entry) -> Callable[..., Night]:
    """A night of a schedule whose command is a script, ended and to be told."""

    def make(script: str, *arguments: str, **outcome: str) -> Night:
        program = tmp_path / "tell"
        program.write_text(SH + script)
        program.chmod(0o755)
        words = ", ".join(f"'{word}'" for word in ("./tell", *arguments))
        text = f"{entry.text}notify: {{command: [{words}]}}\n"
        night = ledger.begin(replace(entry, text=text), AUTUMN, "nightly-1", AUTUMN)
        fields = {"state": "regression", **outcome}
        return ledger.end(night, NightOutcome(**fields), AUTUMN, is_to_tell=True)

    return make


def test_the_facts_reach_the_command(
    tell: Callable[..., Night], ledger: Ledger, tmp_path: Path
) -> None:
    """As variables, as a text, and nothing of it as a program of a shell."""
    evil = "$(touch evil) `touch evil`; touch evil\n\x1b[31mred"
    night = tell(
        'env > facts; cat > text; printf "%s\\n" "$@" > words\n',
        "$HOME; touch evil",
        note=evil,
        found="the table\n",
        report="/r.html",
    )
    said: list[str] = []
    notify_all(ledger, AUTUMN, said.append)
    assert said == ["nightly, regression: notified"]
    assert ledger.night(night.night_id).told_at == AUTUMN
    facts = (tmp_path / "facts").read_text().splitlines()
    assert "GFJOBS_SCHEDULE=nightly" in facts
    assert "GFJOBS_STATE=regression" in facts
    assert "GFJOBS_DUE=2026-10-20T12:00:00+00:00" in facts
    assert "GFJOBS_RUN=nightly-1" in facts
    assert f"GFJOBS_RESULTS={tmp_path / 'results'}" in facts
    assert "GFJOBS_REPORT=/r.html" in facts
    assert (tmp_path / "words").read_text() == "$HOME; touch evil\n"
    assert (tmp_path / "text").read_text() == (
        "nightly: regression\n"
        "due 2026-10-20 14:00 Europe/Berlin\n"
        f"run nightly-1 in {tmp_path / 'results'}\n"
        "$(touch evil) `touch evil`; touch evil\n\\x1b[31mred\n"
        "report: /r.html\n"
        "\nthe table\n"
    )
    assert not (tmp_path / "evil").exists()
    notify_all(ledger, AUTUMN + timedelta(days=1), said.append)
    assert len(said) == 1


def test_a_command_that_never_stops_talking_is_ended(
    tell: Callable[..., Night], ledger: Ledger
) -> None:
    """What it said at first is kept, and no disk is filled."""
    night = tell("exec yes words\n")
    said: list[str] = []
    notify_all(ledger, AUTUMN, said.append)
    assert f"wrote more than {MAX_SAID_BYTES:,} bytes; next try when" in said[0]
    log = ledger.log_of(night)
    assert log.stat().st_size == MAX_SAID_BYTES
    assert log.read_text().startswith("words\nwords\n")


def test_a_command_that_fails_is_tried_again_and_given_up(
    tell: Callable[..., Night], ledger: Ledger, tmp_path: Path
) -> None:
    """Later and later; each time with what it said, in the log and in the ledger."""
    night = tell("echo tried >> tries; echo no route to host >&2; exit 4\n")
    said: list[str] = []
    now = AUTUMN
    for _ in range(10):
        notify_all(ledger, now, said.append)
        notify_all(ledger, now, said.append)  # not yet again
        now += timedelta(hours=5)
    tries = (tmp_path / "tries").read_text().splitlines()
    assert len(tries) == len(said) == 1 + len(AGAIN_MINUTES)
    assert "tell exited with 4; its last output: no route to host; next try when" in said[0]
    assert "given up" in said[-1]
    night = ledger.night(night.night_id)
    assert night.told_at is None
    assert "no route to host" in (night.tell_error or "")


def test_when_it_is_tried_again_depends_on_a_scheduler(
    tell: Callable[..., Night], ledger: Ledger
) -> None:
    """`schedule run` ends and tries nothing later: the daemon does, where one is."""
    tell("exit 4\n")
    said: list[str] = []
    notify_all(ledger, AUTUMN, said.append)
    assert said[0].endswith("; next try when a scheduler runs (`gfjobs scheduler`)")
    with Lock(ledger.daemon_lock, ""):
        notify_all(ledger, AUTUMN + timedelta(minutes=1), said.append)
    assert said[1].endswith("; next try after 5 min")


def test_a_command_that_fails_once(
    tell: Callable[..., Night], ledger: Ledger, tmp_path: Path
) -> None:
    """Is told a minute later."""
    night = tell("test -e up\n")
    notify_all(ledger, AUTUMN, lambda _: None)
    (tmp_path / "up").touch()
    notify_all(ledger, AUTUMN + timedelta(minutes=1), lambda _: None)
    assert ledger.night(night.night_id).told_at == AUTUMN + timedelta(minutes=1)


def test_a_command_that_hangs_is_ended_with_what_it_started(
    tell: Callable[..., Night], ledger: Ledger, tmp_path: Path
) -> None:
    """After its time; also a child that keeps its output open."""
    tell("sleep 300 & echo $! > pid; wait\n")
    said: list[str] = []
    began_s = time.monotonic()
    notify_all(ledger, AUTUMN, said.append, limit_s=1)
    assert time.monotonic() - began_s < 30
    assert "did not end within 1 s" in said[0]
    pid = int((tmp_path / "pid").read_text())
    until_gone(pid)


def test_a_command_that_is_gone(tell: Callable[..., Night], ledger: Ledger, tmp_path: Path) -> None:
    """Is an error as any."""
    tell("")
    (tmp_path / "tell").unlink()
    said: list[str] = []
    notify_all(ledger, AUTUMN, said.append)
    assert "tell: No such file or directory; next try when" in said[0]


def test_two_processes_tell_once(tell: Callable[..., Night], ledger: Ledger) -> None:
    """The daemon and `schedule run` may wake at one time."""
    tell("")
    other = Ledger(ledger.path)
    (night,) = other.to_tell(AUTUMN)
    assert other.claim(night, AUTUMN + timedelta(minutes=1))
    said: list[str] = []
    notify_all(ledger, AUTUMN, said.append)
    assert said == []
    other.close()
