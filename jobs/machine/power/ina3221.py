"""The INA3221 of Jetson boards, by the kernel's hwmon files: all of the three rails per chip."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.machine.power.protocol import TOTAL
from jobs.machine.power.source import Clock, PowerReading, PowerSource, read_number
from jobs.machine.sensors import AbsentError

TOTALS = (("VDD_IN",), ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"))
"""Rails that sum to the whole module: Orin Nano, Orin NX and Xavier NX have one; AGX Orin three."""

_CHANNELS = re.compile(r"in([123])_label")  # in7 and curr4 are sums of shunts, not rails
_PERIOD_MS = 100.0
_UW_PER_MW = 1000


@dataclass(frozen=True)
class Channel:
    """One rail of a chip.

    Attributes:
        rail: its label.
        volts, amperes: files with its voltage in mV and current in mA.
    """

    rail: str
    volts: str
    amperes: str


class Ina3221(PowerSource):
    """All chips of a board as one source.

    Args:
        channels: its rails, at least one.
        clock: returns nanoseconds; a fake in tests.
    """

    period_ms = _PERIOD_MS

    def __init__(self, channels: Sequence[Channel], clock: Clock) -> None:
        self._channels = tuple(channels)
        self._clock = clock
        rails = {channel.rail for channel in channels}
        self.summed = next((total for total in TOTALS if rails.issuperset(total)), ())
        made_of = " + ".join(self.summed) or f"no total among {', '.join(sorted(rails))}"
        self.name = f"ina3221: {made_of}"

    def read(self) -> PowerReading:
        """Return the present power of every rail."""
        begin_ns = self._clock()
        rails_mw = {
            channel.rail: read_number(channel.volts) * read_number(channel.amperes) / _UW_PER_MW
            for channel in self._channels
        }
        end_ns = self._clock()
        if self.summed:
            rails_mw[TOTAL] = sum(rails_mw[rail] for rail in self.summed)
        return PowerReading(begin_ns, end_ns, rails_mw)


def find_ina3221(root: Path) -> Ina3221:
    """Return the board's chips as one source.

    Raises:
        AbsentError: there is no chip, or none has rails.
    """
    channels = list(_channels(root))
    if not channels:
        raise AbsentError("no hwmon device of that name")
    return Ina3221(channels, time.monotonic_ns)


def _channels(root: Path) -> Iterator[Channel]:
    """Yield the connected rails; if two share a label, the later one also gets its chip's name."""
    seen: set[str] = set()
    for chip in sorted(root.glob("sys/class/hwmon/hwmon*")):
        if _text(chip / "name") != "ina3221":
            continue
        for label in sorted(chip.glob("in*_label")):
            number = _CHANNELS.fullmatch(label.name)
            rail = _text(label)
            if not number or not rail or rail == "NC":
                continue
            channel = number[1]
            if _text(chip / f"in{channel}_enable") == "0":
                continue
            name = f"{rail} ({chip.name})" if rail in seen else rail
            seen.add(rail)
            yield Channel(
                name, str(chip / f"in{channel}_input"), str(chip / f"curr{channel}_input")
            )


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
