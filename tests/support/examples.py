"""How many examples a property is tried with."""

from __future__ import annotations

from hypothesis import settings

FEW = "few"
"""The profile of `make test`."""

MANY = "many"
"""The profile of `make faults`: pytest --hypothesis-profile=many."""


def is_many() -> bool:
    """Whether there is time for many."""
    return settings.get_current_profile_name() == MANY


def examples(few: int) -> int:
    """So few, and twenty times as many where there is time."""
    return few * (20 if is_many() else 1)
