"""Counts finished batches, so that a slow worker is not mistaken for a hung one.

Costs one addition per batch, outside all timed sections. It is read only if a task takes very long.
"""

from __future__ import annotations

_batches = 0


def count_batch() -> None:
    """Count one completed step: a batch, a model, an idle window."""
    global _batches  # noqa: PLW0603 - the one counter of this process
    _batches += 1


def completed_batches() -> int:
    """Return the number of steps counted so far in this process."""
    return _batches
