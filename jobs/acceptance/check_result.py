"""What a check of an installation found, what was expected, and the verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

OK, FAIL, SKIP = "ok", "fail", "skip"

Figures = Mapping[str, float | None]


@dataclass(frozen=True)
class CheckResult:
    """The result of one check.

    Attributes:
        name: the subject of the check.
        verdict: `ok`, `fail` or `skip`.
        expected: what passes, and why, as text.
        found: what was found, as text; None if the check was skipped.
        reason: why it was skipped or could not be finished.
        figures: the numbers in `found`, by a name with a unit; None for one that is not known.
        seconds: how long it took.
    """

    name: str
    verdict: str
    expected: str
    found: str | None = None
    reason: str | None = None
    figures: Figures = field(default_factory=dict)
    seconds: float = 0.0

    @classmethod
    def judged(
        cls, name: str, expected: str, found: str, figures: Figures | None = None, *, is_ok: bool
    ) -> CheckResult:
        """Return the result of a check that ran."""
        return cls(name, OK if is_ok else FAIL, expected, found, figures=figures or {})

    @classmethod
    def skipped(cls, name: str, expected: str, reason: str) -> CheckResult:
        """Return the result of a check that cannot run here."""
        return cls(name, SKIP, expected, reason=reason)

    @classmethod
    def broken(cls, name: str, expected: str, reason: str) -> CheckResult:
        """Return the result of a check that did not come to its end."""
        return cls(name, FAIL, expected, reason=reason)


def is_accepted(results: Iterable[CheckResult]) -> bool:
    """Return whether no check failed."""
    return all(result.verdict != FAIL for result in results)
