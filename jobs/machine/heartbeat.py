"""Counts finished batches, so that a slow worker is not mistaken for a hung one.

One addition a batch, outside of all clocks. Nobody reads it unless a task takes very long.
"""

from __future__ import annotations

_beats = 0


def beat() -> None:
    """Something was finished: a batch, a model, an idle window."""
    global _beats  # noqa: PLW0603 - the one counter of this process
    _beats += 1


def beats() -> int:
    """How often so far."""
    return _beats
