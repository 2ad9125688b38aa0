"""Reader of a log of tegrastats: rails, temperatures and clocks of a Jetson; reports bad lines.

The form of a line is documented in NVIDIA's Jetson Linux Developer Guide, "tegrastats Utility"
(r32 to r39): `VDD_IN 4915mW/4915mW` on Orin, `VIN 87426mW/43713mW/87426mW` on Thor, `POM 812/812`
before JetPack 5, present value first; `cpu@51.7C`; `CPU [2%@729,off]`; `GR3D_FREQ 0%@[305]` and
`EMC_FREQ 0%@2133`, whose clocks are there for root alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from jobs.common.errors import BadInputError, InputProblem
from jobs.common.files import describe_undecodable, read_regular
from jobs.machine.power.board_rails import total_rails
from jobs.machine.power.meter_log import MAX_LOG_BYTES, LogLine
from jobs.machine.power.tegrastats_times import LogTimes, place_lines
from jobs.machine.sensors import MAX_CLOCK_MHZ, is_temperature

_RAM = "RAM "  # the first figure of every line
_MEMORY = re.compile(r"\d+/\d+[kMG]B\b")
_RAIL_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
_RAIL = re.compile(r"(-?\d{1,9})(?:mW(?:/-?\d+mW)*|(?:/-?\d+)+)")
_TEMPERATURE = re.compile(r"([A-Za-z][\w-]{0,30})@(-?\d{1,4}(?:\.\d+)?)C(?:/-?[\d.]+C)?")
_CPUS = re.compile(r"\bCPU \[([^\]]*)\](?:@(\d+))?")
_CPU = re.compile(r"\d+%@(\d+)")
_GPU = re.compile(r"\bGR3D_FREQ (?:\d+%)?@(\d+|\[[\d,]+\])")
_EMC = re.compile(r"\bEMC_FREQ (?:\d+%)?@(\d+)")
_LEAST_MW, _MOST_MW = -1000, 500_000
_SHOWN_PROBLEMS = 20
_MOST_CHARACTERS = 10_000
_WANTED = "a log that tegrastats wrote, as by tegrastats --interval 100 --logfile FILE"


@dataclass(frozen=True)
class BoardLine(LogLine):
    """One line of a log of tegrastats; `power_mw` is NaN if no rails sum to the board's total.

    Attributes:
        temperatures_c: by zone, lower case, such as `gpu`.
        clock_mhz: of the GPU; None if it is off, or the log was not taken as root.
        cpu_clock_mhz: mean of the processors that are on.
        emc_clock_mhz: of the memory controller.
    """

    temperatures_c: Mapping[str, float] = field(default_factory=dict)
    clock_mhz: float | None = None
    cpu_clock_mhz: float | None = None
    emc_clock_mhz: float | None = None


@dataclass(frozen=True)
class _Figures:
    """What one line says, without its time."""

    stamp: str
    rails_mw: Mapping[str, float]
    temperatures_c: Mapping[str, float]
    clock_mhz: float | None
    cpu_clock_mhz: float | None
    emc_clock_mhz: float | None


class _LineError(Exception):
    """A line cannot be used; the message says why."""


def read_tegrastats(path: Path, times: LogTimes) -> tuple[list[BoardLine], tuple[str, ...]]:
    """Read a log, and return its lines by time and the rails whose sum is the total.

    A last line that has no end, as a log has that was cut off, is left out.

    Raises:
        BadInputError: the file cannot be read, or has lines with problems.
        UsageError: what `times` says is missing, or has no meaning for this log.
    """
    numbered = _read(path)
    problems: list[InputProblem] = []
    read: list[tuple[int, _Figures]] = []
    for number, text in numbered:
        try:
            read.append((number, _figures(text)))
        except _LineError as err:
            problems.append(InputProblem(str(path), number, "", str(err), _WANTED))
    if not read:
        raise _problem(path, "no line of tegrastats", _WANTED)
    summed = total_rails(read[0][1].rails_mw)
    problems += _incomplete(path, read, summed)
    if problems:
        more = len(problems) - _SHOWN_PROBLEMS
        if more > 0:
            last = InputProblem(str(path), 0, "", f"{more} more lines with problems", "as above")
            problems = [*problems[:_SHOWN_PROBLEMS], last]
        raise BadInputError(problems)
    placed = place_lines(path, [(number, figures.stamp) for number, figures in read], times)
    lines = [
        BoardLine(
            line=number,
            at=at,
            power_mw=sum(said.rails_mw[rail] for rail in summed) if summed else math.nan,
            node=None,
            rails_mw=said.rails_mw,
            slack_s=slack_s,
            temperatures_c=said.temperatures_c,
            clock_mhz=said.clock_mhz,
            cpu_clock_mhz=said.cpu_clock_mhz,
            emc_clock_mhz=said.emc_clock_mhz,
        )
        for (number, said), (at, slack_s) in zip(read, placed, strict=True)
    ]
    return lines, summed


def _read(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a file with their numbers, without blank ones and one without an end."""
    try:
        text = read_regular(path, MAX_LOG_BYTES)
    except OSError as err:
        raise _problem(path, err.strerror or str(err), _WANTED) from err
    except UnicodeDecodeError as err:
        raise _problem(path, describe_undecodable(err), _WANTED) from err
    lines = text.split("\n")[:-1] if "\n" in text else [text]
    return [(n, line.strip()) for n, line in enumerate(lines, start=1) if line.strip()]


