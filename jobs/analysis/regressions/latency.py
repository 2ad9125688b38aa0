"""Latency and energy of one cell: tonight compared with its earlier nights, and remeasured."""

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
"""Of the false alarms that are allowed, those of drifts; the rest are of steps."""

SUSPECT_FACTOR = 4.0
"""A cell is suspected at as many times the false alarms that are allowed: being measured again
costs minutes only; told is what its second measurement alone says at the strict level."""

LEAST_DRIFT_NIGHTS = 3


class Pair(NamedTuple):
    """A cell's figure in one night, and the control's in that night; both in the metric's unit.

    `is_told` says that this figure was told as a regression.
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
    """What is found of a night.

    Attributes:
        kind: which of the two ways found it; a step where neither did.
        difference: from what was expected, in logarithms.
        chance: that a night without any change is found as much slower.
        verdict: as one measurement says it, `suspect` where it should be made again; `levels` where
            it is slower than the fastest level of several, and no slower than the slowest in use.
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
        baseline: the pinned one and those that follow it, at most RECENT; none of the last
            RECENT - 1 is among them.
        is_controlled: every night has its control.
        older: those before the window, at most as many; only levels are learnt from them.
    """

    window: Sequence[Pair]
    baseline: Sequence[Pair]
    is_controlled: bool
    older: Sequence[Pair] = ()

    @property
    def are_enough(self) -> bool:
        """Whether they tell how nights scatter."""
        return len(self.window) >= LEAST_NIGHTS

    def reference(self) -> Reference:
        """What they let expect."""
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
        nights: before it; enough of them.
        tonight: the measurement.
        settings: what counts.
        allowed: false alarms of this series a night.
        is_again: it is the second one, made because of the first.
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
    """What the latest nights say together; None while the baseline is among them."""
    recent = [*nights.window[1 - RECENT :], tonight]
    if min(len(nights.baseline), len(recent)) < LEAST_DRIFT_NIGHTS:
        return None
    baseline, latest = (
        reference.moved(np.array([reference.cleaned(*_controlled(nights, pair)) for pair in pairs]))
        for pairs in (nights.baseline, recent)
    )
    return reference.drift(baseline, latest, allowed)
