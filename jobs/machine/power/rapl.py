"""RAPL: the energy counters of x86 processors, by the kernel's powercap files."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path

from jobs.machine.power.source import (
    Clock,
    EnergyCounter,
    PowerError,
    PowerReading,
    PowerSource,
    read_number,
)
from jobs.machine.sensors import AbsentError

# Not intel-rapl-mmio, another interface to the same counters.
_DOMAIN = re.compile(r"intel-rapl:(\d+)(:\d+)?")
_PACKAGE = "package-"
_PERIOD_MS = 100.0
_UJ_PER_MJ = 1000


class Rapl(PowerSource):
    """All RAPL domains; the total is the sum of the packages, which contain the other domains.

    Args:
        files: each domain's energy file, by rail.
        ranges_mj: value at which each counter wraps to 0.
        clock: returns nanoseconds; a fake in tests.
    """

    period_ms = _PERIOD_MS

    def __init__(
        self, files: Mapping[str, str], ranges_mj: Mapping[str, float], clock: Clock
    ) -> None:
        self._files = files
        self.summed = tuple(rail for rail in files if _is_package(rail))
        self.name = f"rapl: {' + '.join(self.summed)}"
        self._counter = EnergyCounter(self._read_mj, self.summed, ranges_mj, clock)

    def read(self) -> PowerReading | None:
        """Return every domain's mean power since the last reading."""
        return self._counter.read()

    def _read_mj(self) -> dict[str, float]:
        return {rail: read_number(file) / _UJ_PER_MJ for rail, file in self._files.items()}


def find_rapl(root: Path, clock: Clock = time.monotonic_ns) -> Rapl:
    """Return the processor's energy counters as a source.

    Raises:
        AbsentError: there are none, or this user may not read them.
    """
    folders = {
        path.name: path
        for path in sorted(root.glob("sys/class/powercap/intel-rapl:*"))
        if _DOMAIN.fullmatch(path.name)
    }
    names = {folder: _name(path) for folder, path in folders.items()}
    files: dict[str, str] = {}
    ranges_mj: dict[str, float] = {}
    for folder, path in folders.items():
        parent = folder.rpartition(":")[0]
        rail = f"{names[parent]}/{names[folder]}" if parent in names else names[folder]
        try:
            read_number(str(path / "energy_uj"))
            ranges_mj[rail] = read_number(str(path / "max_energy_range_uj")) / _UJ_PER_MJ
        except PowerError as err:
            if isinstance(err.__cause__, PermissionError):
                raise AbsentError(
                    "only root may read its counters; allow it with: sudo chmod a+r"
                    " /sys/class/powercap/intel-rapl:*/energy_uj"
                ) from err
            raise AbsentError(str(err)) from err
        files[rail] = str(path / "energy_uj")
    if not any(map(_is_package, files)):
        raise AbsentError("no package's energy counter under /sys/class/powercap")
    return Rapl(files, ranges_mj, clock)


def _is_package(rail: str) -> bool:
    return rail.startswith(_PACKAGE) and "/" not in rail


def _name(path: Path) -> str:
    try:
        return (path / "name").read_text().strip()
    except OSError:
        return path.name
