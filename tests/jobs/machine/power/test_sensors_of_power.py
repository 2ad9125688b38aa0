"""INA3221, RAPL and NVML on made files and a double: no such hardware was at hand."""

# ruff: noqa: N802 - the double has pynvml's names

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.boards import (
    AGX_RAILS,
    AGX_XAVIER_RAILS,
    BOARDS,
    NANO_RAILS,
    NX_RAILS,
    THOR_RAILS,
    Chips,
    build_board,
    put,
    put_ina238,
)

from jobs.machine.nvml import Gpu
from jobs.machine.power.board_rails import TOTALS, find_board_rails
from jobs.machine.power.nvml_power import GpuEnergy, GpuPower, find_nvml
from jobs.machine.power.rapl import find_rapl
from jobs.machine.power.source import EnergyCounter, PowerError
from jobs.machine.sensors import AbsentError

from .conftest import Board, Clock


@pytest.mark.parametrize(
    ("chips", "name", "total_mw", "rails"),
    [
        (NANO_RAILS, "ina3221: VDD_IN", 6000.0, {"VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"}),
        (NX_RAILS, "ina3221: VDD_IN", 9424.0, {"VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"}),
        (
            AGX_RAILS,
            "ina3221: VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0",
            3800.0 + 1140.0 + 4500.0,
            {"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"},
        ),
    ],
    ids=["nano", "nx", "agx"],
)
def test_boards_and_their_totals(
    board: Board, chips: Chips, name: str, total_mw: float, rails: set[str]
) -> None:
    """Every connected rail of both chips in mW, mV x mA / 1000, and the total by its name."""
    source = find_board_rails(board(chips))
    assert source.name == name
    reading = source.read()
    assert set(reading.rails_mw) == rails | {"total"}
    assert reading.rails_mw["total"] == pytest.approx(total_mw)
    for rail, (millivolts, milliamperes) in chips["1-0040"].items():
        assert reading.rails_mw[rail] == pytest.approx(millivolts * milliamperes / 1000)


@pytest.mark.parametrize(
    ("name", "source", "total_mw"),
    [
        ("orin-nano", "ina3221: VDD_IN", 6000),
        ("orin-nx", "ina3221: VDD_IN", 9424),
        ("agx-orin", "ina3221: VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0", 9440),
        ("xavier-nx", "ina3221: VDD_IN", 9424),
        ("thor", "ina238: VIN", 31_250),
    ],
)
def test_totals_of_whole_boards(tmp_path: Path, name: str, source: str, total_mw: float) -> None:
    """On Thor that of its INA238, in microwatts and without a label; the others' rails stay."""
    found = find_board_rails(build_board(tmp_path, BOARDS[name]))
    reading = found.read()
    assert (found.name, reading.rails_mw["total"]) == (source, pytest.approx(total_mw))
    rails = {rail for chip in BOARDS[name].chips.values() for rail in chip if rail.strip() != "NC"}
    assert reading.rails_mw.keys() - {"total", "VIN"} == rails


def test_thor_without_its_ina238(board: Board) -> None:
    """As on another carrier: the module's three rails, 7.7056 + 11.5584 + 8.85312 W."""
    source = find_board_rails(board(THOR_RAILS))
    assert source.name == "ina3221: VDD_GPU + VDD_CPU_SOC_MSS + VIN_SYS_5V0"
    assert source.read().rails_mw["total"] == pytest.approx(28_117.12)


def test_an_ina238_by_its_label_and_without_its_power(tmp_path: Path) -> None:
    """Its label before the name that others give it; mV x mA where it shows no power."""
    chip = put_ina238(tmp_path, 2, 31_250_000)
    (chip / "power1_input").unlink()
    assert find_board_rails(tmp_path).read().rails_mw == {"VIN": 31_240, "total": 31_240}
    put(chip / "label", "VDD_IN")
    assert find_board_rails(tmp_path).name == "ina238: VDD_IN"
    put(chip / "in1_label", "VIN")
    assert find_board_rails(tmp_path).name == "ina238: VIN"


@pytest.mark.parametrize(
    ("file", "lie", "why"),
    [
        ("power1_input", "-31250000", "rail VIN reads -31.25 W"),
        ("power1_input", "2147483647", "rail VIN reads 2147.48 W"),
        ("power1_input", "?", "power1_input contains '?', which is not a number"),
        ("power1_input", None, "power1_input: No such file"),
    ],
)
def test_a_monitor_that_lies_is_an_error(
    tmp_path: Path, file: str, lie: str | None, why: str
) -> None:
    """Negative, absurd, garbage, gone: the task loses its total, with the reason."""
    root = build_board(tmp_path, BOARDS["thor"])
    source = find_board_rails(root)
    if lie is None:
        (root / "sys/class/hwmon/hwmon2" / file).unlink()
    else:
        put(root / "sys/class/hwmon/hwmon2" / file, lie)
    with pytest.raises(PowerError, match=re.escape(why)):
        source.read()


