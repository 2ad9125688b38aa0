"""Power from a file instead of a sensor, for tests and demonstrations; marked in `nodes`."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gfnet.config import MAX_DEPTH
from jobs.common.errors import BadInputError, InputProblem
from jobs.common.files import read_regular
from jobs.common.text import parse_whole_number
from jobs.machine.power.protocol import MAX_W, TOTAL
from jobs.machine.power.source import PowerError, PowerReading, PowerSource, Scene

PERIOD_MS = 20.0
MAX_BYTES = 2**20
LAST_BLOCK = MAX_DEPTH - 1
PHASES = ("idle", "active")
_COLUMNS = ("phase", "watts", "model", "exit_block", "rail")
_FILE = f"the path of a CSV file with the columns {', '.join(_COLUMNS)}"
_REST = "more"
_MW_PER_W = 1000


@dataclass(frozen=True)
class Line:
    """One line of the file: the power of a rail under the conditions that it names.

    Attributes:
        phase: `idle` or `active`.
        rail_mw: power of the rail.
        model, exit_block: None if any matches.
        rail: name of the rail.
    """

    phase: str
    rail_mw: float
    model: str | None
    exit_block: int | None
    rail: str

    def fits(self, scene: Scene) -> bool:
        """Return whether it applies to a scene."""
        return (
            (self.phase == "active") == scene.is_active
            and self.model in (None, scene.model)
            and self.exit_block in (None, scene.exit_block)
        )

    @property
    def precision(self) -> tuple[bool, bool]:
        """Sort key by conditions named: of two lines that apply, the more specific one wins."""
        return self.model is not None, self.exit_block is not None


class Replay(PowerSource):
    """Returns the power that a file gives for what the machine is doing.

    Args:
        path: a CSV file with the columns phase and watts, and optionally model, exit_block, rail.

    Raises:
        BadInputError: it cannot be read, or has problems; lists all of them.
    """

    is_sensor = False
    period_ms = PERIOD_MS
    summed = (TOTAL,)

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = sorted(_read(path), key=lambda line: line.precision)
        self._scene = Scene("", is_active=False)
        self.name = f"replay: {path}"

    def attend(self, scene: Scene) -> None:
        """Return the power for this scene from now on."""
        self._scene = scene

    def read(self) -> PowerReading:
        """Return the power of the present scene."""
        # The scene is read between two clock readings: a window that holds both has this scene.
        begin_ns, scene, end_ns = time.monotonic_ns(), self._scene, time.monotonic_ns()
        # Later lines are more specific: they override earlier ones for the same rail.
        rails_mw = {line.rail: line.rail_mw for line in self._lines if line.fits(scene)}
        if TOTAL not in rails_mw:
            phase = PHASES[scene.is_active]
            raise PowerError(f"{self._path} has no watts for phase {phase} of {scene.model}")
        return PowerReading(begin_ns, end_ns, rails_mw)


def _read(path: Path) -> list[Line]:
    try:
        text = io.StringIO(read_regular(path, MAX_BYTES), newline="")
        rows = csv.DictReader(text, restkey=_REST, skipinitialspace=True)
        columns = rows.fieldnames or []
        numbered = [(rows.line_num, row) for row in rows]
    except OSError as err:
        raise BadInputError([InputProblem(str(path), 0, "", err.strerror or "", _FILE)]) from err
    except (UnicodeDecodeError, csv.Error) as err:
        why = err.reason if isinstance(err, UnicodeDecodeError) else err  # not the bytes
        problem = InputProblem(str(path), 0, "", f"not CSV: {why}", "a CSV file")
        raise BadInputError([problem]) from err
    problems = [
        InputProblem(str(path), 1, name, "no such column", f"the columns {', '.join(_COLUMNS)}")
        for name in ("phase", "watts")
        if name not in columns
    ]
    if problems:
        raise BadInputError(problems)
    for number, row in numbered:
        if _REST in row:  # such as a decimal comma: 8,3 would be 8
            allowed = f"{len(columns)} fields separated by commas, as in the first line"
            problems.append(InputProblem(str(path), number, "", "more fields", allowed))
    read = [_line(path, number, row, problems) for number, row in numbered]
    problems += _contradictions(path, [number for number, _ in numbered], read)
    if not read:
        problems.append(
            InputProblem(str(path), 2, "", "no line", "a line for idle and one for active")
        )
    if problems:
        raise BadInputError(problems)
    return read


def _contradictions(
    path: Path, numbers: Sequence[int], lines: Sequence[Line]
) -> Iterator[InputProblem]:
    """Yield lines that name the same conditions as an earlier line, but other watts."""
    first: dict[tuple[object, ...], tuple[int, float]] = {}
    for number, line in zip(numbers, lines, strict=True):
        key = (line.phase, line.model, line.exit_block, line.rail)
        before, rail_mw = first.setdefault(key, (number, line.rail_mw))
        # False for NaN, which is reported elsewhere.
        if abs(line.rail_mw - rail_mw) > 0:
            watts, other = line.rail_mw / _MW_PER_W, rail_mw / _MW_PER_W
            found = f"{watts:g}, but {other:g} for the same conditions in line {before}"
            yield InputProblem(
                str(path), number, "watts", found, "one line per phase, model, exit_block and rail"
            )


def _line(
    path: Path, number: int, row: dict[str, str | None], problems: list[InputProblem]
) -> Line:
    def problem(column: str, allowed: str) -> None:
        problems.append(InputProblem(str(path), number, column, repr(row.get(column)), allowed))

    phase = row["phase"] or ""
    if phase not in PHASES:
        problem("phase", " or ".join(PHASES))
    try:
        watts = float(row["watts"] or "")
    except ValueError:
        watts = math.nan
    if not abs(watts) <= MAX_W:  # also refuses NaN
        problem("watts", f"a number, at most {MAX_W:,.0f}")
    said = row.get("exit_block") or None
    exit_block = None if said is None else parse_whole_number(said, LAST_BLOCK)
    if said is not None and exit_block is None:
        problem("exit_block", f"the number of a block, from 0 to {LAST_BLOCK}, or nothing")
    return Line(
        phase=phase,
        rail_mw=watts * _MW_PER_W,
        model=row.get("model") or None,
        exit_block=exit_block,
        rail=row.get("rail") or TOTAL,
    )
