"""Times of the lines of a tegrastats log, in naive UTC.

Since JetPack 5 a line begins with the board's local time in whole seconds, without a zone; before,
with no time at all. Whoever takes the log can put a time with a zone before each line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from itertools import groupby, pairwise
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jobs.common.errors import BadInputError, InputProblem, UsageError
from jobs.machine.power.meter_log import TIME_RULE, parse_time

INTERVAL_MS = 1000.0
"""The interval of tegrastats if it is given none."""

_LOCAL = re.compile(r"\d{2}-\d{2}-\d{4} \d{2}:\d{2}:\d{2}")
_LOCAL_FORM = "%m-%d-%Y %H:%M:%S"
_OFFSET = re.compile(r"([+-])(\d{2}):?(\d{2})")
_MOST_HOURS = 14
_ZONES = "UTC, an offset such as +01:00, or a name such as Europe/Berlin"
_SHOWN_PROBLEMS = 20
_MOST_INTERVAL_MS = 3_600_000
_BEFORE = (
    "a time with a zone before each line, as by: tegrastats --interval 100 | while read -r line; do"
    ' echo "$(date -u +%FT%T.%3NZ) $line"; done'
)


@dataclass(frozen=True)
class LogTimes:
    """What the user says of a log's times.

    Attributes:
        zone: of local times; None if not given.
        start: naive UTC of the first line of a log without times; None if not given.
        interval_ms: between two lines of such a log; None: tegrastats' own.
    """

    zone: tzinfo | None = None
    start: datetime | None = None
    interval_ms: float | None = None

    @classmethod
    def parse(
        cls, zone: str | None = None, start: str | None = None, interval_ms: float | None = None
    ) -> LogTimes:
        """Read the options of a command.

        Raises:
            UsageError: one of them has no meaning.
        """
        if interval_ms is not None and not 0 < interval_ms <= _MOST_INTERVAL_MS:
            raise UsageError(f"--interval-ms {interval_ms:g}: more than 0, at most an hour")
        if interval_ms is not None and start is None:
            raise UsageError("--interval-ms needs --start, the time of the log's first line")
        begin = parse_time(start) if start is not None else None
        if start is not None and begin is None:
            raise UsageError(f"--start {start!r}: it must be {TIME_RULE}")
        return cls(_zone(zone) if zone is not None else None, begin, interval_ms)


def place_lines(
    path: Path, stamps: Sequence[tuple[int, str]], times: LogTimes
) -> list[tuple[datetime, float]]:
    """Return the time of each line, and how far off it may be, in seconds.

    Args:
        path: of the log, for messages.
        stamps: number of each line, and what stands before its figures.
        times: what the user says.

    Raises:
        BadInputError: lines have no time that can be read, or times go back.
        UsageError: an option is missing, or has no meaning for this log.
    """
    if not stamps[0][1]:
        return _place_undated(path, stamps, times)
    if times.start is not None:
        raise UsageError(f"{path} has its own times: leave out --start and --interval-ms")
    is_local = _LOCAL.fullmatch(stamps[0][1]) is not None
    if is_local and times.zone is None:
        raise UsageError(
            f"{path} has local times without a zone: give the board's, --zone {_ZONES}"
            " (`timedatectl` on the board shows it)"
        )
    if not is_local and times.zone is not None:
        raise UsageError(f"{path} has times with a zone: leave out --zone")
    problems: list[InputProblem] = []
    read = []
    for number, stamp in stamps:
        at = _local_time(stamp, times.zone) if is_local else _zoned_time(stamp)
        if isinstance(at, datetime):
            read.append((number, at))
        else:
            problems.append(InputProblem(str(path), number, "time", at, "a time as in line 1"))
    problems += _backward(path, read)
    if problems:
        raise BadInputError(problems[:_SHOWN_PROBLEMS])
    moments = [at for _, at in read]
    if any(at.microsecond for at in moments):
        return [(at, 0.0) for at in moments]
    return list(_spread(moments))


def _place_undated(
    path: Path, stamps: Sequence[tuple[int, str]], times: LogTimes
) -> list[tuple[datetime, float]]:
    if times.zone is not None:
        raise UsageError(f"{path} has no times, so --zone has no meaning: give --start")
    dated = [number for number, stamp in stamps if stamp]
    if dated:
        found = f"a time, and none in line {stamps[0][0]}"
        allowed = "times in all lines or in none"
        raise BadInputError([InputProblem(str(path), dated[0], "time", found, allowed)])
    if times.start is None:
        raise UsageError(
            f"{path} has no times: give that of its first line with --start, such as --start"
            " 2026-11-25T08:00:00Z, and --interval-ms if tegrastats had --interval; better, log"
            f" {_BEFORE}"
        )
    interval_s = (times.interval_ms or INTERVAL_MS) / 1e3
    return [
        (times.start + timedelta(seconds=number * interval_s), interval_s / 2)
        for number in range(len(stamps))
    ]


def _zone(text: str) -> tzinfo:
    if text in ("UTC", "Z"):
        return timezone.utc
    if found := _OFFSET.fullmatch(text):
        offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
        if offset <= timedelta(hours=_MOST_HOURS):
            return timezone(offset if found[1] == "+" else -offset)
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(f"--zone {text!r}: no such zone here; allowed: {_ZONES}") from None


def _local_time(stamp: str, zone: tzinfo | None) -> datetime | str:
    """Return naive UTC of a local time, or what is wrong with it."""
    if not _LOCAL.fullmatch(stamp):
        return "no local time"
    try:
        local = datetime.strptime(stamp, _LOCAL_FORM).replace(tzinfo=zone)
        if local.utcoffset() != local.replace(fold=1).utcoffset():
            return f"{stamp}, which is twice or never on that night: give --zone as an offset"
        return local.astimezone(timezone.utc).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return f"{stamp}, which is no time"


def _zoned_time(stamp: str) -> datetime | str:
    """Return naive UTC of a time with a zone, which tegrastats' own local time may follow."""
    first, _, rest = stamp.partition(" ")
    at = parse_time(first) if not rest or _LOCAL.fullmatch(rest) else None
    return at or "no time with a zone"


def _backward(path: Path, read: Sequence[tuple[int, datetime]]) -> Iterator[InputProblem]:
    for (before_number, before), (number, at) in pairwise(read):
        if at < before:
            found = f"{at:%H:%M:%S} UTC, after {before:%H:%M:%S} in line {before_number}"
            allowed = "times that do not go back; import what is before and after on its own"
            yield InputProblem(str(path), number, "time", found, allowed)


def _spread(moments: Sequence[datetime]) -> Iterator[tuple[datetime, float]]:
    """Yield times within their whole seconds: lines of one second lie at equal distances in it.

    The first and the last second of a log are cut, so that they have fewer lines.
    """
    seconds = [(at, len(list(group))) for at, group in groupby(moments)]
    for place, (at, lines) in enumerate(seconds):
        is_first, is_last = place == 0, place == len(seconds) - 1
        beside = seconds[1 if is_first else place - 1][1] if len(seconds) > 1 else lines
        slots = max(lines, beside) if is_first or is_last else lines
        skipped = slots - lines if is_first else 0
        for number in range(skipped, skipped + lines):
            yield at + timedelta(seconds=(number + 0.5) / slots), 0.5 / slots
