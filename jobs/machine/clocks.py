"""Clocks of processors, of a Jetson's GPU and of its memory, and whether they are locked.

Each function returns its figure or raises AbsentError, whose message says why there is none.
`root` is the root of the kernel's files, `system` is psutil. Sources: the kernel's cpufreq and
devfreq; the names of a Jetson's devices as NVIDIA's Jetson Linux Developer Guide (r35 to r39,
"Platform Power and Performance") and its nvpmodel.conf have them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from jobs.machine.sensors import (
    MILLI,
    NOT_SHOWN,
    AbsentError,
    checked_clock_mhz,
    read_integer,
    read_text,
    read_texts,
)

_CPU = "sys/devices/system/cpu/cpu[0-9]*"
_DEVFREQ = "sys/class/devfreq"
_MICRO = 1e-6
# 17000000.gpu on Orin (gv11b on Xavier, ga10b on Orin before JetPack 6); gpu-gpc-0 on Thor, whose
# gpu-nvd-0 is the video engines.
_GPU = re.compile(r".*\.(gpu|ga10b|gv11b|gp10b)|gpu-gpc-\d+")
# The memory controller: devfreq since JetPack 7; before, a file that root alone can read.
_EMC = (f"{_DEVFREQ}/bwmgr/cur_freq", "sys/kernel/debug/bpmp/debug/clk/emc/rate")

STEADY_GOVERNORS = frozenset({"performance", "userspace"})
"""Governors under which a processor's clock stays where it was set."""


def cpu_clock_mhz(system: Any, root: Path) -> float:
    """Return the present mean clock of the processors that this thread may use: the timed ones.

    Other processors may idle at a low clock meanwhile. If the kernel does not show the clock of
    each processor, the mean is over all.
    """
    files = [f"sys/devices/system/cpu/cpu{n}/cpufreq/scaling_cur_freq" for n in _own_processors()]
    khz = [number for file in files if (number := read_integer(root / file)) is not None]
    if khz:
        return checked_clock_mhz(sum(khz) / len(khz) * MILLI, "cpufreq")
    try:
        frequency = system.cpu_freq()
    except Exception:  # noqa: BLE001 - psutil fails differently from system to system
        frequency = None
    if frequency is None or not frequency.current:
        raise AbsentError("no cpufreq")
    return checked_clock_mhz(float(frequency.current), "cpufreq")


def gpu_clock_mhz(root: Path) -> float:
    """Return the present clock of a Jetson's GPU."""
    for gpu in _gpus(root):
        hertz = read_integer(gpu / "cur_freq")
        if hertz is not None:
            return checked_clock_mhz(hertz * _MICRO, f"devfreq {gpu.name}")
    raise AbsentError("no devfreq of the GPU")


def emc_clock_mhz(root: Path) -> float:
    """Return the present clock of a Jetson's memory controller (EMC)."""
    for file in _EMC:
        hertz = read_integer(root / file)
        if hertz is not None:
            return checked_clock_mhz(hertz * _MICRO, Path(file).parent.name)
    raise AbsentError("in debugfs, for root alone" if _gpus(root) else NOT_SHOWN)


def governors(root: Path) -> frozenset[str]:
    """Return the names of the frequency governors of all processors."""
    names = frozenset(read_texts(root, f"{_CPU}/cpufreq/scaling_governor"))
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
    gpus = _gpus(root)
    if is_gpu and not gpus:
        raise AbsentError("no devfreq of the GPU")
    processors = all(
        read_text(cpu / "scaling_governor") in STEADY_GOVERNORS
        or _is_held(cpu / "scaling_min_freq", cpu / "scaling_max_freq")
        for cpu in cpus
    )
    return processors and all(
        _is_held(gpu / "min_freq", gpu / "max_freq") for gpu in gpus if is_gpu
    )


def _own_processors() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def _gpus(root: Path) -> list[Path]:
    return [path for path in sorted(root.glob(f"{_DEVFREQ}/*")) if _GPU.fullmatch(path.name)]


def _is_held(least: Path, most: Path) -> bool:
    return (text := read_text(least)) is not None and text == read_text(most)
