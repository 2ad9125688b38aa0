"""What counts as a regression."""

from __future__ import annotations

from dataclasses import dataclass

LEAST_NIGHTS = 8
"""Comparable earlier nights needed to judge latency or energy: fewer do not show the scatter."""


@dataclass(frozen=True)
class Settings:
    """How a night is judged.

    Attributes:
        window: number of earlier nights to compare with.
        baseline: the pinned run that slow drifts are measured from; None: the first night.
        control: a model that never changes, whose drift is divided out of the others'; None: none.
        false_alarms: accepted per night and device, over all its cells and metrics.
        effect_pct: slowdowns and drifts up to this are not reported, percent.
        accuracy_points: a drop of accuracy that is always reported, however few images it is.
    """

    window: int = 30
    baseline: str | None = None
    control: str | None = None
    false_alarms: float = 0.01
    effect_pct: float = 2.0
    accuracy_points: float = 0.5

    def __post_init__(self) -> None:
        """Raises: ValueError: a number is out of range."""
        if self.window < LEAST_NIGHTS:
            raise ValueError(
                f"a window of {self.window} nights; at least {LEAST_NIGHTS} are needed"
            )
        if not 0 < self.false_alarms < 1:
            raise ValueError(f"{self.false_alarms} false alarms per night; give between 0 and 1")
