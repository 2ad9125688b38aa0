"""Judges latency and energy of one cell: tonight against its earlier nights, and measured again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

import storage
from jobs.analysis.regressions.detector import RECENT, LevelDifference, Reference
from jobs.analysis.regressions.settings import LEAST_NIGHTS, Settings

DRIFT_SHARE = 0.2
"""Share of the accepted false alarms for drifts; the rest is for steps."""

SUSPECT_FACTOR = 4.0
"""A cell is suspect at this multiple of the accepted false alarms: measuring it again costs only
minutes. Only the second measurement is reported, judged at the strict level."""

LEAST_DRIFT_NIGHTS = 3


class Pair(NamedTuple):
    """The figures of a cell and of its control in one night, in the metric's unit.

    `is_told`: this figure was reported as a regression.
    """

    value: float
    control: float | None = None
    is_told: bool = False

    @property
    def logs(self) -> tuple[float, float | None]:
        """Both as logarithms."""
        return math.log(self.value), math.log(self.control) if self.control else None


@dataclass(frozen=True)
class Finding:
    """The result of judging one measurement of a night.

    Attributes:
        kind: which of the two tests found it; `step` if neither did.
        difference: from the expected value, in logarithms.
        chance: the probability that a night without any change looks as much slower.
        verdict: of this measurement; `suspect`: measure again; `levels`: slower than the fastest
            of several levels, and no slower than the slowest in use.
    """

    kind: storage.FindingKind
    difference: LevelDifference
    chance: float
    verdict: storage.Judgement


@dataclass(frozen=True)
class Nights:
    """The comparable nights of one cell before tonight.

    Attributes:
        window: the latest, oldest first.
        baseline: the pinned one and those that follow it, at most RECENT; without the last
            RECENT - 1.
        is_controlled: whether every night has its control.
        older: those before the window, at most as many; used only to find levels.
    """

    window: Sequence[Pair]
    baseline: Sequence[Pair]
    is_controlled: bool
    older: Sequence[Pair] = ()

    @property
    def are_enough(self) -> bool:
        """Whether there are enough nights to show their scatter."""
        return len(self.window) >= LEAST_NIGHTS

    def reference(self) -> Reference:
        """Return what these nights predict."""
        pairs = (*self.older, *self.window)
        logs = [pair.logs for pair in pairs]
        past = np.array([value for value, _ in logs])
        control = np.array([control for _, control in logs]) if self.is_controlled else None
        is_told = np.array([pair.is_told for pair in pairs], dtype=bool)
        return Reference.of(past, control, len(self.older), is_told)


def find_change(
    nights: Nights, tonight: Pair, settings: Settings, allowed: float, *, is_again: bool = False
) -> Finding:
    """Judge one measurement of a night.

    Args:
        nights: those before it; enough of them.
        tonight: the measurement.
        settings: what counts as a regression.
        allowed: accepted false alarms of this series per night.
        is_again: whether it is the second measurement, made because of the first.
    """
    reference = nights.reference()
    pair = _controlled(nights, tonight)
    least = math.log1p(settings.effect_pct / 100)
    step = reference.difference(*pair)
    fastest = reference.at_fastest().difference(*pair) if reference.recurring else step
    found: list[tuple[storage.FindingKind, LevelDifference, float]] = [
        ("step", step, allowed * (1 - DRIFT_SHARE))
    ]
    if drift := _drift(nights, tonight, reference, least):
        found.append(("drift", drift, allowed * DRIFT_SHARE))
    kind, difference, level = min(found, key=lambda each: each[1].slower / each[2])
    strictness = 1.0 if is_again else SUSPECT_FACTOR
    verdict: storage.Judgement = "ok"
    if difference.slower < strictness * level and difference.effect > least:
        verdict = "regression" if is_again else "suspect"
    elif fastest.faster < allowed and -fastest.effect > least:
        kind, difference, verdict = "step", fastest, "improvement"
    elif fastest is not step and fastest.slower < strictness * allowed and fastest.effect > least:
        kind, difference, verdict = "step", fastest, "levels"
    return Finding(kind, difference, difference.slower, verdict)


def _controlled(nights: Nights, pair: Pair) -> tuple[float, float | None]:
    value, control = pair.logs
    return value, control if nights.is_controlled else None


def _drift(
    nights: Nights, tonight: Pair, reference: Reference, allowed: float
) -> LevelDifference | None:
    """Compare the latest nights together with the baseline; None if either has too few nights."""
    recent = [*nights.window[1 - RECENT :], tonight]
    if min(len(nights.baseline), len(recent)) < LEAST_DRIFT_NIGHTS:
        return None
    baseline, latest = (
        reference.moved(np.array([reference.cleaned(*_controlled(nights, pair)) for pair in pairs]))
        for pairs in (nights.baseline, recent)
    )
    return reference.drift(baseline, latest, allowed)
