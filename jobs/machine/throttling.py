"""What throttles a machine: its counters of events, and its cooling devices.

Counters are compared before and after a timed section; the state of a cooling device is read at
both moments. Sources: Linux's thermal_throttle and thermal drivers; NVIDIA's tegra23x-oc-event and
thermal-trip-event (Jetson Linux Developer Guide, "Thermal Management").
"""

from __future__ import annotations

import re
from pathlib import Path

from jobs.machine.sensors import read_each, read_text

Events = dict[tuple[str, str], int]
"""Number of throttle events since boot, by file and reason."""

_CPU_COUNTS = "sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count"
_OC_COUNTS = "sys/class/hwmon/hwmon*/oc[0-9]*_event_cnt"
_COOLING = "sys/class/thermal/cooling_device*/cur_state"
# Alerts of a Jetson (cpu-throttle-alert; cpu-balanced before JetPack 6), and clocks that the kernel
# has capped (cpufreq-cpu0, devfreq-17000000.gpu, thermal-devfreq-0). Fans and hot-surface-alert
# throttle nothing; Processor and TCC Offset of a PC are settings.
_THROTTLES = re.compile(r".+-(throttle-alert|balanced)|(thermal-)?(cpufreq|devfreq)-.+")
_OF_GPU = re.compile(r".+-throttle-alert|(thermal-)?devfreq-.+|gpu-.+")


def cpu_events(root: Path) -> Events:
    """Return how often an x86 processor was throttled because of its temperature."""
    return {(str(path), "thermal"): count for path, count in read_each(root, _CPU_COUNTS)}


def jetson_events(root: Path) -> Events:
    """Return how often a Jetson's hardware throttled.

    By name: oc1 for undervoltage, oc2 for the average current, oc3 for the instantaneous one.
    """
    # Shown by the kernel driver tegra23x-oc-event as the hwmon device soctherm_oc.
    return {
        (str(path), path.name.removesuffix("_event_cnt")): count
        for path, count in read_each(root, _OC_COUNTS)
        if count >= 0
    }


def cooling_states(root: Path) -> dict[str, int]:
    """Return the present state of each cooling device that throttles; above 0 it does so now."""
    states: dict[str, int] = {}
    for path, state in read_each(root, _COOLING):
        name = read_text(path.with_name("type")) or ""
        most = next((number for _, number in read_each(path.parent, "max_state")), None)
        # A state that the device does not have is a lie, not a throttle.
        if _THROTTLES.fullmatch(name) and state >= 0 and (most is None or state <= most):
            states[name] = max(state, states.get(name, 0))
    return states


def is_of_gpu(name: str) -> bool:
    """Return whether a cooling device tells of a GPU's throttling."""
    return _OF_GPU.fullmatch(name) is not None
