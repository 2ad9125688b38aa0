"""Devices by the names that a grid uses, and their synchronisation for timing.

`any`, `cpu` and `cuda` are valid on every machine; other names are those under which a node has
registered its devices.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from glob import glob
from typing import Any, Protocol

from jobs.machine.registration import read_registration

ANY = "any"
CPU = "cpu"
CUDA = "cuda"
SLUG = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
"""Names of devices; valid as values of Ray labels too."""

SLUG_RULE = "lower-case letters, digits, '.' and '-', at most 63, such as jetson-orin-nano"
# Files of a discrete NVIDIA GPU (a container may have any one of several), of a Jetson's integrated
# one, and of Windows' driver for Linux.
_CUDA_FILES = (
    "/dev/nvidia[0-9]*",
    "/dev/nvhost-gpu",
    "/dev/nvgpu/igpu0/as",
    "/usr/lib/wsl/lib/libcuda.so.1",
)


class DeviceTimer(Protocol):
    """A clock of the device itself, which reads it where the submitted work has got to."""

    def start(self) -> None:
        """Read it after all work submitted so far."""

    def stop(self) -> None:
        """Read it again, after all work submitted so far."""

    def elapsed_ms(self) -> float:
        """Return the time between both, once the device is synchronised."""


@dataclass(frozen=True)
class Device:
    """A device that this process can use.

    Attributes:
        name: `cpu` or `cuda`, as torch calls it; if there are several GPUs, the one in use.
        synchronise: returns once all work submitted to the device is done.
        label: its name in rows: the registered one, else `name`.
        number: index among several GPUs.
        free: releases the memory that torch caches on the device but does not use.
        timer: the device's own clock; None if it computes on the host's, as a CPU does.
    """

    name: str
    synchronise: Callable[[], None]
    label: str
    number: int = 0
    free: Callable[[], None] = lambda: None
    timer: DeviceTimer | None = None


class CudaTimer:
    """Two CUDA events on torch's current stream, used again for each time."""

    def __init__(self) -> None:
        import torch

        cuda: Any = torch.cuda  # its events have no types
        self._began, self._ended = (cuda.Event(enable_timing=True) for _ in range(2))

    def start(self) -> None:
        """Record the first event."""
        self._began.record()

    def stop(self) -> None:
        """Record the second event."""
        self._ended.record()

    def elapsed_ms(self) -> float:
        """Return the milliseconds between both; half a microsecond is resolved."""
        return float(self._began.elapsed_time(self._ended))


def local_devices() -> tuple[str, ...]:
    """Return the device names that a grid may use on this machine; does not load torch.

    Those under which its node registered them, too.
    """
    registered = read_registration()
    own = registered.devices if registered else ()
    return tuple(dict.fromkeys((ANY, CPU, *((CUDA,) if _has_cuda_files() else ()), *own)))


def keep_cuda_bindings_out() -> None:
    """Make torch do without its CUDA bindings where no GPU is; to be called before its import.

    It needs them for graphs of a GPU alone, and works without; they take 11 MiB.
    """
    if not _has_cuda_files():
        modules: dict[str, Any] = sys.modules
        modules.setdefault("cuda.bindings", None)  # as Python says that there is no such module


def _has_cuda_files() -> bool:
    return any(map(glob, _CUDA_FILES))


def use_device(name: str, place: int = 0) -> Device:
    """Return the device that a name stands for on this machine; `any` prefers a GPU.

    Args:
        name: as in a grid, or as this machine's node has registered it.
        place: index among several equal devices.

    Raises:
        ValueError: torch does not see such a device, or no device here has that name.
    """
    import torch

    registered = read_registration()
    label, number = "", place
    if registered is not None:
        if name == ANY or (name == CUDA == registered.kind):
            name = next(iter(registered.devices))
        if name in registered.devices:
            numbers = registered.devices[name]
            label, number, name = name, numbers[place % len(numbers)], registered.kind
    sees_gpu = has_cuda()
    if name == ANY:
        name = CUDA if sees_gpu else CPU
    if name == CUDA and sees_gpu:
        if torch.cuda.device_count() > 1:
            torch.cuda.set_device(number)
        return Device(
            CUDA,
            torch.cuda.synchronize,
            label or CUDA,
            number,
            free=torch.cuda.empty_cache,
            timer=CudaTimer(),
        )
    if name == CPU:
        return Device(CPU, _nothing, label or CPU)  # calls on the CPU are synchronous
    raise ValueError(
        f"torch {torch.__version__} sees no device {name!r} on this node; install a torch build"
        " for it, or choose devices: [cpu]"
    )


def has_cuda() -> bool:
    """Return whether torch sees a GPU on this machine."""
    import torch

    return bool(torch.cuda.is_available())


def find_gpu_fault() -> str:
    """Return why torch cannot compute on the GPU that it sees; empty if it can.

    A build without code for a GPU sees it all the same: `no kernel image is available`.
    """
    import torch

    try:
        (torch.ones(2, device=CUDA) + 1).sum().item()
    except RuntimeError as err:
        return str(err).splitlines()[0]
    return ""


def gpu_uuid() -> str:
    """Return the UUID of the GPU in use, which identifies it outside torch too."""
    import torch

    return f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"


def _nothing() -> None:
    """Return at once: there is nothing to wait for."""
