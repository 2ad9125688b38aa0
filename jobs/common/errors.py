"""Errors of this package, and the exit code of the command line for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SHOWN_PROBLEMS = 100

NEW_BUNDLE = "a repaired bundle has another digest: submit a new run"
"""Ends the error of a cell whose bundle cannot be used: resuming would refuse the repaired one."""


class JobsError(Exception):
    """Base of this package's errors. Exit code 1: work failed."""


@dataclass(frozen=True)
class InputProblem:
    """One thing that is wrong with an input file.

    Attributes:
        file: the path as the user gave it.
        line: counted from 1; 0 if the problem has no line.
        key: dotted path of the key, empty for the file itself.
        found: what was found there.
        allowed: what is allowed there, or what to do.
    """

    file: str
    line: int
    key: str
    found: str
    allowed: str

    def __str__(self) -> str:
        """Format as `file:line: key: found`, and what is allowed on a line of its own."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        key = f"{self.key}: " if self.key else ""
        return f"{place}: {key}{self.found}\n    allowed: {self.allowed}"


class BadInputError(JobsError):
    """Input that cannot be used, with all its problems. Exit code 2; nothing has run."""

    def __init__(self, problems: Sequence[InputProblem]) -> None:
        self.problems = tuple(problems)
        lines = [str(problem) for problem in self.problems[:SHOWN_PROBLEMS]]
        if (more := len(self.problems) - len(lines)) > 0:
            lines.append(f"and {more:,} more problems")
        super().__init__("\n".join(lines))


class RunInterruptedError(KeyboardInterrupt):
    """A run was stopped from outside; the run `run_id` can be resumed.

    Attributes:
        is_cancelled: stopped by `gfjobs cancel`, perhaps of another user.
    """

    def __init__(self, run_id: str, *, is_cancelled: bool = False) -> None:
        self.run_id = run_id
        self.is_cancelled = is_cancelled
        super().__init__(run_id)


class UsageError(JobsError):
    """A command that cannot be carried out as given. Exit code 2."""


class CorruptedError(JobsError):
    """Data did not arrive as it was sent."""
