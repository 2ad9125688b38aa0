"""What boards show of their power: the layout is a kernel's, the values are made up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from support.boards import Chips, put, put_rails

Board = Callable[[Chips], Path]


@pytest.fixture
def board(tmp_path: Path) -> Board:
    """A board's /sys with its INA3221 chips: mV and mA by rail, three rails a chip."""

    def make(chips: Chips) -> Path:
        return put_rails(tmp_path, chips)

    return make


@pytest.fixture
def powercap(tmp_path: Path) -> Callable[[Mapping[str, tuple[str, int]], int], Path]:
    """A processor's /sys/class/powercap: name and uJ by folder."""

    def make(domains: Mapping[str, tuple[str, int]], range_uj: int = 262_143_328_850) -> Path:
        for folder, (name, energy_uj) in domains.items():
            path = tmp_path / "sys/class/powercap" / folder
            put(path / "name", name)
            put(path / "energy_uj", energy_uj)
            put(path / "max_energy_range_uj", range_uj)
        return tmp_path

    return make


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        """The time."""
        return self.now_ns
