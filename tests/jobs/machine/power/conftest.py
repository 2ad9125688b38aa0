"""What boards show of their power: the layout is a kernel's, the values are made up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

NANO = {"1-0040": {"VDD_IN": (5000, 1200), "VDD_CPU_GPU_CV": (5000, 300), "VDD_SOC": (5000, 280)}}
NX = {"1-0040": {"VDD_IN": (4960, 1900), "VDD_CPU_GPU_CV": (4960, 800), "VDD_SOC": (4968, 344)}}
AGX = {
    "1-0040": {"VDD_GPU_SOC": (19000, 200), "VDD_CPU_CV": (19000, 60), "VIN_SYS_5V0": (5000, 900)},
    "1-0041": {"NC": (0, 0), "VDDQ_VDD2_1V8AO": (5000, 120), "NC ": (0, 0)},
}
XAVIER = {
    "1-0040": {"GPU": (19000, 50), "CPU": (19000, 60), "SOC": (19000, 90)},
    "1-0041": {"CV": (19000, 0), "VDDRQ": (19000, 30), "SYS5V": (19000, 120)},
}

Chips = Mapping[str, Mapping[str, tuple[int, int]]]
Board = Callable[[Chips], Path]


def put(path: Path, text: object) -> None:
    """Write a file as a kernel shows it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


@pytest.fixture
def board(tmp_path: Path) -> Board:
    """A board's /sys with its INA3221 chips: mV and mA by rail, three rails a chip."""

    def make(chips: Chips) -> Path:
        put(tmp_path / "sys/class/hwmon/hwmon0/name", "cpu_thermal")
        for number, (address, rails) in enumerate(chips.items(), start=1):
            device = tmp_path / f"sys/devices/platform/bus@0/c240000.i2c/i2c-1/{address}"
            chip = device / f"hwmon/hwmon{number}"
            put(chip / "name", "ina3221")
            for channel, (rail, (millivolts, milliamperes)) in enumerate(rails.items(), start=1):
                put(chip / f"in{channel}_label", rail.strip())
                put(chip / f"in{channel}_enable", 1)
                put(chip / f"in{channel}_input", millivolts)
                put(chip / f"curr{channel}_input", milliamperes)
                put(chip / f"curr{channel}_crit", 32760)
            put(chip / "in7_label", "sum of shunt voltages")
            put(chip / "in7_input", 1234)
            put(chip / "curr4_input", 77)
            link = tmp_path / f"sys/class/hwmon/hwmon{number}"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(chip)
        return tmp_path

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
