"""Which source is taken, and a replay's file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.boards import NANO_RAILS, put

from jobs.common.errors import BadInputError, UsageError
from jobs.machine.nvml import Gpu
from jobs.machine.power.discovery import check_setting, choose_power
from jobs.machine.power.replay import Replay
from jobs.machine.power.source import PowerError, Scene
from jobs.machine.sensors import AbsentError

from .conftest import Board

PACKAGE = {"intel-rapl:0": ("package-0", 5)}


def no_gpu() -> Gpu:
    """As on a machine without NVML."""
    raise AbsentError("nvidia-ml-py is not installed")


def test_a_jetson_is_read_by_its_own_sensor(board: Board, powercap: Callable) -> None:
    """The first that works, in the order ina3221, nvml, rapl; a setting narrows it."""
    powercap(PACKAGE)
    root = board(NANO_RAILS)
    assert choose_power("cuda", "", root, no_gpu).name == "ina3221: VDD_IN"
    assert choose_power("cpu", "rapl", root, no_gpu).name == "rapl: package-0"
    put(root / "sys/class/hwmon/hwmon1/in1_input", "?")
    assert choose_power("cpu", "", root, no_gpu).name == "rapl: package-0", (
        "one that answers nonsense"
    )


def test_a_processors_counter_is_no_gpus(powercap: Callable) -> None:
    """The energy of a GPU without NVML is not that of the processor beside it, unless asked for."""
    root = powercap(PACKAGE)
    choice = choose_power("cuda", "", root, no_gpu)
    assert choice.source is None
    assert "rapl (it measures processors, not a GPU; GFJOBS_POWER=rapl takes" in choice.note
    assert choose_power("cuda", "rapl", root, no_gpu).name == "rapl: package-0"
    assert choose_power("cpu", "", root, no_gpu).name == "rapl: package-0"


def test_without_any_the_reasons_are_joined(tmp_path: Path) -> None:
    """NULL, and why each is none; NVML is asked where the GPU is the device."""
    choice = choose_power("cpu", "", tmp_path, no_gpu)
    assert (choice.source, choice.name) == (None, None)
    assert choice.note == (
        "power: no source: ina3221 (no hwmon device of that name), nvml (the device is not a GPU),"
        " rapl (no package's energy counter under /sys/class/powercap)"
    )
    assert "nvml (nvidia-ml-py is not installed)" in choose_power("cuda", "", tmp_path, no_gpu).note

    def crashing() -> Gpu:
        raise RuntimeError("driver/library mismatch")

    note = choose_power("cuda", "nvml", tmp_path, crashing).note
    assert note == "power: no source: nvml (RuntimeError: driver/library mismatch)"


def test_settings_that_read_no_sensor(board: Board, tmp_path: Path) -> None:
    """None at all; a meter beside; and mistakes, which cost the power and not the run."""
    root = board(NANO_RAILS)
    assert choose_power("cpu", "none", root).note == "power: switched off by GFJOBS_POWER=none"
    meter = choose_power("cpu", "meter", root)
    assert (meter.source, meter.name, meter.keeps_marks) == (None, "meter", True)
    assert (
        "GFJOBS_POWER=ina is unknown; allowed: ina3221, nvml"
        in choose_power("cpu", "ina", root).note
    )
    missing = choose_power("cpu", f"replay:{tmp_path / 'none.csv'}", root)
    assert missing.name is None
    assert "none.csv: No such file" in missing.note


def test_settings_are_checked_before_a_run(tmp_path: Path) -> None:
    """What no node could follow is refused at once."""
    for setting in ("", "none", "meter", "rapl"):
        check_setting(setting)
    with pytest.raises(UsageError, match="GFJOBS_POWER=watts is unknown"):
        check_setting("watts")
    with pytest.raises(BadInputError, match=r"^\$GFJOBS_POWER=replay:.*none.csv: No such"):
        check_setting(f"replay:{tmp_path / 'none.csv'}")


def test_a_replay_says_what_fits_best(tmp_path: Path) -> None:
    """Model before exit, exit before neither; rails by name; what it does not know is an error."""
    path = tmp_path / "power.csv"
    path.write_text(
        "phase,model,exit_block,rail,watts\n"
        "active,dynn,3,,11.5\nidle,,,,8\nactive,,,,10\nactive,dynn,,,11\nactive,,3,,10.5\n"
        "active,,,VDD_SOC,2.5\n"
    )
    replay = Replay(path)
    assert replay.name == f"replay: {path}"

    def said(scene: Scene) -> dict[str, float]:
        replay.attend(scene)
        return dict(replay.read().rails_mw)

    assert said(Scene("flat", is_active=False)) == {"total": 8000}
    assert said(Scene("flat", is_active=True)) == {"total": 10_000, "VDD_SOC": 2500}
    assert said(Scene("flat", is_active=True, exit_block=3))["total"] == 10_500
    assert said(Scene("dynn", is_active=True))["total"] == 11_000
    assert said(Scene("dynn", is_active=True, exit_block=3))["total"] == 11_500
    path.write_text("phase,watts,model\nidle,8,\nactive,9,flat\n")
    replay = Replay(path)
    replay.attend(Scene("dynn", is_active=True))
    with pytest.raises(PowerError, match="no watts for phase active of dynn"):
        replay.read()


def test_all_problems_of_a_replay_are_told_at_once(tmp_path: Path) -> None:
    """Each with its line and column."""
    path = tmp_path / "power.csv"
    path.write_text(
        "phase,watts,exit_block\nbusy,8,\nidle,many,\nactive,nan,x\nactive,8,-1\n"
        f"active,8,1000\nactive,8,{'9' * 5000}\nactive,8,²\n"
    )
    with pytest.raises(BadInputError) as caught:
        Replay(path)
    text = str(caught.value)
    for part in ("csv:2: phase: 'busy'", "csv:3: watts: 'many'", "csv:4: watts: 'nan'"):
        assert part in text
    assert "csv:4: exit_block: 'x'" in text
    for line in (5, 6, 7, 8):
        assert f"csv:{line}: exit_block: " in text, "no number of a block"
    path.write_text("phase,watts\nidle,8,7\nactive,1e300\n")
    with pytest.raises(BadInputError) as caught:
        Replay(path)
    assert "csv:2: more fields" in str(caught.value)
    assert "csv:3: watts: '1e300'" in str(caught.value)
    path.write_text("phase,watts,model\nidle,8,\nactive,9,flat\nactive,9.5,flat\nidle,8,\n")
    with pytest.raises(BadInputError) as caught:
        Replay(path)
    (problem,) = caught.value.problems
    assert "csv:4: watts: 9.5, but 9 for the same conditions in line 3" in str(problem)
    path.write_text("phase;watts\nidle;8\n")
    with pytest.raises(BadInputError, match="watts: no such column"):
        Replay(path)
    path.write_text("phase,watts\n")
    with pytest.raises(BadInputError, match="no line"):
        Replay(path)
