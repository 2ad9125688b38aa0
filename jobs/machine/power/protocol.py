"""How energy is measured: the windows that power is taken in, and what makes one good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Phase = Literal["idle_before", "active", "idle_after"]

IDLE_BEFORE: Phase = "idle_before"
ACTIVE: Phase = "active"
IDLE_AFTER: Phase = "idle_after"

TOTAL = "total"
"""The rail that figures are made of: all that the source says of the machine, once."""

MAX_W = 1e6
"""Believed of a file or a sensor: a megawatt, beyond any machine, keeps sums finite."""

MIN_SAMPLES = 3
"""Good samples of the total that each window needs to be believed."""

MAX_WINDOW_S = 30.0
"""No window is lengthened beyond this for a slow sensor's sake."""


@dataclass(frozen=True)
class EnergyProtocol:
    """The windows around each timed task; each is longer where a sensor needs it.

    Attributes:
        idle_s: least seconds of each idle window.
        active_s: least seconds of each active window.
        settle_s: waited before each idle window, for clocks and pools to calm down.
    """

    idle_s: float = 1.0
    active_s: float = 1.0
    settle_s: float = 0.5

    def added_s(self, active_windows: int, timed_s: float) -> float:
        """What the windows add to a task whose timed part takes `timed_s`.

        Args:
            active_windows: of forced exits; 0 where the timed part itself is the window.
            timed_s: seconds of the timed part.
        """
        lengthened_s = max(self.active_s - timed_s, 0.0)
        active_s = active_windows * self.active_s if active_windows else lengthened_s
        return 2 * (self.settle_s + self.idle_s) + active_s
