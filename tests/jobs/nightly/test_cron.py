"""When a schedule is due, above all on the days on which the clocks change."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.common.errors import BadInputError
from jobs.common.yaml_document import Document
from jobs.nightly.cron import KEPT, Calendar, read_calendar

BERLIN = ZoneInfo("Europe/Berlin")


def utc(*when: int) -> datetime:
    """A moment."""
    return datetime(*when, tzinfo=timezone.utc)


def due(cron: str, zone: str, after: datetime, count: int) -> list[str]:
    """The next moments, in the zone, with its offset."""
    calendar = Calendar(cron, ZoneInfo(zone))
    moments = islice(calendar.after(after), count)
    return [moment.astimezone(calendar.zone).strftime("%m-%d %H:%M%z") for moment in moments]


def read(text: str) -> Calendar:
    """From the keys of a file."""
    document = Document("s.yaml", text)
    entries = document.root().mapping(("cron", "timezone"))
    calendar = read_calendar(entries.get("cron"), entries.get("timezone"))
    document.check()
    return calendar


def test_a_time_that_does_not_exist_comes_when_the_clocks_are_forward() -> None:
    """02:30 on the night of spring: once, at 03:00."""
    assert due("30 2 * * *", "Europe/Berlin", utc(2026, 3, 27, 12), 3) == [
        "03-28 02:30+0100",
        "03-29 03:00+0200",
        "03-30 02:30+0200",
    ]


def test_a_time_that_exists_twice_comes_once() -> None:
    """02:30 on the night of autumn: the first time."""
    assert due("30 2 * * *", "Europe/Berlin", utc(2026, 10, 24, 12), 2) == [
        "10-25 02:30+0200",
        "10-26 02:30+0100",
    ]


@pytest.mark.parametrize("minute", [29, 30, 31, 59])
def test_begun_between_the_two_it_does_not_come_again(minute: int) -> None:
    """A daemon that starts in the second of the two equal hours, where cronsim gives the first."""
    second = datetime(2026, 10, 25, 2, minute, tzinfo=BERLIN, fold=1)
    assert due("30 2 * * *", "Europe/Berlin", second, 1) == ["10-26 02:30+0100"]


def test_utc_knows_no_such_nights() -> None:
    """Neither missing nor twice."""
    for day in (utc(2026, 3, 28, 12), utc(2026, 10, 24, 12)):
        calendar = Calendar("30 2 * * *", ZoneInfo("UTC"))
        first, second = islice(calendar.after(day), 2)
        assert second - first == timedelta(days=1)
        assert (first.hour, first.minute) == (2, 30)


@settings(max_examples=60)
@given(
    cron=st.sampled_from(
        [
            "30 2 * * *",
            "0 3 * * *",
            "15,45 1-3 * * *",
            "*/20 * * * *",
            "30 2 * * sun",
            "0 */2 * * *",
        ]
    ),
    minutes=st.integers(0, 4 * 24 * 60),
    is_spring=st.booleans(),
)
def test_the_next_moments_are_the_same_whenever_one_asks(
    cron: str, minutes: int, is_spring: bool
) -> None:
    """Begun at any minute around a change, the rest of the same series comes, ever later."""
    start = utc(2026, 3, 27) if is_spring else utc(2026, 10, 23)
    calendar = Calendar(cron, BERLIN)
    whole = calendar.between(start, start + timedelta(days=14)).newest
    assert list(whole) == sorted(set(whole))
    begun = start + timedelta(minutes=minutes)
    rest = calendar.between(begun, start + timedelta(days=14)).newest
    assert rest == tuple(moment for moment in whole if moment > begun)


def test_weekdays_are_those_of_cron() -> None:
    """1 is Monday, 0 and 7 are Sunday."""
    for cron, name in (("0 2 * * 1", "Mon"), ("0 2 * * 0", "Sun"), ("0 2 * * 7", "Sun")):
        moment = Calendar(cron, BERLIN).next(utc(2026, 11, 25))
        assert f"{moment.astimezone(BERLIN):%a}" == name


def test_of_many_moments_the_newest_are_kept() -> None:
    """And the others counted."""
    calendar = Calendar("* * * * *", ZoneInfo("UTC"))
    missed = calendar.between(utc(2026, 1, 1), utc(2026, 1, 3))
    assert len(missed.newest) == KEPT
    assert missed.older == 2 * 24 * 60 - KEPT
    assert missed.newest[-1] == utc(2026, 1, 3)


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("61 * * * *", "bad minute"),
        ("0 24 * * *", "bad hour"),
        ("0 2 * *", "4 fields instead of 5"),
        ("0 0 2 * * *", "6 fields"),
        ("@daily", "1 field instead of 5; short names are written out, @daily as `0 0 "),
        ("0 2 * * monday", "bad day-of-week"),
        ("0 0 30 2 *", "bad day-of-month"),
        ("0 2 * * L", "bad day-of-week"),
        ("0 2 ? * *", "bad day-of-month"),
        ("0 2 L-3 * *", "day-of-month"),
        ("\uff11 2 * * *", "ASCII"),
        ("0 2 31 2,4 *", "bad day-of-month"),
        ("0 0 L/0 * *", "bad day-of-month"),
    ],
)
def test_expressions_that_are_none(cron: str, words: str) -> None:
    """With what is allowed."""
    with pytest.raises(BadInputError, match=words) as raised:
        read(f"cron: '{cron}'")
    assert "allowed: minute hour day month weekday" in str(raised.value)


@pytest.mark.parametrize(
    "zone", ["Europe/Berln", "MEZ", "../etc/passwd", "/etc/localtime", "Europe"]
)
def test_zones_that_are_none(zone: str) -> None:
    """With what is allowed, and what is near."""
    with pytest.raises(BadInputError, match="unknown time zone") as raised:
        read(f"cron: 0 2 * * *\ntimezone: {zone}")
    assert "such as Europe/Berlin" in str(raised.value)
    if zone == "Europe/Berln":
        assert "did you mean 'Europe/Berlin'" in str(raised.value)


def test_without_a_zone_it_is_utc() -> None:
    """Which has no changes."""
    assert read("cron: '0  2 * *  *'") == Calendar("0 2 * * *", ZoneInfo("UTC"))
