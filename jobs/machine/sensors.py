"""Kernel readings: clock, temperature, governor, power mode, throttle events, load.

Each function returns its figure or raises: AbsentError if the machine has no such source, else
whatever the source raised. `root` is the root of the kernel's files, `system` is psutil.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

_CPU = "sys/devices/system/cpu/cpu[0-9]*"
# Only the processor's chips and zones: disks and radios have temperatures of their own.
_CPU_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu", "soc")
_CPU_ZONES = ("cpu", "pkg", "soc")
_MILLI = 1e-3
# GPUs of Orin and earlier Jetsons in /sys/class/devfreq.
_GPU = re.compile(r"\.(gpu|ga10b|gv11b|gp10b)$")

STEADY_GOVERNORS = frozenset({"performance", "userspace"})
"""Governors under which a processor's clock stays where it was set."""

Events = dict[tuple[str, str], int]
"""Number of throttle events since boot, by file and reason."""


class AbsentError(Exception):
    """This machine lacks a source; the message names it."""


def clock_mhz(system: Any, root: Path) -> float:
    """Return the present mean clock of the processors that this thread may use: the timed ones.

    Other processors may idle at a low clock meanwhile. If the kernel does not show the clock of
    each processor, the mean is over all.
    """
    files = [f"sys/devices/system/cpu/cpu{n}/cpufreq/scaling_cur_freq" for n in _own_processors()]
    khz = [int(text) for file in files if (text := _text(root / file))]
    if khz:
        return sum(khz) / len(khz) * _MILLI
    try:
        frequency = system.cpu_freq()
    except Exception:  # noqa: BLE001 - psutil fails differently from system to system
        frequency = None
    if frequency is None or not frequency.current:
        raise AbsentError("no cpufreq")
    return float(frequency.current)


def _own_processors() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def temperature_c(system: Any, root: Path) -> float:
    """Return the processor's highest temperature now."""
    # On some systems psutil lacks this function.
    chips: dict[str, list[Any]] = getattr(system, "sensors_temperatures", dict)() or {}
    found = [
        sensor.current
        for chip, sensors in chips.items()
        if chip.lower().startswith(_CPU_CHIPS)
        for sensor in sensors
        if sensor.current
    ]
    if not found:
        for zone in root.glob("sys/class/thermal/thermal_zone*"):
            if any(word in (_text(zone / "type") or "").lower() for word in _CPU_ZONES):
                # The zone of a component that is switched off cannot be read.
                found += [int(text) * _MILLI for text in _texts(zone, "temp")]
    if not found:
        raise AbsentError("no sensor of the processor")
    return float(max(found))


def governors(root: Path) -> frozenset[str]:
    """Return the names of the frequency governors of all processors."""
    names = frozenset(_texts(root, f"{_CPU}/cpufreq/scaling_governor"))
    if not names:
        raise AbsentError("no cpufreq")
    return names


def are_clocks_locked(root: Path, *, is_gpu: bool) -> bool:
    """Return whether the clocks of all processors, and of a Jetson's GPU in use, are fixed.

    `jetson_clocks` keeps the governors, and raises the minimum frequency to the maximum.

    Args:
        root: root of the kernel's files.
        is_gpu: the GPU is the device in use.
    """
    cpus = [path.parent for path in root.glob(f"{_CPU}/cpufreq/scaling_governor")]
    if not cpus:
        raise AbsentError("no cpufreq")
    gpus = [path for path in root.glob("sys/class/devfreq/*") if _GPU.search(path.name)]
    if is_gpu and not gpus:
        raise AbsentError("no devfreq of the GPU")
    processors = all(
        _text(cpu / "scaling_governor") in STEADY_GOVERNORS
        or _is_held(cpu / "scaling_min_freq", cpu / "scaling_max_freq")
        for cpu in cpus
    )
    return processors and all(
        _is_held(gpu / "min_freq", gpu / "max_freq") for gpu in gpus if is_gpu
    )


def _is_held(least: Path, most: Path) -> bool:
    return (text := _text(least)) is not None and text == _text(most)


def power_mode(root: Path) -> str:
    """Return the number of a Jetson's power mode."""
    text = _text(root / "var/lib/nvpmodel/status")
    if text is None:
        raise AbsentError("no nvpmodel")
    return str(int(text.removeprefix("pmode:")))


def cpu_events(root: Path) -> Events:
    """Return how often an x86 processor was throttled because of its temperature."""
    return _counts(root, f"{_CPU}/thermal_throttle/*_throttle_count", lambda _name: "thermal")


def jetson_events(root: Path) -> Events:
    """Return how often a Jetson's hardware throttled: oc1, oc2, oc3, by voltage or current."""
    # Shown by the kernel driver tegra23x-oc-event as the hwmon device soctherm_oc.
    files = "sys/class/hwmon/hwmon*/oc[0-9]*_event_cnt"
    return _counts(root, files, lambda name: name.removesuffix("_event_cnt"))


def busy_s(system: Any) -> float:
    """Return the non-idle time of all processors since boot, including what a hypervisor took."""
    times = system.cpu_times()._asdict()
    # `user` already includes guest time.
    idle = ("idle", "iowait", "guest", "guest_nice")
    return float(sum(value for name, value in times.items() if name not in idle))


def own_s(system: Any) -> float:
    """Return the processor time used by this process and all its descendants."""
    process = system.Process()
    total = 0.0
    for each in (process, *process.children(recursive=True)):
        try:
            times = each.cpu_times()
        except system.Error:  # it has ended; its time is in its parent's children_*
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def _counts(root: Path, files: str, reason: Callable[[str], str]) -> Events:
    """Return the numbers in files; files that cannot be read are skipped."""
    texts = {path: _text(path) for path in root.glob(files)}
    return {
        (str(path), reason(path.name)): int(text)
        for path, text in texts.items()
        if text is not None
    }


def _texts(root: Path, files: str) -> list[str]:
    """Return the contents of files; empty and unreadable ones are skipped."""
    return [text for path in root.glob(files) if (text := _text(path))]


def _text(path: Path) -> str | None:
    """Return the content of a file; None if it does not exist or cannot be read."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
