"""Devices by the names that a grid uses, and what a clock needs of them: to synchronise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ANY = "any"
CPU = "cpu"
CUDA = "cuda"
# Device files of a discrete NVIDIA GPU, and of the one inside a Jetson.
_CUDA_FILES = ("/dev/nvidia0", "/dev/nvhost-gpu", "/dev/nvgpu/igpu0/as")


@dataclass(frozen=True)
class Device:
    """A device that this process can use.

    Attributes:
        name: `cpu` or `cuda`, as torch calls it and as rows show it.
        synchronise: returns once all work given to the device is done.
    """

    name: str
    synchronise: Callable[[], None]


def local_devices() -> tuple[str, ...]:
    """Names that a grid may use on this machine alone; finding out loads no torch."""
    has_cuda = any(Path(file).exists() for file in _CUDA_FILES)
    return (ANY, CPU, CUDA) if has_cuda else (ANY, CPU)


def use_device(name: str) -> Device:
    """The device that a name means here; `any` prefers a GPU.

    Raises:
        ValueError: torch does not see such a device.
    """
    import torch

    has_cuda = torch.cuda.is_available()
    if name == ANY:
        name = CUDA if has_cuda else CPU
    if name == CUDA and has_cuda:
        return Device(CUDA, torch.cuda.synchronize)
    if name == CPU:
        return Device(CPU, _nothing)  # the CPU's calls return when their work is done
    raise ValueError(
        f"torch {torch.__version__} sees no device {name!r} on this node; install a torch build"
        " for it, or choose devices: [cpu]"
    )


def gpu_uuid() -> str:
    """The name of the GPU in use that holds outside of torch too."""
    import torch

    return f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"


def _nothing() -> None:
    """Return: there is nothing to wait for."""
