"""What throttles: counters and cooling devices in made trees."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.boards import BOARDS, build_board, put

from jobs.machine import clocks, throttling
from jobs.machine.sensors import AbsentError

CPU = "sys/devices/system/cpu"


def test_throttle_events_of_a_processor(tmp_path: Path) -> None:
    """Of each core and of its package; other files there are no counters of events."""
    assert throttling.cpu_events(tmp_path) == {}
    folder = tmp_path / f"{CPU}/cpu0/thermal_throttle"
    put(folder / "core_throttle_count", 3)
    put(folder / "package_throttle_count", 5)
    put(folder / "core_throttle_total_time_ms", 900)
    assert throttling.cpu_events(tmp_path) == {
        (str(folder / "core_throttle_count"), "thermal"): 3,
        (str(folder / "package_throttle_count"), "thermal"): 5,
    }


def test_throttle_events_of_a_jetson(tmp_path: Path) -> None:
    """Each counter by its name, wherever hwmon has put it; lies are none."""
    assert throttling.jetson_events(tmp_path) == {}
    oc3 = tmp_path / "sys/class/hwmon/hwmon3/oc3_event_cnt"
    put(oc3, 37)
    put(oc3.with_name("oc3_throt_en"), 1)
    put(oc3.with_name("oc1_event_cnt"), -22)
    put(oc3.with_name("oc2_event_cnt"), "EINVAL")
    assert throttling.jetson_events(tmp_path) == {(str(oc3), "oc3"): 37}


@pytest.mark.parametrize("name", list(BOARDS))
def test_cooling_devices_of_boards(tmp_path: Path, name: str) -> None:
    """Alerts and capped clocks, by name; a fan and a hot surface throttle nothing."""
    root = build_board(tmp_path, BOARDS[name])
    states = throttling.cooling_states(root)
    harmless = {"pwm-fan", "hot-surface-alert"}
    assert states == dict.fromkeys(BOARDS[name].cooling.keys() - harmless, 0)
    assert any(map(throttling.is_of_gpu, states)), "a GPU's throttling is known"
    for number, (device, most) in enumerate(BOARDS[name].cooling.items()):
        put(root / f"sys/class/thermal/cooling_device{number}/cur_state", most)
        assert throttling.cooling_states(root).get(device) == (None if device in harmless else most)


@pytest.mark.parametrize("lie", ["-1", "7", "hot", ""])
def test_a_state_that_a_cooling_device_does_not_have_is_none(tmp_path: Path, lie: str) -> None:
    """It is left out, not called throttled."""
    device = tmp_path / "sys/class/thermal/cooling_device0"
    put(device / "type", "gpu-throttle-alert")
    put(device / "max_state", 2)
    put(device / "cur_state", lie)
    assert throttling.cooling_states(tmp_path) == {}


def test_settings_of_a_pc_are_no_throttles(tmp_path: Path) -> None:
    """Its processors' and the offset that its firmware has set."""
    for number, name in enumerate(("Processor", "TCC Offset", "intel_powerclamp")):
        put(tmp_path / f"sys/class/thermal/cooling_device{number}/type", name)
        put(tmp_path / f"sys/class/thermal/cooling_device{number}/cur_state", 3)
    assert throttling.cooling_states(tmp_path) == {}


def test_a_file_that_cannot_be_read_is_as_one_that_is_not_there(tmp_path: Path) -> None:
    """A folder in its place stands for all that fails: root reads past permissions."""
    (tmp_path / CPU / "cpu0/thermal_throttle/core_throttle_count").mkdir(parents=True)
    (tmp_path / CPU / "cpu0/cpufreq/scaling_governor").mkdir(parents=True)
    assert throttling.cpu_events(tmp_path) == {}
    with pytest.raises(AbsentError):
        clocks.governors(tmp_path)
