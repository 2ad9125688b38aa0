"""Holm's correction: p-values of many comparisons at once."""

from __future__ import annotations

from collections.abc import Sequence


def adjust_p_values(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values so that those below 5 % hold together: at most 1 in 20 grids has a false one.

    The smallest is multiplied by the number of values, the next by one less, and so on; no result
    is below that of a smaller value. None means not tested: it stays and does not count.
    """
    tested = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    result: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(tested):
        highest = max(highest, min(1.0, (len(tested) - rank) * p))
        result[place] = highest
    return result
