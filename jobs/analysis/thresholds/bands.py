"""Confidence bands of the accuracy of many operating points, by paired bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jobs.analysis.thresholds.exit_answers import ExitAnswers, Vector

RESAMPLES = 1000
MOST_POINTS = 100
_CHUNK = 50  # resamples at a time: a million images then take 200 MB
_CONFIDENCE = 95  # percent


class Band(NamedTuple):
    """The drop of accuracy from full depth at one operating point, in points.

    Attributes:
        drop: on these images.
        low, high: the drops of all points lie in their bands at once in 95 % of resamples, so that
            a point may be picked after looking.
    """

    drop: float
    low: float
    high: float


def bands(answers: ExitAnswers, points: Sequence[Vector]) -> list[Band]:
    """Return the band of each point.

    Images are drawn with all their predictions, the same images for every point and for full depth.
    The width of the bands is the 95th percentile of the largest deviation over all points, in
    standard errors.

    Args:
        answers: of all images.
        points: thresholds, at most MOST_POINTS.

    Raises:
        ValueError: too many points.
    """
    if not 0 < len(points) <= MOST_POINTS:
        raise ValueError(f"{len(points)} operating points; give 1 to {MOST_POINTS}")
    images, generator = answers.images, np.random.default_rng(0)
    rows = np.arange(images)
    full = answers.is_correct[-1].astype(np.float32)
    lost = np.stack(
        [full - answers.is_correct[answers.exits_of(point), rows] for point in points], axis=1
    )
    drops = 100 * lost.mean(axis=0, dtype=np.float64)
    drawn = np.concatenate(
        [_resamples(generator, images) @ lost for _ in range(RESAMPLES // _CHUNK)]
    )
    deviations = 100 * drawn.astype(np.float64) / images - drops
    errors = deviations.std(axis=0)
    known = np.where(errors > 0, errors, np.inf)  # no prediction differs: no deviation
    width = np.percentile(np.abs(deviations / known).max(axis=1), _CONFIDENCE)
    return [
        Band(float(drop), float(drop - width * error), float(drop + width * error))
        for drop, error in zip(drops, errors, strict=True)
    ]


def _resamples(generator: np.random.Generator, images: int) -> NDArray[np.float32]:
    """Return how often each image is drawn, one row per resample."""
    counts = np.empty((_CHUNK, images), np.float32)
    for row in counts:  # drawn and counted: many times as fast as a multinomial
        row[:] = np.bincount(generator.integers(images, size=images), minlength=images)
    return counts
