"""The power monitors of Jetson boards, by the kernel's hwmon files: INA3221 chips and an INA238.

An INA3221 has three rails, each with a voltage in mV and a current in mA; an INA238 has one, with
its power in microwatts (the kernel's Documentation/hwmon/ina3221.rst and ina238.rst). Thor's INA238
has no label; jetson_stats (pull request 900) and tegrastats call its rail VIN.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.machine.power.protocol import TOTAL
from jobs.machine.power.source import Clock, PowerError, PowerReading, PowerSource, read_number
from jobs.machine.sensors import AbsentError, read_text

INA3221, INA238 = "ina3221", "ina238"

_PERIOD_MS = 100.0
_UW_PER_MW = 1000
_CHANNELS = re.compile(r"in([123])_label")  # in7 and curr4 are sums of shunts, not rails
_VIN = "VIN"
# A rail that is switched off reads some tenths of a watt below 0 (an offset of its monitor); a
# Thor is throttled at 168 W.
_LEAST_MW, _MOST_MW = -1000.0, 500_000.0


@dataclass(frozen=True)
class BoardTotal:
    """Rails that sum to a board's total.

    Attributes:
        boards: on which boards they are found.
        rails: their names.
        covers: what the total is the power of.
        source: where that is said.
    """

    boards: str
    rails: tuple[str, ...]
    covers: str
    source: str


_GUIDE = "Jetson Linux Developer Guide, Platform Power and Performance,"
TOTALS = (
    BoardTotal(
        "AGX Thor developer kit",
        (_VIN,),
        "the module and its carrier",
        "NVIDIA's forum, topic 366461; tegrastats of r38 and r39",
    ),
    BoardTotal(
        "Orin Nano, Orin NX, Xavier NX",
        ("VDD_IN",),
        "the module",
        f"{_GUIDE} r36.4, Jetson Orin; r35.6, Jetson Xavier NX",
    ),
    BoardTotal(
        "AGX Orin",
        ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
        "the module",
        f"{_GUIDE} r36.4, Jetson Orin",
    ),
    BoardTotal(
        "T5000 and T4000 (Thor) on a carrier without INA238",
        ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"),
        "the module",
        f"{_GUIDE} r38.4, Jetson Thor",
    ),
)
"""Boards by the rails of their total; of two that a board has, the first counts."""


def total_rails(rails: Collection[str]) -> tuple[str, ...]:
    """Return the rails, of those that a board has, whose sum is its total; empty if unknown."""
    return next((total.rails for total in TOTALS if set(total.rails) <= set(rails)), ())


@dataclass(frozen=True)
class Channel:
    """One rail of a chip.

    Attributes:
        rail: its label.
        chip: its driver.
        files: the file with its microwatts, or those with its mV and mA.
    """

    rail: str
    chip: str
    files: tuple[str, ...]

    def read_mw(self) -> float:
        """Return its present power.

        Raises:
            PowerError: a file is gone or contains no number, or the power is absurd.
        """
        numbers = [read_number(file) for file in self.files]
        power_mw = math.prod(numbers) / _UW_PER_MW
        is_backward = len(numbers) > 1 and numbers[0] < 0  # two negative ones would make a power
        if is_backward or not _LEAST_MW <= power_mw <= _MOST_MW:
            raise PowerError(f"rail {self.rail} reads {power_mw / _UW_PER_MW:g} W")
        return power_mw


class BoardRails(PowerSource):
    """All monitors of a board as one source.

    Args:
        channels: its rails, at least one.
        clock: returns nanoseconds; a fake in tests.
    """

    period_ms = _PERIOD_MS

    def __init__(self, channels: Sequence[Channel], clock: Clock) -> None:
        self._channels = tuple(channels)
        self._clock = clock
        chips = {channel.rail: channel.chip for channel in channels}
        self.summed = total_rails(chips.keys())
        made_of = " + ".join(self.summed) or f"no total among {', '.join(sorted(chips))}"
        chip = chips[self.summed[0]] if self.summed else channels[0].chip
        self.name = f"{chip}: {made_of}"

    def read(self) -> PowerReading:
        """Return the present power of every rail."""
        begin_ns = self._clock()
        rails_mw = {channel.rail: channel.read_mw() for channel in self._channels}
        end_ns = self._clock()
        if self.summed:
            rails_mw[TOTAL] = sum(rails_mw[rail] for rail in self.summed)
        return PowerReading(begin_ns, end_ns, rails_mw)


def find_board_rails(root: Path) -> BoardRails:
    """Return the board's monitors as one source.

    Raises:
        AbsentError: there is no chip, or none has rails.
    """
    channels = list(_channels(root))
    if not channels:
        raise AbsentError("no hwmon device of that name")
    return BoardRails(channels, time.monotonic_ns)


def _channels(root: Path) -> Iterator[Channel]:
    """Yield the connected rails; if two share a label, the later one also gets its chip's name."""
    seen: set[str] = set()
    for folder in sorted(root.glob("sys/class/hwmon/hwmon*")):
        chip = read_text(folder / "name")
        rails = _ina3221_rails(folder) if chip == INA3221 else ()
        rails = _ina238_rails(folder) if chip == INA238 else rails
        for rail, files in rails:
            name = f"{rail} ({folder.name})" if rail in seen else rail
            seen.add(rail)
            yield Channel(name, chip or "", tuple(str(folder / file) for file in files))


def _ina3221_rails(folder: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    for label in sorted(folder.glob("in*_label")):
        number = _CHANNELS.fullmatch(label.name)
        rail = read_text(label)
        if number and rail and rail != "NC" and read_text(folder / f"in{number[1]}_enable") != "0":
            yield rail, (f"in{number[1]}_input", f"curr{number[1]}_input")


def _ina238_rails(folder: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    rail = read_text(folder / "in1_label") or read_text(folder / "label") or _VIN
    has_power = (folder / "power1_input").exists()
    yield rail, ("power1_input",) if has_power else ("in1_input", "curr1_input")
