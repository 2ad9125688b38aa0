"""Missed nights of a results root, for the overview of its site."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from jobs.nightly.ledger import Ledger
from jobs.nightly.missed import LATELY, missed_here, missed_nights
from jobs.nightly.records import Entry, NightOutcome
from tests.jobs.nightly.conftest import AUTUMN

DAY = timedelta(days=1)


def miss(ledger: Ledger, entry: Entry, *moments: datetime) -> None:
    """Record these due times as missed, and a night after them that ended well."""
    ledger.save_schedule(entry)
    last = moments[-1] + DAY
    night = ledger.begin(
        entry, last, f"{entry.name}-{last:%d}", last, missed=moments, note="the machine was off"
    )
    ledger.end(night, NightOutcome("done"), last, is_to_tell=False)


def test_the_nights_of_the_last_week_are_told(ledger: Ledger, entry: Entry) -> None:
    """The last first, with the note that it has; older ones are no news."""
    recent = [AUTUMN - DAY, AUTUMN]
    miss(ledger, entry, AUTUMN - LATELY - DAY, *recent)
    found = missed_nights(ledger, Path(entry.results), AUTUMN)
    assert [each.due_at for each in found] == recent[::-1]
    assert found[0].schedule == "nightly"
    assert found[0].why == "the machine was off"


def test_nights_of_another_root_are_not_told(ledger: Ledger, entry: Entry, tmp_path: Path) -> None:
    """However the root is written."""
    miss(ledger, entry, AUTUMN)
    assert missed_nights(ledger, tmp_path / "elsewhere", AUTUMN) == []
    assert len(missed_nights(ledger, str(tmp_path / "x" / ".." / "results"), AUTUMN)) == 1


def test_a_schedule_that_cannot_be_read_says_nothing(ledger: Ledger, entry: Entry) -> None:
    """Its results root is not known."""
    miss(ledger, replace(entry, text="cron: never"), AUTUMN)
    assert missed_nights(ledger, Path(entry.results), AUTUMN) == []


def test_a_user_without_a_ledger_missed_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: Entry
) -> None:
    """And no ledger is created by asking."""
    path = tmp_path / "none" / "nights.sqlite"
    monkeypatch.setenv("GFJOBS_LEDGER", str(path))
    assert missed_here(Path(entry.results)) == []
    assert not path.parent.exists()
    monkeypatch.setenv("GFJOBS_LEDGER", "a" * 5000)
    assert missed_here(Path(entry.results)) == []
    monkeypatch.setenv("GFJOBS_LEDGER", str(path))
    ledger = Ledger(path)
    now = datetime.now(AUTUMN.tzinfo)
    miss(ledger, replace(entry, horizon=now - DAY), now - timedelta(hours=1))
    ledger.close()
    assert len(missed_here(Path(entry.results))) == 1
