"""Description of a worker's machine, as its row in `nodes`."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import storage
from jobs.machine.clocks import are_clocks_locked
from jobs.machine.condition_reading import ConditionReading
from jobs.machine.conditions import ROOT, machine_of
from jobs.machine.devices import CUDA, Device
from jobs.machine.power.discovery import describe_power
from jobs.machine.registration import node_name
from jobs.machine.sensors import AbsentError


def describe_node(run_id: str, device: Device) -> storage.NodeRow:
    """Return the row of this machine in `nodes`, with `device` as the one in use.

    Each figure that could not be read is NULL, and `note` says why.
    """
    seen = machine_of(device).first
    power = describe_power(device)
    is_locked, why_not = _locks(device, seen)
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
        are_clocks_locked=is_locked,
        note="; ".join(filter(None, (power.note, seen.missing_note(), why_not))) or None,
    )


def _locks(device: Device, seen: ConditionReading) -> tuple[bool | None, str]:
    """Return whether the clocks are locked; if unknown, why, unless `seen` already says so."""
    try:
        return are_clocks_locked(ROOT, is_gpu=device.name == CUDA), ""
    except AbsentError as err:
        return None, "" if str(err) in seen.missing.values() else f"clock locks: {err}"


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
