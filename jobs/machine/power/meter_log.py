"""Reader of a wall meter's log, a CSV file of times and watts; reports every problem by line."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

from jobs.common.errors import BadInputError, InputProblem
from jobs.common.files import describe_undecodable, read_regular
from jobs.machine.power.protocol import MAX_W

COLUMNS = ("time", "watts", "node")
DECIMALS = {"point": ".", "comma": ","}
MAX_LOG_BYTES = 512 * 2**20
_GROUP = 3  # digits between separators of thousands
_SHOWN_PROBLEMS = 20
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 (naive UTC, as all rows have it)
_MW_PER_W = 1000
_LIKE_TEGRASTATS = re.compile(r"\bRAM \d+/\d+MB .*\bCPU \[")
TIME_RULE = "ISO 8601 with a zone, such as 2026-11-25T08:00:00Z, or seconds since 1970"


@dataclass(frozen=True)
class LogLine:
    """One line of a log.

    Attributes:
        line: its number in the file, from 1.
        at: naive UTC.
        power_mw: the meter's reading of the total.
        node: the node that was measured; None if the log does not say.
        rails_mw: of a board, the power of each of its rails.
        slack_s: how far the true time may be from `at`, to either side.
    """

    line: int
    at: datetime
    power_mw: float
    node: str | None
    rails_mw: Mapping[str, float] = field(default_factory=dict)
    slack_s: float = 0.0

    def lies_in(self, begins_at: datetime, ends_at: datetime) -> bool:
        """Return whether it was surely taken between two moments."""
        slack = timedelta(seconds=self.slack_s)
        return begins_at <= self.at - slack and self.at + slack <= ends_at


def read_log(path: Path, decimal: str | None = None) -> list[LogLine]:
    """Read a log, sorted by time.

    Fields are separated by commas, or by semicolons; with semicolons, or in quotes, a comma may be
    the decimal mark, and with semicolons a point may separate thousands. A line that repeats an
    earlier one is dropped.

    Args:
        path: path of the log.
        decimal: a key of DECIMALS; None: as the numbers show.

    Raises:
        BadInputError: the file cannot be read, lacks a column, has no lines, has lines with
            problems, has watts that can be read in two ways, or different watts for the same time.
    """
    try:
        text = read_regular(path, MAX_LOG_BYTES)
    except OSError as err:
        raise _problem(path, err.strerror or str(err), "a meter's log, as CSV") from err
    except UnicodeDecodeError as err:
        raise _problem(path, describe_undecodable(err), "a meter's log, as CSV") from err
    lines = text.splitlines()
    separator = ";" if lines and ";" in lines[0] else ","
    rows = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    try:
        names = [name.strip().lower() for name in next(rows, [])]
        table = list(enumerate(rows, start=2))
    except csv.Error as err:
        raise _problem(path, f"not CSV: {err}", "CSV", line=rows.line_num) from err
    _check_names(path, names, lines[0] if lines else "")
    problems: list[InputProblem] = []
    column = names.index("watts")
    watts = [(number, row[column].strip()) for number, row in table if len(row) > column]
    if decimal is None and separator == "," and any("." in text for _, text in watts):
        decimal = "point"
    mark = DECIMALS[decimal] if decimal else _decimal_mark(path, watts)
    read = list(_consistent(path, _lines(path, table, names, problems, mark), problems))
    if problems:
        more = len(problems) - _SHOWN_PROBLEMS
        if more > 0:
            last = InputProblem(str(path), 0, "", f"{more} more lines with problems", "as above")
            problems = [*problems[:_SHOWN_PROBLEMS], last]
        raise BadInputError(problems)
    if not read:
        raise _problem(path, "no line below the header", "one line per reading", line=2)
    return sorted(read, key=lambda line: line.at)


def _check_names(path: Path, names: list[str], first: str) -> None:
    """Check the names of a log's columns, given with its first line.

    Raises:
        BadInputError: one is missing, or is there twice.
    """
    missing = [name for name in ("time", "watts") if name not in names]
    if missing:
        if _LIKE_TEGRASTATS.search(first):
            raise _problem(path, "a line of tegrastats", "--format tegrastats for its log", line=1)
        # Names of a file without any known column are not quoted: it may be a private one.
        among = f" among {', '.join(names)}" if set(names) & set(COLUMNS) else ""
        raise _problem(
            path,
            f"no column {' and no column '.join(missing)}{among}",
            f"a first line with {', '.join(COLUMNS)} ({COLUMNS[-1]} only if it has several)",
            line=1,
        )
    if twice := [name for name in COLUMNS if names.count(name) > 1]:
        found = f"several columns {' and '.join(twice)} among {', '.join(names)}"
        raise _problem(path, found, "each column once", line=1)


def _lines(
    path: Path,
    rows: Iterable[tuple[int, list[str]]],
    names: list[str],
    problems: list[InputProblem],
    mark: str,
) -> Iterator[LogLine]:
    for number, row in rows:
        if not any(row):
            continue
        if len(row) > len(names):  # such as a decimal comma between commas: 8,3 would be 8
            allowed = f"{len(names)}, as in the first line; decimal commas only between semicolons"
            problems.append(InputProblem(str(path), number, "", f"{len(row)} fields", allowed))
            continue
        fields = dict(zip(names, row, strict=False))
        at = parse_time(fields["time"]) if "time" in fields else None
        if at is None:
            found = repr(fields.get("time", "")) + _unit_hint(fields.get("time", ""))
            problems.append(InputProblem(str(path), number, "time", found, TIME_RULE))
        said = fields.get("watts", "")
        watts = _watts(said, mark)
        if watts is None:
            allowed = f"a number from 0 to {MAX_W:,.0f}"
            problems.append(InputProblem(str(path), number, "watts", repr(said), allowed))
        if at is not None and watts is not None:
            yield LogLine(number, at, watts * _MW_PER_W, fields.get("node", "").strip() or None)


def _consistent(
    path: Path, lines: Iterable[LogLine], problems: list[InputProblem]
) -> Iterator[LogLine]:
    """Yield each time of a node once; a line that names no node counts for all nodes."""
    said: dict[datetime, list[LogLine]] = {}
    for line in lines:
        before = said.setdefault(line.at, [])
        same = [b for b in before if None in (b.node, line.node) or b.node == line.node]
        clash = next((b for b in same if b.power_mw != line.power_mw), None)
        if clash is not None:
            watts, other = line.power_mw / _MW_PER_W, clash.power_mw / _MW_PER_W
            found = f"{watts:g}, but {other:g} at the same time in line {clash.line}"
            problems.append(
                InputProblem(str(path), line.line, "watts", found, "one value per time")
            )
        elif not any(b.node == line.node for b in same):
            before.append(line)
            yield line


def _unit_hint(text: str) -> str:
    """What a number may be that is too large for seconds since 1970."""
    return ", perhaps milliseconds since 1970" if text.isdecimal() else ""


def parse_time(text: str) -> datetime | None:
    """Return naive UTC; None if it is not a time or has no zone."""
    try:
        seconds = _float(text)
    except ValueError:
        pass
    else:
        try:
            return _EPOCH + timedelta(seconds=seconds)
        except (OverflowError, ValueError):
            return None
    try:
        # Python 3.10 does not accept the letter Z.
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00").replace("z", "+00:00"))
        return moment.astimezone(timezone.utc).replace(tzinfo=None) if moment.tzinfo else None
    except (OverflowError, ValueError):  # also years before 1 or after 9999 in UTC
        return None


def _decimal_mark(path: Path, texts: Sequence[tuple[int, str]]) -> str:
    """Return the decimal mark of a log's watts, given with their lines.

    Raises:
        BadInputError: every number with a mark can be read in two ways, or they contradict.
    """
    shown = {mark: (number, text) for number, text in texts if (mark := _shown_mark(text))}
    if len(shown) == 1:
        return next(iter(shown))
    if shown:
        (first, one), (second, other) = sorted(shown.values())
        found = f"{other}, and {one} in line {first}"
        allowed = "one decimal mark in all lines"
        raise BadInputError([InputProblem(str(path), second, "watts", found, allowed)])
    marked = next(((number, text) for number, text in texts if {".", ","} & set(text)), None)
    if marked is None:
        return "."
    number, text = marked
    digits = text.replace(",", "").replace(".", "")
    found = f"{text} W is {text.replace(',', '.')} W, or {digits} W if the mark separates thousands"
    mark, other = ("point", "comma") if "." in text else ("comma", "point")
    allowed = f"--decimal {mark} for the first, --decimal {other} for the second"
    raise BadInputError([InputProblem(str(path), number, "watts", found, allowed)])


def _shown_mark(text: str) -> str | None:
    """Return the mark that must be the decimal one in a number; None if it does not show."""
    marks = [character for character in text if character in ".,"]
    if len(set(marks)) == len(DECIMALS):
        return marks[-1]
    if len(marks) > 1:
        return "," if marks[0] == "." else "."
    if not marks:
        return None
    before, _, after = text.partition(marks[0])
    is_group = len(after) == _GROUP and 1 <= len(before) <= _GROUP and before[0] != "0"
    return None if is_group else marks[0]


def _watts(text: str, mark: str) -> float | None:
    thousands = "," if mark == "." else "."
    if thousands in text:
        whole, _, rest = text.partition(mark)
        first, *groups = whole.split(thousands)
        if not first or len(first) > _GROUP or any(len(group) != _GROUP for group in groups):
            return None
        text = f"{first}{''.join(groups)}{mark if rest else ''}{rest}"
    try:
        watts = _float(text.replace(mark, "."))
    except ValueError:
        return None
    return watts if 0 <= watts <= MAX_W else None


def _float(text: str) -> float:
    """As `float`, which also takes underscores and the digits of other scripts.

    Raises:
        ValueError: it is no number, or one of these.
    """
    if "_" in text or not text.isascii():
        raise ValueError(text)
    return float(text)


def _problem(path: Path, found: str, allowed: str, line: int = 0) -> BadInputError:
    return BadInputError([InputProblem(str(path), line, "", found, allowed)])