def test_two_negative_numbers_make_no_power(board: Board) -> None:
    """A voltage below 0; a rail that is switched off may read a little below 0 W."""
    root = board(THOR_RAILS)
    put(root / "sys/class/hwmon/hwmon1/curr1_input", -32)
    source = find_board_rails(root)
    assert source.read().rails_mw["VDD_GPU"] == pytest.approx(-385.28)
    put(root / "sys/class/hwmon/hwmon1/in1_input", -12_040)
    with pytest.raises(PowerError, match="rail VDD_GPU reads 0"):
        source.read()


def test_every_total_says_where_it_is_from() -> None:
    """A table of boards: rails, what they cover, and the source."""
    for total in TOTALS:
        assert total.boards
        assert total.rails
        assert total.covers
        assert total.source


def test_a_board_without_a_known_total_has_rails_alone(board: Board) -> None:
    """AGX_RAILS Xavier: none of its six rails is the module, and their sum is not said to be."""
    source = find_board_rails(board(AGX_XAVIER_RAILS))
    assert source.name == "ina3221: no total among CPU, CV, GPU, SOC, SYS5V, VDDRQ"
    assert source.summed == ()
    assert "total" not in source.read().rails_mw


def test_channels_that_are_switched_off_are_not_read(board: Board) -> None:
    """And two chips may have rails of one name."""
    root = board({"1-0040": NANO_RAILS["1-0040"], "1-0041": {"VDD_SOC": (5000, 10)}})
    put(root / "sys/class/hwmon/hwmon1/in2_enable", 0)
    rails_mw = find_board_rails(root).read().rails_mw
    assert set(rails_mw) == {"VDD_IN", "VDD_SOC", "VDD_SOC (hwmon2)", "total"}


def test_other_chips_are_none(tmp_path: Path, board: Board) -> None:
    """A machine without hwmon, and one whose chips are others."""
    with pytest.raises(AbsentError, match="no hwmon device"):
        find_board_rails(tmp_path / "nowhere")
    with pytest.raises(AbsentError, match="no hwmon device"):
        find_board_rails(board({}))


def test_a_sensor_that_fails_says_which_file(board: Board) -> None:
    """Gone in the middle of a run, and garbage instead of a number."""
    root = board(NANO_RAILS)
    source = find_board_rails(root)
    source.read()
    put(root / "sys/class/hwmon/hwmon1/curr1_input", "-EIO?")
    with pytest.raises(PowerError, match=r"curr1_input contains '-EIO\?', which is not a number"):
        source.read()
    (root / "sys/class/hwmon/hwmon1/in1_input").unlink()
    with pytest.raises(PowerError, match="in1_input: No such file or directory"):
        source.read()


def test_a_counter_gives_mean_power_over_the_time_it_took() -> None:
    """600 mJ in 0.2 s are 3 W; nothing at first, and nothing where it did not move."""
    clock, values = Clock(), [100.0, 700.0, 700.0, 1000.0]
    counter = EnergyCounter(lambda: {"a": values.pop(0)}, ("a",), {}, clock)
    assert counter.read() is None
    clock.now_ns = 200_000_000
    first = counter.read()
    assert first is not None
    assert (first.begin_ns, first.end_ns) == (0, 200_000_000)
    assert first.rails_mw == {"a": 3000.0, "total": 3000.0}
    clock.now_ns = 300_000_000
    assert counter.read() is None, "it is brought up to date less often than it is asked"
    clock.now_ns = 400_000_000
    later = counter.read()
    assert later is not None
    assert (later.begin_ns, later.rails_mw["total"]) == (200_000_000, 1500.0)


def test_a_counter_that_stands_still_is_an_error() -> None:
    """Constant zero, as virtual machines show: said after seconds, and over once it moves."""
    clock, values = Clock(), [0.0, 0.0, 0.0, 0.0, 600.0]
    counter = EnergyCounter(lambda: {"a": values.pop(0)}, ("a",), {}, clock)
    assert counter.read() is None
    clock.now_ns = 4_900_000_000
    assert counter.read() is None, "not yet"
    for now_ns in (5_100_000_000, 5_200_000_000):
        clock.now_ns = now_ns
        with pytest.raises(PowerError, match="the energy counter of a has not moved in 5 s"):
            counter.read()
    clock.now_ns = 6_000_000_000
    reading = counter.read()
    assert reading is not None
    assert reading.rails_mw["total"] == pytest.approx(100.0)


def test_a_counter_that_goes_back_is_an_error_where_it_has_no_range() -> None:
    """A driver that was loaded anew; the next reading starts afresh."""
    clock, values = Clock(), [5.0, 3.0, 3.0, 4.0]
    counter = EnergyCounter(lambda: {"a": values.pop(0)}, ("a",), {}, clock)
    assert counter.read() is None
    clock.now_ns = 10
    with pytest.raises(PowerError, match="the energy counter of a went back"):
        counter.read()
    assert counter.read() is None
    clock.now_ns = 1_000_000_010
    reading = counter.read()
    assert reading is not None
    assert reading.rails_mw["total"] == pytest.approx(1.0)


