"""When the lines of a tegrastats log were taken: three forms, and what must be said of each."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from jobs.common.errors import BadInputError, UsageError
from jobs.machine.power.tegrastats_times import LogTimes, place_lines

LOG = Path("board.log")


def at(text: str) -> datetime:
    """A moment on the day of the logs below, naive UTC."""
    return datetime.fromisoformat(f"2026-11-25 {text}")


NOTHING = LogTimes()


def placed(*stamps: str, times: LogTimes = NOTHING) -> list[tuple[datetime, float]]:
    """Where lines with these stamps are placed."""
    return place_lines(LOG, list(enumerate(stamps, start=1)), times)


@pytest.mark.parametrize("zone", ["+01:00", "+0100", "Europe/Berlin"])
def test_local_times_need_their_zone(zone: str) -> None:
    """By offset or name; the second is known, and half a second to either side is not."""
    stamps = ("11-25-2026 09:00:01", "11-25-2026 09:00:02")
    assert placed(*stamps, times=LogTimes.parse(zone=zone)) == [
        (at("08:00:01.5"), 0.5),
        (at("08:00:02.5"), 0.5),
    ]
    with pytest.raises(UsageError, match="local times without a zone: give the board's, --zone"):
        placed(*stamps)


def test_lines_of_one_second_are_spread_over_it() -> None:
    """Four a second: the first second begins late, the last one ends early."""
    seconds = (1, 2, 2, 2, 2, 3, 3)
    stamps = [f"11-25-2026 08:00:0{second}" for second in seconds]
    found = placed(*stamps, times=LogTimes.parse(zone="UTC"))
    places = [1.875, 2.125, 2.375, 2.625, 2.875, 3.125, 3.375]
    assert found == [(at(f"08:00:0{place}"), 0.125) for place in places]


def test_times_with_a_zone_before_each_line() -> None:
    """Whatever the board's own time beside them; fractions leave no doubt, whole seconds do."""
    exact = ("2026-11-25T08:00:01.250Z 11-25-2026 09:00:01", "2026-11-25T09:00:01.350+01:00")
    assert placed(*exact) == [(at("08:00:01.250"), 0), (at("08:00:01.350"), 0)]
    assert placed("2026-11-25T08:00:01Z") == [(at("08:00:01.5"), 0.5)]
    assert placed("1795593601.5") == [(at("08:00:01.5"), 0)]
    with pytest.raises(UsageError, match="has times with a zone: leave out --zone"):
        placed(*exact, times=LogTimes.parse(zone="UTC"))


def test_a_log_without_times_needs_its_start() -> None:
    """And the interval, where tegrastats was given one; half of it is not known."""
    with pytest.raises(UsageError) as caught:
        placed("", "")
    assert "--start 2026-11-25T08:00:00Z, and --interval-ms" in str(caught.value)
    assert "date -u +%FT%T.%3NZ" in str(caught.value)
    start = LogTimes.parse(start="2026-11-25T09:00:00+01:00")
    assert placed("", "", times=start) == [(at("08:00:00"), 0.5), (at("08:00:01"), 0.5)]
    often = LogTimes.parse(start="1795593600", interval_ms=100)
    assert placed("", "", "", times=often)[2] == (at("08:00:00.2"), 0.05)
    with pytest.raises(UsageError, match="no times, so --zone has no meaning"):
        placed("", times=LogTimes.parse(zone="UTC"))
    with pytest.raises(BadInputError, match=r"board.log:2: time: a time, and none in line 1"):
        placed("", "11-25-2026 08:00:01", times=start)
    with pytest.raises(UsageError, match="its own times: leave out --start"):
        placed("11-25-2026 08:00:01", times=start)


@pytest.mark.parametrize(
    ("stamp", "zone", "why"),
    [
        ("11-25-2026 08:00:00", "UTC", "08:00:00 UTC, after 08:00:01 in line 1"),
        ("13-25-2026 08:00:02", "UTC", "13-25-2026 08:00:02, which is no time"),
        ("", "UTC", "no local time"),
        ("noon", "UTC", "no local time"),
        ("10-25-2026 02:30:00", "Europe/Berlin", "which is twice or never on that night"),
        ("03-29-2026 02:30:00", "Europe/Berlin", "which is twice or never on that night"),
    ],
)
def test_a_time_that_cannot_be_is_told(stamp: str, zone: str, why: str) -> None:
    """A clock that was set back, damage, an hour that a night has twice."""
    with pytest.raises(BadInputError) as caught:
        placed("11-25-2026 08:00:01", stamp, times=LogTimes.parse(zone=zone))
    problem = caught.value.problems[0]
    assert (problem.line, problem.key) == (2, "time")
    assert why in problem.found


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"zone": "Mars/Olympus"}, "--zone 'Mars/Olympus': no such zone here; allowed: UTC"),
        ({"zone": "../../etc/passwd"}, "no such zone here"),
        ({"zone": "+99:00"}, "no such zone here"),
        ({"start": "yesterday"}, "--start 'yesterday': it must be ISO 8601 with a zone"),
        ({"start": "2026-11-25 08:00"}, "it must be ISO 8601 with a zone"),
        ({"interval_ms": 100}, "--interval-ms needs --start"),
        ({"start": "1795593600", "interval_ms": 0}, "--interval-ms 0: more than 0"),
    ],
)
def test_options_without_a_meaning(options: dict[str, str], why: str) -> None:
    """They are refused before the log is read."""
    with pytest.raises(UsageError) as caught:
        LogTimes.parse(**options)
    assert why in str(caught.value)
