"""Which source of power this machine has: the first that works, or what $GFJOBS_POWER says."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jobs.common.errors import BadInputError, InputProblem, UsageError
from jobs.machine.devices import CUDA, Device
from jobs.machine.nvml import Gpu, first_gpu, open_gpu
from jobs.machine.power.ina3221 import find_ina3221
from jobs.machine.power.nvml_power import find_nvml
from jobs.machine.power.rapl import find_rapl
from jobs.machine.power.replay import Replay
from jobs.machine.power.source import PowerError, PowerSource
from jobs.machine.sensors import AbsentError

VARIABLE = "GFJOBS_POWER"
ROOT = Path("/")
"""Of the files that a kernel shows; a made tree in tests."""

NONE, METER, REPLAY = "none", "meter", "replay:"
Finder = Callable[[], PowerSource]
"""Gives a source; raises AbsentError where there is none."""

SENSORS = ("ina3221", "nvml", "rapl")
SETTINGS = (*SENSORS, METER, f"{REPLAY}FILE", NONE)


@dataclass(frozen=True)
class PowerChoice:
    """What a node measures power with.

    Attributes:
        source: None where nothing is read.
        name: as `nodes.power_source` shows it; None where there is none.
        note: why there is none, or what is to be done; empty where power is read.
        keeps_marks: whether windows are kept without power, for a meter's log to be imported.
    """

    source: PowerSource | None
    name: str | None
    note: str = ""
    keeps_marks: bool = False


def describe_power(device: Device) -> PowerChoice:
    """What this process measures power with, with a device in use; never raises."""
    return _power_of(device, os.environ.get(VARIABLE, ""))


@cache
def _power_of(device: Device, setting: str) -> PowerChoice:
    return choose_power(device.name, setting, ROOT)


def find_sources(kind: str, root: Path = ROOT) -> PowerChoice:
    """What this machine measures power with, found without torch; never raises.

    Args:
        kind: of its devices, `cpu` or `cuda`; of several GPUs the first speaks for all.
        root: where the kernel's files are.
    """
    return choose_power(kind, os.environ.get(VARIABLE, ""), root, first_gpu)


def check_setting(setting: str) -> None:
    """Refuse a setting that no node could follow.

    Raises:
        UsageError: it is none of SETTINGS.
        BadInputError: the file of a replay has problems.
    """
    if setting.startswith(REPLAY):
        try:
            Replay(Path(setting.removeprefix(REPLAY)))
        except BadInputError as err:
            named = InputProblem(
                f"${VARIABLE}", 0, "", f"{setting!r} names this file", ", ".join(SETTINGS)
            )
            raise BadInputError([*err.problems, named]) from err
    elif setting and setting not in (*SENSORS, METER, NONE):
        raise UsageError(_unknown(setting))


def choose_power(
    device: str, setting: str, root: Path, open_gpu: Callable[[], Gpu] = open_gpu
) -> PowerChoice:
    """Find the source that a setting names; of no setting the first sensor that works.

    Args:
        device: the one in use, `cpu` or `cuda`.
        setting: of $GFJOBS_POWER; empty where it is not set.
        root: where the kernel's files are.
        open_gpu: asked where the GPU is the device.
    """

    def nvml() -> PowerSource:
        if device != CUDA:
            raise AbsentError("the device is no GPU")
        return find_nvml(open_gpu)

    finders: dict[str, Finder] = {
        "ina3221": lambda: find_ina3221(root),
        "nvml": nvml,
        "rapl": lambda: find_rapl(root),
    }
    if not setting:
        return _first(finders)
    if setting in finders:
        return _first({setting: finders[setting]})
    return _without_sensor(setting)


def _first(finders: Mapping[str, Finder]) -> PowerChoice:
    """The first that is there and answers; else why none does."""
    refused = []
    for name, find in finders.items():
        source, why_not = _tried(find)
        if source:
            return PowerChoice(source, source.name)
        refused.append(f"{name} ({why_not})")
    return PowerChoice(None, None, f"power: no source: {', '.join(refused)}")


def _tried(find: Finder) -> tuple[PowerSource | None, str]:
    try:
        source = find()
        source.read()
    except (AbsentError, PowerError) as err:
        return None, str(err)
    except Exception as err:  # noqa: BLE001 - NVML fails in ways of its own; it costs the power
        return None, f"{type(err).__name__}: {err}"
    return source, ""


def _without_sensor(setting: str) -> PowerChoice:
    if setting == NONE:
        return PowerChoice(None, None, f"power: switched off by {VARIABLE}={NONE}")
    if setting == METER:
        note = "power: of a meter, whose log gfjobs power import adds"
        return PowerChoice(None, METER, note, keeps_marks=True)
    if not setting.startswith(REPLAY):
        return PowerChoice(None, None, f"power: {_unknown(setting)}")
    try:
        replay = Replay(Path(setting.removeprefix(REPLAY)))
    except BadInputError as err:
        return PowerChoice(None, None, f"power: {' '.join(str(err).split())}")
    return PowerChoice(replay, replay.name)


def _unknown(setting: str) -> str:
    return f"{VARIABLE}={setting} is unknown; allowed: {', '.join(SETTINGS)}, or nothing"