@given(
    start=st.integers(0, 999),
    steps=st.lists(st.tuples(st.integers(1, 999), st.integers(1, 10**9)), min_size=1, max_size=20),
)
def test_energy_is_kept_across_wraps(start: int, steps: list[tuple[int, int]]) -> None:
    """Power times time, summed, is what the counter was fed, wherever it starts again."""
    clock, fed = Clock(), [start]
    counter = EnergyCounter(lambda: {"a": float(fed[0] % 1000)}, ("a",), {"a": 1000.0}, clock)
    counter.read()
    total_mj = 0.0
    for grown, passed_ns in steps:
        fed[0] += grown
        clock.now_ns += passed_ns
        reading = counter.read()
        assert reading is not None
        total_mj += reading.rails_mw["total"] * (reading.end_ns - reading.begin_ns) / 1e9
    assert total_mj == pytest.approx(sum(grown for grown, _ in steps))


PACKAGES = {
    "intel-rapl:0": ("package-0", 1_000_000),
    "intel-rapl:0:0": ("core", 500_000),
    "intel-rapl:1": ("package-1", 2_000_000),
    "intel-rapl:1:0": ("dram", 100_000),
    "intel-rapl:2": ("psys", 9_000_000),
    "intel-rapl-mmio:0": ("package-0", 77),
}


def test_packages_alone_are_the_total(powercap: Callable) -> None:
    """What is inside them, and the platform, are rails beside it; a second door is none."""
    root, clock = powercap(PACKAGES), Clock()
    source = find_rapl(root, clock)
    assert source.name == "rapl: package-0 + package-1"
    assert source.read() is None
    for folder, (_, energy_uj) in PACKAGES.items():
        put(root / "sys/class/powercap" / folder / "energy_uj", energy_uj + 400_000)
    clock.now_ns = 100_000_000
    reading = source.read()
    assert reading is not None
    rails = {"package-0", "package-0/core", "package-1", "package-1/dram", "psys"}
    assert reading.rails_mw == {**dict.fromkeys(rails, 4000.0), "total": 8000.0}


def test_a_package_that_starts_again_from_0(powercap: Callable) -> None:
    """By its range: 900 of 1000 mJ to 100 mJ are 200 mJ."""
    root, clock = powercap({"intel-rapl:0": ("package-0", 900_000)}, 1_000_000), Clock()
    source = find_rapl(root, clock)
    assert source.read() is None
    put(root / "sys/class/powercap/intel-rapl:0/energy_uj", 100_000)
    clock.now_ns = 1_000_000_000
    reading = source.read()
    assert reading is not None
    assert reading.rails_mw["total"] == pytest.approx(200.0)


def test_what_keeps_rapl_from_being_read(
    powercap: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not there; no package; and root's alone, with the remedy."""
    with pytest.raises(AbsentError, match="no package's energy counter"):
        find_rapl(tmp_path)
    root = powercap({"intel-rapl:0": ("psys", 1)})
    with pytest.raises(AbsentError, match="no package's energy counter"):
        find_rapl(root)

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")  # root, as CI may be, is refused nothing

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(AbsentError, match=r"sudo chmod a\+r /sys/class/powercap"):
        find_rapl(root)


class Library:
    """A pynvml with one GPU; what it does not support, it says as NVML does."""

    class NVMLError(Exception):
        """What pynvml raises."""

    def __init__(self, *supported: str) -> None:
        self.supported = supported
        self.energy_mj = 1000

    def nvmlInit(self) -> None:
        """Start: also on a Jetson."""

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        """Find the GPU."""
        return uuid

    def nvmlDeviceGetTotalEnergyConsumption(self, _handle: str) -> int:
        """MJ since the driver was loaded."""
        return self._value("energy", self.energy_mj)

    def nvmlDeviceGetPowerUsage(self, _handle: str) -> int:
        """MW now."""
        return self._value("power", 61_500)

    def _value(self, what: str, value: int) -> int:
        if what not in self.supported:
            raise self.NVMLError("Not Supported")
        return value


def test_the_energy_counter_comes_before_the_power() -> None:
    """Power is its growth by time; a GPU that has none says its power."""
    library, clock = Library("energy", "power"), Clock()
    source = find_nvml(lambda: Gpu(library, "GPU-7"), clock)
    assert isinstance(source, GpuEnergy)
    library.energy_mj += 3000
    clock.now_ns = 50_000_000
    reading = source.read()
    assert reading is not None
    assert reading.rails_mw == {"gpu": 60_000.0, "total": 60_000.0}
    other = find_nvml(lambda: Gpu(Library("power"), "GPU-7"), clock)
    assert isinstance(other, GpuPower)
    assert other.read().rails_mw == {"gpu": 61_500.0, "total": 61_500.0}


def test_a_jetsons_nvml_is_no_source() -> None:
    """It starts, and answers NotSupported."""
    with pytest.raises(AbsentError, match=r"energy: NVMLError: Not Supported; power: NVMLError: N"):
        find_nvml(lambda: Gpu(Library(), "GPU-7"))


def test_the_double_has_nothing_that_pynvml_lacks() -> None:
    """Held against the real package."""
    pynvml: Any = pytest.importorskip("pynvml", reason="the extra nvidia is not installed")
    for name in (name for name in vars(Library) if name.startswith(("nvml", "NVML"))):
        assert hasattr(pynvml, name)
