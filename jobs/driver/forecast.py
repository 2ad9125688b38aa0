"""Forecast: when hosts would end what they have, and which host would end each block first.

Hosts have paces of their own. Blocks are parted as for unequal machines: the largest first, each to
the host that ends it first by what it has been given already, then improved by moving and swapping
blocks of the host that ends last.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

FEW_BLOCKS = 48
"""Blocks up to which their parting is improved; with more, the largest of them matter little."""

SOONER = 1e-6
"""Share by which another end must be earlier to count: of equal hosts none waits for another."""


@dataclass(frozen=True)
class HostForecast:
    """What a host has before it.

    Attributes:
        free_s: seconds until it has ended what it was given, and what is bound to it.
        pace: seconds per unit of work.
        runs: number of untimed tasks that it runs at once.
    """

    free_s: float
    pace: float
    runs: int = 1

    def end_s(self, work: float) -> float:
        """Seconds until it would end a task of so much work."""
        return self.free_s + self.pace * work

    def completes(self, work: float, within_s: float) -> int:
        """The number of such tasks that it could end within a time."""
        return self.runs * max(math.floor((within_s - self.free_s) / (self.pace * work)), 0)


def is_ended_sooner(
    waiting: float, work: float, by_s: float, others: Iterable[HostForecast]
) -> bool:
    """Whether others could end all waiting tasks before a time.

    Args:
        waiting: number of tasks.
        work: of each.
        by_s: seconds from now.
        others: the hosts.
    """
    by_s *= 1 - SOONER
    count = 0
    for host in others:
        count += host.completes(work, by_s)
        if count >= waiting:
            return True
    return False


@dataclass(frozen=True)
class BlockForecast:
    """A block to be parted.

    Attributes:
        work: of all its tasks.
        able: indices of the hosts that could take it.
        at: index of the host that has begun it and keeps it unless another ends it much sooner;
            None: none has.
        left: work that is left to do on that host; what is done there is lost to others.
    """

    work: float
    able: Sequence[int]
    at: int | None = None
    left: float = 0.0

    def work_on(self, host: int) -> float:
        """What a host has to do for it."""
        return self.left if host == self.at else self.work


def part_blocks(
    blocks: Sequence[BlockForecast], hosts: Sequence[HostForecast], gain: float
) -> list[int]:
    """The host of each block, by index.

    Args:
        blocks: each with at least one host that could take it.
        hosts: with what they have before them, these blocks left out.
        gain: a block that has begun leaves its host only if it then ends so many times as early.
    """
    ends = np.array([host.free_s for host in hosts])
    paces = np.array([host.pace for host in hosts])
    found = [-1] * len(blocks)
    for number in sorted(range(len(blocks)), key=lambda n: -blocks[n].work):
        block = blocks[number]
        able = np.asarray(block.able)
        would_end = ends[able] + block.work * paces[able]
        first = int(np.argmin(would_end))
        found[number] = int(able[first])
        # On the host that has begun it, it comes before all that is parted here.
        if block.at is not None and hosts[block.at].end_s(block.left) <= gain * would_end[first]:
            found[number] = block.at
        ends[found[number]] += block.work_on(found[number]) * paces[found[number]]
    if len(blocks) <= FEW_BLOCKS:
        _improve(found, blocks, ends.tolist(), paces.tolist())
    return found


def _improve(
    found: list[int], blocks: Sequence[BlockForecast], ends: list[float], paces: list[float]
) -> None:
    """Move or swap blocks of the host that ends last, while all end sooner for it."""
    for _ in range(len(blocks)):
        last = max(range(len(ends)), key=ends.__getitem__)
        best: tuple[float, list[tuple[int, int]]] = (ends[last] * (1 - SOONER), [])
        theirs = [n for n, host in enumerate(found) if host == last and blocks[n].at is None]
        for number in theirs:
            for other in blocks[number].able:
                if other == last:
                    continue
                best = min(best, _tried([(number, other)], found, blocks, ends, paces))
                for swapped, host in enumerate(found):
                    if (
                        host == other
                        and blocks[swapped].at is None
                        and last in blocks[swapped].able
                    ):
                        pair = [(number, other), (swapped, last)]
                        best = min(best, _tried(pair, found, blocks, ends, paces))
        if not best[1]:
            return
        for number, host in best[1]:
            ends[found[number]] -= blocks[number].work * paces[found[number]]
            ends[host] += blocks[number].work * paces[host]
            found[number] = host


def _tried(
    moves: list[tuple[int, int]],
    found: Sequence[int],
    blocks: Sequence[BlockForecast],
    ends: Sequence[float],
    paces: Sequence[float],
) -> tuple[float, list[tuple[int, int]]]:
    """When the later of the hosts concerned would end."""
    changed: dict[int, float] = {}
    for number, host in moves:
        work, before = blocks[number].work, found[number]
        changed[before] = changed.get(before, ends[before]) - work * paces[before]
        changed[host] = changed.get(host, ends[host]) + work * paces[host]
    return max(changed.values()), moves
