"""What a verdict makes of a night: green is only what was judged."""

from __future__ import annotations

import pytest

import storage
from jobs.analysis.regressions.judge import NightVerdict
from jobs.nightly.outcomes import find_outcome


def verdict(*rows: str) -> NightVerdict:
    """Of rows such as `latency ok`; `told` is a regression that was told before."""
    made = []
    for row in rows:
        metric, word = row.split()
        made.append(
            storage.RegressionRow(
                "r",
                *("m", "digits", "cpu", "n", "torch", "float32", 1, 1, 0.5, None),
                metric=metric,
                kind="step",
                verdict="regression" if word == "told" else word,
                known_since="before" if word == "told" else None,
            )
        )
    return NightVerdict("r", tuple(made))


@pytest.mark.parametrize(
    ("rows", "state", "is_news"),
    [
        (["accuracy ok", "latency ok"], "done", False),
        (["accuracy ok", "latency improvement"], "done", False),
        (["accuracy ok", "latency regression"], "regression", True),
        (["accuracy told", "latency ok"], "regression", False),
        (["accuracy told", "latency regression"], "regression", True),
        (["accuracy ok", "latency suspect"], "suspect", True),
        (["accuracy ok", "latency levels", "latency ok"], "levels", False),
        (["accuracy ok", "latency levels", "latency regression"], "regression", True),
        (["accuracy ok", "latency levels", "energy learning"], "learning", False),
        (["accuracy learning", "latency learning"], "learning", False),
        (["accuracy ok", "latency learning"], "learning", False),
        (["accuracy ok", "latency invalid", "latency invalid"], "invalid", True),
        (["accuracy ok", "latency invalid", "latency ok"], "done", False),
        (["accuracy ok", "latency invalid", "latency learning"], "learning", False),
        (["accuracy ok", "latency ok", "energy invalid"], "invalid", True),
        (["accuracy invalid", "latency learning"], "invalid", True),
        ([], "invalid", True),
    ],
)
def test_states(rows: list[str], state: str, *, is_news: bool) -> None:
    """The worst metric decides, and a metric of which nothing was judged is not in order."""
    found = find_outcome(verdict(*rows))
    assert (found.state, found.is_news) == (state, is_news)


def test_what_could_not_be_judged_is_counted() -> None:
    """Also in a night that is done."""
    assert find_outcome(verdict("latency invalid", "latency ok")).note == "1 invalid, 1 ok"
    note = find_outcome(verdict("latency invalid", "accuracy ok")).note
    assert note == "1 invalid, 1 ok; no figure of latency could be judged"
