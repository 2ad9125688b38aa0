"""The ledger: one row a due time, and plain words where the file is not what it should be."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from jobs.common.errors import UsageError
from jobs.nightly.ledger import MAX_TEXT, Ledger, default_path
from jobs.nightly.records import Entry, NightOutcome

from .conftest import AUTUMN

HOUR = timedelta(hours=1)


def test_schedules_are_kept_replaced_and_removed(ledger: Ledger, entry: Entry) -> None:
    """By name, and across openings."""
    ledger.save_schedule(entry)
    ledger.save_schedule(replace(entry, name="Zweite", text="a"))
    ledger.save_schedule(replace(entry, name="Zweite", text="b"))
    again = Ledger(ledger.path)
    assert [(each.name, each.text) for each in again.schedules()] == [
        ("Zweite", "b"),
        ("nightly", entry.text),
    ]
    assert again.schedules()[1] == entry
    assert again.remove_schedule("nightly")
    assert not again.remove_schedule("nightly")
    assert [each.name for each in ledger.schedules()] == ["Zweite"]
    again.close()


def test_a_night_begins_and_ends_with_what_was_missed(ledger: Ledger, entry: Entry) -> None:
    """In one step; it keeps the schedule as it was then."""
    ledger.save_schedule(entry)
    missed = [AUTUMN + HOUR, AUTUMN + 2 * HOUR]
    night = ledger.begin(
        entry, AUTUMN + 3 * HOUR, "run", AUTUMN + 4 * HOUR, missed, note="2 missed", is_to_tell=True
    )
    assert (night.state, night.attempts, night.text) == ("running", 1, entry.text)
    assert ledger.schedules()[0].horizon == AUTUMN + 3 * HOUR
    assert [each.state for each in ledger.nights("nightly")] == ["running", "missed", "missed"]
    (told,) = ledger.to_tell(AUTUMN + 4 * HOUR)  # once for all that were missed
    assert (told.note, told.run_id) == ("2 missed", None)
    ended = ledger.end(
        night, NightOutcome("done", found="x" * 2 * MAX_TEXT), AUTUMN + 5 * HOUR, is_to_tell=False
    )
    assert ended.state == "done"
    assert len(ended.found or "") == MAX_TEXT
    assert ledger.running() == ()
    # Two processes that end one night: the first counts.
    ledger.end(night, NightOutcome("failed"), AUTUMN + 6 * HOUR, is_to_tell=True)
    assert ledger.night(night.night_id) == ended


def test_a_due_time_has_one_night(ledger: Ledger, entry: Entry) -> None:
    """Whoever writes; what failed in mid-step left nothing."""
    ledger.save_schedule(entry)
    ledger.begin(entry, AUTUMN, "run", AUTUMN)
    with pytest.raises(UsageError):
        ledger.begin(entry, AUTUMN, "other", AUTUMN, missed=[AUTUMN - HOUR])
    assert [night.run_id for night in ledger.nights()] == ["run"]
    assert ledger.due_times("nightly", AUTUMN - HOUR) == {AUTUMN}
    assert ledger.due_times("nightly", AUTUMN) == frozenset()


def test_telling_is_claimed_by_one(ledger: Ledger, entry: Entry) -> None:
    """And again where it failed, until nobody tries any more."""
    night = ledger.begin(entry, AUTUMN, "run", AUTUMN)
    ledger.end(night, NightOutcome("failed"), AUTUMN, is_to_tell=True)
    (night,) = ledger.to_tell(AUTUMN)
    assert ledger.claim(night, AUTUMN + HOUR)
    assert not ledger.claim(night, AUTUMN + HOUR)
    ledger.told(night, AUTUMN, "no mail")
    assert ledger.to_tell(AUTUMN) == ()
    (night,) = ledger.to_tell(AUTUMN + HOUR)
    assert (night.tells, night.tell_error) == (1, "no mail")
    assert ledger.claim(night, None)
    ledger.told(night, AUTUMN + HOUR, None)
    assert ledger.night(night.night_id).told_at == AUTUMN + HOUR
    assert ledger.to_tell(AUTUMN + 99 * HOUR) == ()


@pytest.mark.parametrize("damage", ["not a database", "cut", "overwritten"])
def test_a_damaged_file(damage: str, ledger: Ledger, entry: Entry) -> None:
    """Is named, with what is lost and what to do."""
    for number in range(40):
        ledger.save_schedule(replace(entry, name=f"s{number}", text=entry.text * 20))
    ledger.close()
    content = ledger.path.read_bytes()
    if damage == "cut":
        ledger.path.write_bytes(content[: len(content) // 2])
    elif damage == "overwritten":
        ledger.path.write_bytes(content[:4096] + b"\xff" * 8192 + content[12288:])
    else:
        ledger.path.write_text("name: nightly\n" * 100)
    with pytest.raises(UsageError, match=r"is damaged: .* Move the ledger away"):
        Ledger(ledger.path)


def test_a_later_version_and_another_program(ledger: Ledger, tmp_path: Path) -> None:
    """Neither is touched."""
    ledger.close()
    with sqlite3.connect(ledger.path) as database:
        database.execute("PRAGMA user_version = 7")
    database.close()
    with pytest.raises(UsageError, match=r"version 7, and this gfjobs knows version 1; update"):
        Ledger(ledger.path)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE bookmarks (url TEXT)")
    database.close()
    with pytest.raises(UsageError, match="database of another program"):
        Ledger(other)


def test_a_place_that_cannot_be(tmp_path: Path) -> None:
    """A file where a folder is needed, a folder where the file is."""
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be created"):
        Ledger(tmp_path / "file" / "nights.sqlite")
    with pytest.raises(UsageError, match="cannot be created: File name too long; choose another"):
        Ledger(tmp_path / ("a" * 300))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for there in (tmp_path, pipe):
        with pytest.raises(UsageError, match="is not a file; choose another"):
            Ledger(there)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "pipe"]


def test_where_it_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where programs of a user keep their state."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_path() == tmp_path / "gfjobs" / "nights.sqlite"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")  # which the specification ignores
    monkeypatch.setenv("HOME", "/home/lab")
    assert default_path() == Path("/home/lab/.local/state/gfjobs/nights.sqlite")


def test_a_clock_that_is_set_back(ledger: Ledger, entry: Entry) -> None:
    """What ran stays; what is still to come was not missed."""
    ledger.save_schedule(entry)
    missed = [AUTUMN + HOUR, AUTUMN + 2 * HOUR]
    ledger.begin(entry, AUTUMN + 3 * HOUR, "run", AUTUMN + 4 * HOUR, missed)
    assert not ledger.heed_clock(AUTUMN + 4 * HOUR)
    assert ledger.heed_clock(AUTUMN + 1.5 * HOUR)
    assert [night.due_at for night in ledger.nights()] == [AUTUMN + 3 * HOUR, AUTUMN + HOUR]
    assert ledger.schedules()[0].horizon == AUTUMN + 1.5 * HOUR
    ledger.begin(entry, AUTUMN + 2 * HOUR, "later", AUTUMN + 2 * HOUR)
    assert ledger.nights(entry.name, newest=1)[0].run_id == "later"
