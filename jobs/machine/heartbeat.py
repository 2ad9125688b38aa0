"""Counts finished batches, so that a slow worker is not mistaken for a hung one.

One addition a batch, outside of all clocks. Nobody reads it unless a task takes very long.
"""

from __future__ import annotations

_batches = 0


def count_batch() -> None:
    """Something was finished: a batch, a model, an idle window."""
    global _batches  # noqa: PLW0603 - the one counter of this process
    _batches += 1


def completed_batches() -> int:
    """How often so far."""
    return _batches
