"""What this package raises, and which exit code each ends the command line with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SHOWN_PROBLEMS = 100


class JobsError(Exception):
    """Base of this package's errors; ends the command line with code 1: work failed."""


@dataclass(frozen=True)
class InputProblem:
    """One thing that is wrong with an input file.

    Attributes:
        file: the path as the user gave it.
        line: counted from 1; 0 where the file has no such place.
        key: dotted path of the key, empty for the file itself.
        found: what stands there.
        allowed: what may stand there, or what to do.
    """

    file: str
    line: int
    key: str
    found: str
    allowed: str

    def __str__(self) -> str:
        """`file:line: key: found`, and what is allowed on a line of its own."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        key = f"{self.key}: " if self.key else ""
        return f"{place}: {key}{self.found}\n    allowed: {self.allowed}"


class BadInputError(JobsError):
    """Input that cannot be used: all its problems at once. Ends with code 2; nothing has run."""

    def __init__(self, problems: Sequence[InputProblem]) -> None:
        self.problems = tuple(problems)
        lines = [str(problem) for problem in self.problems[:SHOWN_PROBLEMS]]
        if (more := len(self.problems) - len(lines)) > 0:
            lines.append(f"and {more:,} more problems")
        super().__init__("\n".join(lines))


class RunInterruptedError(KeyboardInterrupt):
    """A run that was stopped from outside; `run_id` says which can be resumed.

    Attributes:
        is_cancelled: by `gfjobs cancel`, perhaps of somebody else.
    """

    def __init__(self, run_id: str, *, is_cancelled: bool = False) -> None:
        self.run_id = run_id
        self.is_cancelled = is_cancelled
        super().__init__(run_id)


class UsageError(JobsError):
    """A command that cannot be followed as given. Ends with code 2."""


class CorruptedError(JobsError):
    """Something did not arrive as it was sent."""
