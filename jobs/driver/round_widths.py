"""How well the figures of timed cells are known: the width of their intervals, from round means."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping

import numpy as np

import storage
from jobs.plan.cell import Cell
from jobs.statistics.sequential import FIRST_LOOK, half_width

_DIGITS = 9
"""Significant digits of a round's mean: sums of the same rows in another order differ in the last
of 16, and a run that is resumed must decide as one that is not."""

Means = Mapping[int, float]
"""Mean times by round."""


class RoundWidths:
    """Keeps the times of rounds, and computes how wide the intervals of cells are after some.

    Args:
        sums: the committed rounds.
        throttled: rounds that do not count, as (cell_id, round).
    """

    def __init__(
        self,
        sums: Mapping[storage.RoundKey, storage.RoundSum],
        throttled: Iterable[tuple[str, int]],
    ) -> None:
        self._sums: dict[str, storage.RoundSums] = {}
        self._throttled = set(throttled)
        self.add(sums)

    def add(self, sums: Mapping[storage.RoundKey, storage.RoundSum]) -> None:
        """Add the times of committed shards."""
        for key, found in sums.items():
            storage.add_round_sums(self._sums.setdefault(key.cell_id, {}), {key: found})

    def leave_out(self, cell_id: str, number: int) -> None:
        """Leave a throttled round out."""
        self._throttled.add((cell_id, number))

    def drop(self, cell_ids: Collection[str]) -> None:
        """Forget the rounds of cells that start again."""
        for cell_id in cell_ids:
            self._sums.pop(cell_id, None)
        self._throttled = {each for each in self._throttled if each[0] not in cell_ids}

    def has_times(self, cell: Cell) -> bool:
        """Whether any image of a cell was timed: no rounds help one that cannot read its images."""
        return bool(self._sums.get(cell.cell_id))

    def reach_pct(self, cell: Cell, look: int, baseline: Cell | None = None) -> float:
        """Return how far the intervals of a cell reach to either side, the widest of its exits.

        Args:
            cell: the cell.
            look: rounds that have run; later ones are left out.
            baseline: the cell that its figures are ratios to; None: they are means.

        Returns: percent of the figure; infinite if fewer than FIRST_LOOK rounds count.
        """
        exits = {key.exit_block: None for key in self._sums.get(cell.cell_id, {})}
        if not exits:
            return math.inf
        to = self._means(baseline, None, look) if baseline else None
        return max(_reach_pct(self._means(cell, block, look), to, look) for block in exits)

    def _means(self, cell: Cell, exit_block: int | None, look: int) -> Means:
        return {
            key.round: float(f"{found.total_ms / found.passes:.{_DIGITS}g}")
            for key, found in self._sums.get(cell.cell_id, {}).items()
            if key.exit_block == exit_block and key.round < look
            if (cell.cell_id, key.round) not in self._throttled
        }


def _reach_pct(means: Means, to: Means | None, look: int) -> float:
    numbers = sorted(means.keys() if to is None else means.keys() & to.keys())
    if len(numbers) < FIRST_LOOK:
        return math.inf
    values = np.array([means[number] for number in numbers])
    if to is None:
        return float(100 * half_width(values, look) / values.mean())
    logs = np.log(values / [to[number] for number in numbers])
    return float(100 * np.expm1(half_width(logs, look)))
