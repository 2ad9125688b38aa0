"""Each source present and absent: kernel files in a made tree, psutil by doubles."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from jobs.machine import sensors
from jobs.machine.sensors import AbsentError

CPU = "sys/devices/system/cpu"


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, str], Path]:
    """Write one file of the made tree."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


Put = Callable[[str, str], Path]


def heat(**chips: list[float]) -> Any:
    """A psutil whose chips have these temperatures."""
    sensed = {
        chip: [SimpleNamespace(current=value) for value in values] for chip, values in chips.items()
    }
    return SimpleNamespace(sensors_temperatures=lambda: sensed)


@pytest.fixture
def _three_and_five(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is pinned to two processors."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)


@pytest.mark.usefixtures("_three_and_five")
def test_the_clock_is_of_the_processors_in_use(tmp_path: Path, put: Put) -> None:
    """The mean of these, kHz in the files; one that idles beside them counts for nothing."""
    put(f"{CPU}/cpu0/cpufreq/scaling_cur_freq", "400000\n")
    put(f"{CPU}/cpu3/cpufreq/scaling_cur_freq", "1000000\n")
    put(f"{CPU}/cpu5/cpufreq/scaling_cur_freq", "2000000\n")
    system = SimpleNamespace(cpu_freq=lambda: SimpleNamespace(current=2400.5))
    assert sensors.clock_mhz(system, tmp_path) == pytest.approx(1500)


@pytest.mark.usefixtures("_three_and_five")
def test_the_clock_without_such_files_is_psutils(tmp_path: Path, put: Put) -> None:
    """The mean of all that psutil gives, MHz."""
    put(f"{CPU}/cpu0/cpufreq/scaling_cur_freq", "400000\n")
    system = SimpleNamespace(cpu_freq=lambda: SimpleNamespace(current=2400.5))
    assert sensors.clock_mhz(system, tmp_path) == 2400.5


def failing() -> None:
    """Fail as psutil does where a system has no such call."""
    raise NotImplementedError


@pytest.mark.parametrize(
    "cpu_freq", [lambda: None, lambda: SimpleNamespace(current=0.0), failing, None]
)
def test_without_either_there_is_no_clock(
    monkeypatch: pytest.MonkeyPatch, cpu_freq: object, tmp_path: Path
) -> None:
    """Also where a system does not say what a process may use."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    with pytest.raises(AbsentError, match="no cpufreq"):
        sensors.clock_mhz(SimpleNamespace(cpu_freq=cpu_freq), tmp_path)


def test_the_temperature_is_of_the_processors_hottest_sensor(tmp_path: Path) -> None:
    """A disk that is hotter is no processor."""
    system = heat(coretemp=[51.0, 63.0], nvme=[80.0])
    assert sensors.temperature_c(system, tmp_path) == 63
    assert sensors.temperature_c(heat(cpu_thermal=[44.0]), tmp_path) == 44


@pytest.mark.parametrize("system", [heat(), heat(nvme=[80.0]), SimpleNamespace()])
def test_the_temperature_without_psutil_is_of_a_zone(
    system: object, tmp_path: Path, put: Put
) -> None:
    """Zones of the processor, millidegrees; one that is switched off gives nothing."""
    put("sys/class/thermal/thermal_zone0/type", "acpitz\n")
    put("sys/class/thermal/thermal_zone0/temp", "90000\n")
    put("sys/class/thermal/thermal_zone1/type", "CPU-therm\n")
    with pytest.raises(AbsentError, match="no sensor of the processor"):
        sensors.temperature_c(system, tmp_path)
    put("sys/class/thermal/thermal_zone1/temp", "48500\n")
    assert sensors.temperature_c(system, tmp_path) == pytest.approx(48.5)


def test_governors_of_all_processors(tmp_path: Path, put: Put) -> None:
    """Each name once."""
    with pytest.raises(AbsentError, match="no cpufreq"):
        sensors.governors(tmp_path)
    for number, name in enumerate(("powersave", "performance", "powersave")):
        put(f"{CPU}/cpu{number}/cpufreq/scaling_governor", f"{name}\n")
    assert sensors.governors(tmp_path) == {"powersave", "performance"}


def test_clocks_are_locked_where_none_can_move(tmp_path: Path, put: Put) -> None:
    """By jetson_clocks, which leaves the governor alone: the least frequency is the highest."""
    with pytest.raises(AbsentError, match="no cpufreq"):
        sensors.are_clocks_locked(tmp_path, is_gpu=False)
    for number in range(2):
        folder = f"{CPU}/cpu{number}/cpufreq"
        put(f"{folder}/scaling_governor", "schedutil\n")
        put(f"{folder}/scaling_min_freq", "729600\n")
        put(f"{folder}/scaling_max_freq", "1510400\n")
    assert not sensors.are_clocks_locked(tmp_path, is_gpu=False)
    put(f"{CPU}/cpu0/cpufreq/scaling_min_freq", "1510400\n")
    assert not sensors.are_clocks_locked(tmp_path, is_gpu=False), "one of them moves"
    put(f"{CPU}/cpu1/cpufreq/scaling_governor", "performance\n")
    assert sensors.are_clocks_locked(tmp_path, is_gpu=False)
    with pytest.raises(AbsentError, match="no devfreq of the GPU"):
        sensors.are_clocks_locked(tmp_path, is_gpu=True)
    put("sys/class/devfreq/15480000.nvdec/min_freq", "1\n")
    put("sys/class/devfreq/15480000.nvdec/max_freq", "2\n")
    gpu = "sys/class/devfreq/17000000.gpu"
    put(f"{gpu}/min_freq", "306000000\n")
    put(f"{gpu}/max_freq", "624750000\n")
    assert not sensors.are_clocks_locked(tmp_path, is_gpu=True)
    put(f"{gpu}/min_freq", "624750000\n")
    assert sensors.are_clocks_locked(tmp_path, is_gpu=True)


def test_the_power_mode_of_a_jetson(tmp_path: Path, put: Put) -> None:
    """Its number without zeros in front; 0 is a mode too."""
    with pytest.raises(AbsentError, match="no nvpmodel"):
        sensors.power_mode(tmp_path)
    put("var/lib/nvpmodel/status", "pmode:0002\n")
    assert sensors.power_mode(tmp_path) == "2"
    put("var/lib/nvpmodel/status", "pmode:0000")
    assert sensors.power_mode(tmp_path) == "0"


def test_throttle_events_of_a_processor(tmp_path: Path, put: Put) -> None:
    """Of each core and of its package; other files there are no counters of events."""
    assert sensors.cpu_events(tmp_path) == {}
    core = put(f"{CPU}/cpu0/thermal_throttle/core_throttle_count", "3\n")
    package = put(f"{CPU}/cpu0/thermal_throttle/package_throttle_count", "5\n")
    put(f"{CPU}/cpu0/thermal_throttle/core_throttle_total_time_ms", "900\n")
    assert sensors.cpu_events(tmp_path) == {
        (str(core), "thermal"): 3,
        (str(package), "thermal"): 5,
    }


def test_throttle_events_of_a_jetson(tmp_path: Path, put: Put) -> None:
    """Each counter by its name, wherever hwmon has put it."""
    assert sensors.jetson_events(tmp_path) == {}
    oc3 = put("sys/class/hwmon/hwmon3/oc3_event_cnt", "37\n")
    put("sys/class/hwmon/hwmon3/oc3_throt_en", "1\n")
    assert sensors.jetson_events(tmp_path) == {(str(oc3), "oc3"): 37}


def test_a_file_that_cannot_be_read_is_as_one_that_is_not_there(tmp_path: Path) -> None:
    """A folder in its place stands for all that fails: root reads past permissions."""
    (tmp_path / CPU / "cpu0/thermal_throttle/core_throttle_count").mkdir(parents=True)
    (tmp_path / CPU / "cpu0/cpufreq/scaling_governor").mkdir(parents=True)
    assert sensors.cpu_events(tmp_path) == {}
    with pytest.raises(AbsentError):
        sensors.governors(tmp_path)


def test_busy_time_is_what_was_not_idle() -> None:
    """Waiting for a disk is idle; a guest's time stands in its user's already."""
    times = {"user": 5.0, "system": 2.0, "idle": 90.0, "iowait": 3.0, "steal": 1.0, "guest": 4.0}
    system = SimpleNamespace(cpu_times=lambda: SimpleNamespace(_asdict=lambda: times))
    assert sensors.busy_s(system) == 8
    assert sensors.busy_s(psutil) > 0


def test_own_time_is_that_of_the_process_tree() -> None:
    """This process's, grown by what it just did, and no double count of one that has ended."""
    before, began = sensors.own_s(psutil), time.process_time()
    while time.process_time() - began < 0.05:
        pass
    assert 0.03 < sensors.own_s(psutil) - before < 5

    def used(seconds: float) -> Any:
        return SimpleNamespace(user=seconds, system=0.0, children_user=1.0, children_system=0.0)

    def gone() -> None:
        raise psutil.NoSuchProcess(1)

    children = [SimpleNamespace(cpu_times=lambda: used(2)), SimpleNamespace(cpu_times=gone)]
    process = SimpleNamespace(cpu_times=lambda: used(4), children=lambda **_: children)
    system = SimpleNamespace(Process=lambda: process, Error=psutil.Error)
    assert sensors.own_s(system) == 8
