"""Temperatures, trip points and fan: kernel files in made trees, psutil by doubles."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.boards import BOARDS, build_board, put

from jobs.machine import thermal
from jobs.machine.sensors import AbsentError
from jobs.machine.thermal import StuckCheck


def heat(**chips: list[float]) -> Any:
    """A psutil whose chips have these temperatures."""
    sensed = {
        chip: [SimpleNamespace(current=value) for value in values] for chip, values in chips.items()
    }
    return SimpleNamespace(sensors_temperatures=lambda: sensed)


def test_the_temperature_is_of_the_processors_hottest_sensor(tmp_path: Path) -> None:
    """A disk that is hotter is no processor."""
    system = heat(coretemp=[51.0, 63.0], nvme=[80.0])
    assert thermal.cpu_temperature_c(system, tmp_path) == 63
    assert thermal.cpu_temperature_c(heat(cpu_thermal=[44.0]), tmp_path) == 44


@pytest.mark.parametrize("system", [heat(), heat(nvme=[80.0]), SimpleNamespace()])
def test_the_temperature_without_psutil_is_of_a_zone(system: object, tmp_path: Path) -> None:
    """Zones of the processor, millidegrees; one that is switched off gives nothing."""
    put(tmp_path / "sys/class/thermal/thermal_zone0/type", "acpitz")
    put(tmp_path / "sys/class/thermal/thermal_zone0/temp", "90000")
    put(tmp_path / "sys/class/thermal/thermal_zone1/type", "CPU-therm")
    with pytest.raises(AbsentError, match="sensor of the processor"):
        thermal.cpu_temperature_c(system, tmp_path)
    put(tmp_path / "sys/class/thermal/thermal_zone1/temp", "48500")
    assert thermal.cpu_temperature_c(system, tmp_path) == pytest.approx(48.5)


def test_the_processors_zone_comes_before_those_of_the_chip(tmp_path: Path) -> None:
    """By name; and psutil may fail at a zone that is switched off."""

    def failing() -> None:
        raise TypeError("can't concat NoneType to bytes")

    broken = SimpleNamespace(sensors_temperatures=failing)
    root = build_board(tmp_path, BOARDS["thor"])
    assert thermal.cpu_temperature_c(broken, root) == pytest.approx(53.687)
    assert thermal.cpu_temperature_c(heat(soc0_thermal=[70.0], cpu_thermal=[44.0]), root) == 44
    assert thermal.cpu_temperature_c(heat(soc0_thermal=[70.0]), root) == 70


def test_the_gpus_zone_and_what_stands_in_for_it(tmp_path: Path) -> None:
    """A GPU that is switched off has none: the chip's hottest zone is taken, then nothing."""
    root = build_board(tmp_path, BOARDS["thor"])
    assert thermal.gpu_temperature_c(root) == pytest.approx(54.906)
    zone = root / "sys/class/thermal/thermal_zone4/temp"
    zone.unlink()
    assert thermal.gpu_temperature_c(root) == pytest.approx(55.093)
    put(zone, -256_000)
    assert thermal.gpu_temperature_c(root) == pytest.approx(55.093)
    put(root / "sys/class/thermal/thermal_zone1/temp", 0)
    with pytest.raises(AbsentError, match="the thermal zone of the GPU reads 0 degrees"):
        thermal.gpu_temperature_c(root)
    with pytest.raises(AbsentError, match="no thermal zone of the GPU"):
        thermal.gpu_temperature_c(tmp_path / "none")


@pytest.mark.parametrize("said", ["garbage", "-256000", "999999999", "0", ""])
def test_a_zone_that_lies_gives_no_temperature(tmp_path: Path, said: str) -> None:
    """Garbage, a part that is switched off, absurd heat, zero, nothing."""
    put(tmp_path / "sys/class/thermal/thermal_zone0/type", "cpu-thermal")
    put(tmp_path / "sys/class/thermal/thermal_zone0/temp", said)
    with pytest.raises(AbsentError, match="sensor of the processor"):
        thermal.cpu_temperature_c(heat(cpu_thermal=[-256.0]), tmp_path)


def test_the_chip_throttles_at_its_lowest_passive_point(tmp_path: Path) -> None:
    """Steps of the fan and the shutdown are none; nor are points that nobody has set."""
    root = build_board(tmp_path, BOARDS["orin-nano"])
    assert thermal.trip_c(root) == 99
    zone = root / "sys/class/thermal/thermal_zone1"
    put(zone / "trip_point_2_temp", 85_500)
    assert thermal.trip_c(root) == 85.5
    for lie in ("-274000", "0", "2147483647", "off"):
        put(zone / "trip_point_2_temp", lie)
        assert thermal.trip_c(root) == 99
    with pytest.raises(AbsentError, match="not shown by the kernel"):
        thermal.trip_c(tmp_path / "none")


def test_the_fan_of_a_board(tmp_path: Path) -> None:
    """In percent of what its PWM takes; other chips' fans are none."""
    with pytest.raises(AbsentError, match="not shown by the kernel"):
        thermal.fan_pct(tmp_path)
    put(tmp_path / "sys/class/hwmon/hwmon0/name", "nct6775")
    put(tmp_path / "sys/class/hwmon/hwmon0/pwm1", 255)
    fan = tmp_path / "sys/class/hwmon/hwmon2"
    put(fan / "name", "pwmfan")
    with pytest.raises(AbsentError, match="not shown by the kernel"):
        thermal.fan_pct(tmp_path)
    put(fan / "pwm1", 51)
    assert thermal.fan_pct(tmp_path) == 20
    for lie, why in (("-3", "reads -3, not 0 to 255"), ("700", "reads 700"), ("fast", "'fast'")):
        put(fan / "pwm1", lie)
        with pytest.raises(AbsentError, match=why):
            thermal.fan_pct(tmp_path)


def test_a_fine_sensor_that_stands_still_is_stuck() -> None:
    """After ten readings and a minute; a coarse one may stand still, and moving starts anew."""
    now = [0.0]
    check = StuckCheck(lambda: now[0])
    for _ in range(9):
        assert check.checked(51.718) == 51.718
    now[0] = 61
    with pytest.raises(AbsentError, match=r"stuck: 51\.718 degrees for 60 s"):
        check.checked(51.718)
    assert check.checked(51.75) == 51.75
    now[0] = 300
    assert check.checked(51.718) == 51.718
    coarse = StuckCheck(lambda: now[0])
    for _ in range(40):
        now[0] += 10
        assert coarse.checked(41.5) == 41.5
