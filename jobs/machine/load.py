"""The load of a machine: processor time used by all, and by this process and its children."""

from __future__ import annotations

from typing import Any


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