def _figures(text: str) -> _Figures:
    """Return what a line says.

    Raises:
        _LineError: it is no line of tegrastats, or says what cannot be.
    """
    stamp, _, rest = text.partition(_RAM)
    if len(text) > _MOST_CHARACTERS or not _MEMORY.match(rest):
        raise _LineError("no line of tegrastats")
    temperatures_c = {
        name.lower(): float(celsius)
        for name, celsius in _TEMPERATURE.findall(rest)
        if is_temperature(float(celsius))
    }
    return _Figures(
        stamp.strip(),
        _rails(rest.split()),
        temperatures_c,
        # One clock of each cluster of the GPU; one that is off reads 0.
        _clock("GR3D_FREQ", sorted(_numbers(_GPU, rest))[-1:]),
        _clock("CPU", _cpu_clocks(rest)),
        _clock("EMC_FREQ", _numbers(_EMC, rest)),
    )


def _rails(words: Sequence[str]) -> dict[str, float]:
    rails_mw: dict[str, float] = {}
    for name, word in pairwise(words):
        found = _RAIL.fullmatch(word)
        if found is None or not _RAIL_NAME.fullmatch(name):
            continue
        if name in rails_mw:
            raise _LineError(f"rail {name} twice")
        power_mw = int(found[1])
        if not _LEAST_MW <= power_mw <= _MOST_MW:
            raise _LineError(f"rail {name} of {power_mw} mW")
        rails_mw[name] = power_mw
    return rails_mw


def _numbers(pattern: re.Pattern[str], text: str) -> list[int]:
    found = pattern.search(text)
    return [int(number) for number in re.findall(r"\d+", found[1])] if found else []


def _cpu_clocks(rest: str) -> list[int]:
    found = _CPUS.search(rest)
    if found is None:
        return []
    return [int(found[2])] if found[2] else [int(mhz) for mhz in _CPU.findall(found[1])]


def _clock(what: str, mhz: Sequence[int]) -> float | None:
    """Return the mean of clocks; None if there is none, or the part is off."""
    known = [each for each in mhz if each]
    if any(each > MAX_CLOCK_MHZ for each in known):
        raise _LineError(f"{what} at {max(known)} MHz")
    return sum(known) / len(known) if known else None


def _incomplete(
    path: Path, read: Sequence[tuple[int, _Figures]], summed: Sequence[str]
) -> list[InputProblem]:
    """Return the problems of lines that lack a rail of the total, or whose total is below 0."""
    problems = []
    for number, figures in read:
        missing = [rail for rail in summed if rail not in figures.rails_mw]
        total_mw = sum(figures.rails_mw.get(rail, 0) for rail in summed)
        if missing:
            found, allowed = f"no rail {', '.join(missing)}", "the rails of line 1"
        elif total_mw < 0:
            found, allowed = f"a total of {total_mw:g} mW", "0 or more"
        else:
            continue
        problems.append(InputProblem(str(path), number, "", found, allowed))
    return problems


def _problem(path: Path, found: str, allowed: str) -> BadInputError:
    return BadInputError([InputProblem(str(path), 0, "", found, allowed)])
