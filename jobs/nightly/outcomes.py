"""The state of a night from its verdict: `done` only if it was judged and found in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import storage
from jobs.analysis.regressions.judge import WORST_FIRST, NightVerdict
from jobs.nightly.records import State

QUIET: frozenset[State] = frozenset({"done", "levels", "learning"})
"""States without a notification, unless the schedule says `always`."""


@dataclass(frozen=True)
class NightFindings:
    """A verdict as the state of a night.

    Attributes:
        is_news: whether to notify: False for findings that an earlier night has reported.
    """

    state: State
    note: str
    is_news: bool


def find_outcome(verdict: NightVerdict) -> NightFindings:
    """The state of a night that was judged.

    A metric of which no figure could be judged makes the night `invalid` or `learning`, however
    good the others are; a single figure that could not be judged is only in the note. A slow night
    of a machine that returns to several levels is `levels`: not in order, but no notification.
    """
    counts = Counter(row.verdict for row in verdict.rows)
    note = ", ".join(f"{counts[name]} {name}" for name in WORST_FIRST if counts[name])
    if counts["regression"]:
        if verdict.is_regression:
            return NightFindings("regression", note, is_news=True)
        return NightFindings("regression", f"{note}; known, and reported before", is_news=False)
    if counts["suspect"]:
        return NightFindings("suspect", note, is_news=True)
    by_metric: dict[str, list[storage.Judgement]] = {}
    for row in verdict.rows:
        by_metric.setdefault(row.metric, []).append(row.verdict)
    states = [_state_of(verdicts) for verdicts in by_metric.values()]
    for state in ("invalid", "learning"):
        if state in states or not states:
            about = ", ".join(m for m, vs in by_metric.items() if _state_of(vs) == state)
            note = f"{note}; no figure of {about} could be judged" if about else "nothing to judge"
            return NightFindings(state, note, is_news=state not in QUIET)
    return NightFindings("levels" if counts["levels"] else "done", note, is_news=False)


def _state_of(verdicts: Sequence[storage.Judgement]) -> State:
    """The state of one metric, from the verdicts of its figures."""
    if any(verdict in ("ok", "improvement", "levels") for verdict in verdicts):
        return "done"
    return "learning" if "learning" in verdicts else "invalid"
