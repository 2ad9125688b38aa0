"""Holm's correction: p-values of many comparisons at once."""

from __future__ import annotations

from collections.abc import Sequence


def adjust_p_values(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values so that those below 5 % hold together: one false one in 20 grids at most.

    The smallest counts as many times as there are values, the next once less, and none is below
    one that was smaller. None, of what was not tested, stays and does not count.
    """
    tested = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    result: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(tested):
        highest = max(highest, min(1.0, (len(tested) - rank) * p))
        result[place] = highest
    return result
