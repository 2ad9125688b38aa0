"""Energy measurement protocol: the windows in which power is measured, and their limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Phase = Literal["idle_before", "active", "idle_after"]

IDLE_BEFORE: Phase = "idle_before"
ACTIVE: Phase = "active"
IDLE_AFTER: Phase = "idle_after"

TOTAL = "total"
"""The rail used for energy figures: all power that the source measures, counted once."""

MAX_W = 1e6
"""Largest accepted reading, 1 MW: above any machine's power, and it keeps sums finite."""

MIN_SAMPLES = 3
"""Valid samples of the total that each window needs."""

MAX_WINDOW_S = 30.0
"""No window is lengthened beyond this for a slow sensor."""


@dataclass(frozen=True)
class EnergyProtocol:
    """The windows around each timed task; each is lengthened if a sensor needs it.

    Attributes:
        idle_s: minimum seconds of each idle window.
        active_s: minimum seconds of each active window.
        settle_s: seconds to wait before each idle window, for clocks and thread pools to settle.
    """

    idle_s: float = 1.0
    active_s: float = 1.0
    settle_s: float = 0.5

    def added_s(self, active_windows: int, timed_s: float) -> float:
        """Return the seconds that the windows add to a task whose timed part takes `timed_s`.

        Args:
            active_windows: number of windows of forced exits; 0 if the timed part is the window.
            timed_s: seconds of the timed part.
        """
        lengthened_s = max(self.active_s - timed_s, 0.0)
        active_s = active_windows * self.active_s if active_windows else lengthened_s
        return 2 * (self.settle_s + self.idle_s) + active_s
