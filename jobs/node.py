"""What the machine under a worker is, as its row in `nodes` tells."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import storage
from jobs.conditions import machine_of
from jobs.device import CUDA, Device
from jobs.power.choose import power_of
from jobs.registration import node_name


def describe_node(run_id: str, device: Device) -> storage.NodeRow:
    """The row of this machine, with `device` as the one in use.

    Each figure that could not be taken is NULL, and `note` says why.
    """
    seen = machine_of(device).first
    power = power_of(device)
    return storage.NodeRow(
        run_id=run_id,
        node=node_name(),
        device=device.label,
        host=platform.node(),
        architecture=platform.machine(),
        accelerator=_accelerator(device),
        python=platform.python_version(),
        torch=_version("torch"),
        ray=_version("ray"),
        power_source=power.name,
        power_mode=seen.power_mode,
        note="; ".join(filter(None, (power.note, seen.missing_note()))) or None,
    )


def _accelerator(device: Device) -> str | None:
    if device.name != CUDA:
        return None
    import torch

    name: str = torch.cuda.get_device_name()
    return name


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
