"""Choice of this machine's power source: the one in $GFJOBS_POWER, or the first that works."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from jobs.common.errors import BadInputError, UsageError
from jobs.machine.devices import CUDA, Device
from jobs.machine.nvml import Gpu, first_gpu, open_gpu
from jobs.machine.power.board_rails import INA3221, find_board_rails
from jobs.machine.power.nvml_power import find_nvml
from jobs.machine.power.rapl import find_rapl
from jobs.machine.power.replay import Replay
from jobs.machine.power.source import PowerError, PowerSource
from jobs.machine.sensors import AbsentError

VARIABLE = "GFJOBS_POWER"
ROOT = Path("/")
"""Root of the kernel's files; a temporary tree in tests."""

NONE, METER, REPLAY = "none", "meter", "replay:"
Finder = Callable[[], PowerSource]
"""Returns a source; raises AbsentError if there is none."""

SENSORS = (INA3221, "nvml", "rapl")
SETTINGS = (*SENSORS, METER, f"{REPLAY}FILE", NONE)


@dataclass(frozen=True)
class PowerChoice:
    """The power source of a node.

    Attributes:
        source: None if nothing is read.
        name: its name in `nodes.power_source`; None if there is no source.
        note: why there is no source, or what to do next; empty if power is read.
        keeps_marks: whether windows are kept without power, for a later import of a meter's log.
    """

    source: PowerSource | None
    name: str | None
    note: str = ""
    keeps_marks: bool = False


def describe_power(device: Device) -> PowerChoice:
    """Return this process's power source for the device in use; never raises."""
    return _power_of(device, os.environ.get(VARIABLE, ""))


@cache
def _power_of(device: Device, setting: str) -> PowerChoice:
    return choose_power(device.name, setting, ROOT)


def find_sources(kind: str, root: Path = ROOT) -> PowerChoice:
    """Return this machine's power source, without loading torch; never raises.

    Args:
        kind: of its devices, `cpu` or `cuda`; the first GPU stands for all.
        root: root of the kernel's files.
    """
    return choose_power(kind, os.environ.get(VARIABLE, ""), root, first_gpu)


def check_setting(setting: str) -> None:
    """Check a value of $GFJOBS_POWER.

    Raises:
        UsageError: it is none of SETTINGS.
        BadInputError: the replay file has problems.
    """
    if setting.startswith(REPLAY):
        try:
            Replay(Path(setting.removeprefix(REPLAY)))
        except BadInputError as err:
            named = (
                replace(each, file=f"${VARIABLE}={REPLAY}{each.file}") for each in err.problems
            )
            raise BadInputError([*named]) from err
    elif setting and setting not in (*SENSORS, METER, NONE):
        raise UsageError(_unknown(setting))


def choose_power(
    device: str, setting: str, root: Path, open_gpu: Callable[[], Gpu] = open_gpu
) -> PowerChoice:
    """Find the source that a setting names; without a setting, the first sensor that works.

    Args:
        device: the one in use, `cpu` or `cuda`.
        setting: value of $GFJOBS_POWER; empty if it is not set.
        root: root of the kernel's files.
        open_gpu: opens the GPU; called only if the device is `cuda`.
    """

    def nvml() -> PowerSource:
        if device != CUDA:
            raise AbsentError("the device is not a GPU")
        return find_nvml(open_gpu)

    def rapl() -> PowerSource:
        if device == CUDA and not setting:
            raise AbsentError(f"it measures processors, not a GPU; {VARIABLE}=rapl takes it anyway")
        return find_rapl(root)

    finders: dict[str, Finder] = {
        INA3221: lambda: find_board_rails(root),
        "nvml": nvml,
        "rapl": rapl,
    }
    if not setting:
        return _first(finders)
    if setting in finders:
        return _first({setting: finders[setting]})
    return _without_sensor(setting)


def _first(finders: Mapping[str, Finder]) -> PowerChoice:
    """Return the first source that exists and answers; else why each one does not."""
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
    except Exception as err:  # noqa: BLE001 - NVML has its own errors; they only lose the power
        return None, f"{type(err).__name__}: {err}"
    return source, ""


def _without_sensor(setting: str) -> PowerChoice:
    if setting == NONE:
        return PowerChoice(None, None, f"power: switched off by {VARIABLE}={NONE}")
    if setting == METER:
        note = "power: from a meter; import its log with gfjobs power import"
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
