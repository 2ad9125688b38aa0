"""Facts of the machine and its software that an acceptance is read with."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jobs.common.clock import now
from jobs.common.version import gfjobs_version, git_revision
from jobs.machine.conditions import machine_of
from jobs.machine.devices import CUDA, Device
from jobs.machine.power.discovery import describe_power


def describe_machine(device: Device) -> dict[str, Any]:
    """Return what tells this machine and its software apart; None for what it does not tell."""
    import torch

    cudnn: Any = torch.backends.cudnn
    facts: dict[str, Any] = {
        "made_at": now().isoformat(timespec="seconds") + "Z",
        "device": device.name,
        "gpu": None,
        "compute_capability": None,
        "memory_bytes": None,
        "driver": _driver(),
        "cuda": torch.version.cuda,
        "cudnn": cudnn.version(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": _processor(),
        "architecture": platform.machine(),
        "system": platform.platform(),
        "power_source": describe_power(device).name,
        "not_readable": machine_of(device).first.missing_note() or None,
        "gfjobs": gfjobs_version(),
        "git_revision": git_revision(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }
    if device.name == CUDA:
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        facts |= {
            "gpu": properties.name,
            "compute_capability": f"{properties.major}.{properties.minor}",
            "memory_bytes": properties.total_memory,
        }
    return facts


_PACKAGES = ("triton", "onnxruntime", "onnxruntime-gpu", "openvino", "nvidia-ml-py", "ray")


def _driver() -> str | None:
    """Return the version of NVIDIA's driver, as NVML tells it."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except Exception:  # noqa: BLE001 - the package, the library or the driver is not there
        return None


def _processor() -> str | None:
    """Return the processor's name."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
