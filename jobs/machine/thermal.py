"""Temperatures of processor and GPU, the point at which the chip throttles, and the fan.

Each function returns its figure or raises AbsentError, whose message says why there is none.
`root` is the root of the kernel's files, `system` is psutil. Zones by name: gpu-thermal,
cpu-thermal and tj-thermal (the hottest of the chip) since JetPack 6, GPU-therm and CPU-therm
before (Jetson Linux Developer Guide, "Thermal Management").
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jobs.machine.sensors import (
    MILLI,
    NOT_SHOWN,
    AbsentError,
    is_temperature,
    read_each,
    read_integer,
    read_text,
)

# Only the processor's chips and zones, then those of the chip around it: disks, radios and the
# PMIC-Die of older Jetsons, which always reads 100 degrees, are none of it.
_CPU_CHIPS = (("coretemp", "k10temp", "zenpower", "cpu"), ("soc",))
_CPU_ZONES = (("cpu", "pkg"), ("soc",))
_GPU_ZONES = (("gpu",), ("tj",))  # the GPU's cannot be read while the GPU is switched off
_CHIP_ZONES = ("cpu", "pkg", "soc", "gpu", "tj")
_ZONES = "sys/class/thermal/thermal_zone*"
_FANS = ("pwmfan", "pwm-fan", "tegra_pwmfan")
_MOST_PWM = 255
_LEAST_TRIP_C = 40.0  # below it are the steps of fans, and points that are not set

_COARSE_MILLIDEGREES = 500
_STUCK_READINGS = 10
_STUCK_S = 60.0


def cpu_temperature_c(system: Any, root: Path) -> float:
    """Return the processor's highest temperature now."""
    try:  # some systems lack this function; some zones of a Jetson make it fail
        chips: dict[str, list[Any]] = getattr(system, "sensors_temperatures", dict)() or {}
    except Exception:  # noqa: BLE001 - psutil fails differently from system to system
        chips = {}
    for names in _CPU_CHIPS:
        found = [
            sensor.current
            for chip, sensors in chips.items()
            if chip.lower().startswith(names)
            for sensor in sensors
            if sensor.current and is_temperature(sensor.current)
        ]
        if found:
            return float(max(found))
    return _zone_temperature_c(root, _CPU_ZONES, "sensor of the processor")


def gpu_temperature_c(root: Path) -> float:
    """Return the temperature of a Jetson's GPU; that of its chip while the GPU has none."""
    return _zone_temperature_c(root, _GPU_ZONES, "thermal zone of the GPU")


def trip_c(root: Path) -> float:
    """Return the lowest temperature at which a zone of the chip throttles: its passive points.

    Active points are steps of a fan, critical ones switch the machine off.
    """
    points = []
    for zone in _zones(root, _CHIP_ZONES):
        for path, millidegrees in read_each(zone, "trip_point_*_temp"):
            kind = read_text(path.with_name(path.name.removesuffix("temp") + "type"))
            celsius = millidegrees * MILLI
            if kind == "passive" and celsius >= _LEAST_TRIP_C and is_temperature(celsius):
                points.append(celsius)
    if not points:
        raise AbsentError(NOT_SHOWN)
    return min(points)


def fan_pct(root: Path) -> float:
    """Return the power of a board's fan, as the kernel has set it: 0 to 100."""
    for chip in sorted(root.glob("sys/class/hwmon/hwmon*")):
        if read_text(chip / "name") in _FANS:
            pwm = read_integer(chip / "pwm1")
            if pwm is not None and not 0 <= pwm <= _MOST_PWM:
                raise AbsentError(f"pwm1 of the fan reads {pwm}, not 0 to {_MOST_PWM}")
            if pwm is not None:
                return 100 * pwm / _MOST_PWM
    raise AbsentError(NOT_SHOWN)


class StuckCheck:
    """Notices a temperature that does not move, which no chip's fine sensor does.

    A sensor with a resolution below half a degree jitters by itself; one of half or whole degrees
    may stand still, so nothing is said of it.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._value: float | None = None
        self._since_s = 0.0
        self._readings = 0

    def checked(self, celsius: float) -> float:
        """Return a temperature.

        Raises:
            AbsentError: it has been the same for too long.
        """
        now_s = self._clock()
        if self._value is None or celsius != self._value:
            self._value, self._since_s, self._readings = celsius, now_s, 0
        self._readings += 1
        is_fine = round(celsius / MILLI) % _COARSE_MILLIDEGREES != 0
        if is_fine and self._readings >= _STUCK_READINGS and now_s - self._since_s >= _STUCK_S:
            raise AbsentError(f"the sensor is stuck: {celsius:g} degrees for {_STUCK_S:.0f} s")
        return celsius


def _zone_temperature_c(root: Path, choices: tuple[tuple[str, ...], ...], what: str) -> float:
    """Return the highest temperature of the zones of the first choice that has any.

    Raises:
        AbsentError: there is no such zone, or none that reads a possible temperature.
    """
    said = f"no {what}"
    for words in choices:
        zones = list(_zones(root, words))
        read = [number * MILLI for zone in zones for _, number in read_each(zone, "temp")]
        if found := [celsius for celsius in read if is_temperature(celsius)]:
            return max(found)
        if read:
            said = f"the {what} reads {read[0]:g} degrees"
        elif zones:
            said = f"the {what} cannot be read"
    raise AbsentError(said)


def _zones(root: Path, words: tuple[str, ...]) -> Iterator[Path]:
    for zone in sorted(root.glob(_ZONES)):
        name = (read_text(zone / "type") or "").lower()
        if any(word in name for word in words):
            yield zone
