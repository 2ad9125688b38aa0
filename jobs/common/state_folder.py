"""The folder of what gfjobs keeps for a user from one day to the next: schedules, history."""

from __future__ import annotations

import os
from pathlib import Path


def state_folder() -> Path:
    """Return this user's folder: below $XDG_STATE_HOME, else ~/.local/state; it may not exist."""
    state = os.environ.get("XDG_STATE_HOME", "")
    base = Path(state) if Path(state).is_absolute() else Path("~/.local/state").expanduser()
    return base / "gfjobs"
