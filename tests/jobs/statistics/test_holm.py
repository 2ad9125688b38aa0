"""Holm's correction by hand."""

from __future__ import annotations

from jobs.statistics.holm import adjust_p_values


def test_the_smallest_counts_most() -> None:
    """Times 4, 3, 2, 1 in order of size; none below a smaller one; what was not tested stays."""
    assert adjust_p_values([0.01, None, 0.04, 0.03, 0.005]) == [0.03, None, 0.06, 0.06, 0.02]


def test_never_above_one() -> None:
    """A probability."""
    assert adjust_p_values([0.6, 0.9]) == [1.0, 1.0]
    assert adjust_p_values([]) == []
