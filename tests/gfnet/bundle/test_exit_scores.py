"""Exits that images take by their scores, and thresholds that no score is near."""

from __future__ import annotations

import numpy as np
import pytest

from gfnet.bundle.exit_scores import clear_threshold, exits_taken


@pytest.mark.parametrize(
    ("scores", "threshold"),
    [
        ([0.5], 0.5),
        ([0.25, 0.75], 0.5),
        # Of the half around the median, 0.3 to 0.65, the widest gap begins at 0.375; at the wider
        # one below it three of four images would exit.
        ([0.0, 0.01, 0.3, 0.375, 0.625, 0.65, 0.99, 1.0], 0.5),
    ],
)
def test_a_clear_threshold_is_in_the_widest_gap_near_the_median(
    scores: list[float], threshold: float
) -> None:
    """Worked out by hand."""
    assert clear_threshold(np.asarray(scores, np.float32)) == pytest.approx(threshold)


def test_rounding_moves_no_image_across_a_clear_threshold() -> None:
    """At the median, which is a score, it does."""
    scores = np.random.default_rng(0).random((1, 63), np.float32)
    rounded = scores - np.float32(1e-6)
    clear, median = clear_threshold(scores[0]), float(np.median(scores[0]))
    assert (exits_taken(scores, [clear]) == exits_taken(rounded, [clear])).all()
    assert (exits_taken(scores, [median]) != exits_taken(rounded, [median])).any()
    assert 0.25 <= (scores >= clear).mean() <= 0.75
