"""The machine's state around a round: from made readings, and in runs end to end."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from support.boards import BOARDS, build_board, put

import storage
from jobs.machine import conditions
from jobs.machine.conditions import ConditionReading, Machine, columns, machine_of
from jobs.machine.nvml import Gpu
from jobs.machine.sensors import AbsentError
from jobs.report.terminal import summary
from jobs.runs.submit import resume, submit
from jobs.runs.target import Target
from jobs.worker import latency

NOON = datetime(2026, 11, 24, 12)  # noqa: DTZ001 (naive UTC throughout)
BEFORE = ConditionReading(
    taken_at=NOON,
    taken_s=100.0,
    clock_mhz=2000.0,
    temperature_c=60.0,
    cpu_clock_mhz=1500.0,
    emc_clock_mhz=2133.0,
    trip_c=99.0,
    fan_pct=20.0,
    governors=frozenset({"powersave"}),
    power_mode="2",
    events={("core0", "thermal"): 3},
    throttles=frozenset(),
    is_throttling_known=True,
    busy_s=50.0,
    own_s=10.0,
    processors=4,
    missing={},
)
# Ten seconds later: 12 of 40 processor seconds used, 8 of them by this process.
AFTER = replace(
    BEFORE,
    taken_at=NOON + timedelta(seconds=10),
    taken_s=110.0,
    clock_mhz=3000.0,
    temperature_c=55.0,
    cpu_clock_mhz=1700.0,
    emc_clock_mhz=3199.0,
    trip_c=95.0,
    fan_pct=40.0,
    governors=frozenset({"performance"}),
    busy_s=62.0,
    own_s=18.0,
)


def test_two_readings_make_a_row() -> None:
    """The mean clock, the higher temperature, all governors, what others used."""
    assert columns(BEFORE, AFTER) == {
        "started_at": NOON,
        "ended_at": NOON + timedelta(seconds=10),
        "clock_mhz": 2500.0,
        "temperature_c": 60.0,
        "cpu_clock_mhz": 1600.0,
        "emc_clock_mhz": 2666.0,
        "trip_c": 95.0,
        "fan_pct": 30.0,
        "throttle_reasons": None,
        "governor": "performance, powersave",
        "power_mode": "2",
        "load": pytest.approx(4 / 40),
        "gpu_others": None,
        "is_throttled": False,
    }


def test_what_neither_reading_has_is_null() -> None:
    """What one of them has is taken."""
    nothing = replace(
        BEFORE,
        clock_mhz=None,
        temperature_c=None,
        cpu_clock_mhz=None,
        emc_clock_mhz=None,
        trip_c=None,
        fan_pct=None,
        governors=None,
        power_mode=None,
        busy_s=None,
    )
    row = columns(nothing, replace(nothing, taken_s=110.0, is_throttling_known=False))
    given = {name for name, value in row.items() if value is not None}
    assert given == {"started_at", "ended_at"}
    assert columns(nothing, AFTER)["clock_mhz"] == 3000


@pytest.mark.parametrize(("busy_s", "load"), [(57.0, 0.0), (58.0, 0.0), (500.0, 1.0)])
def test_load_stays_between_0_and_1(busy_s: float, load: float) -> None:
    """Ticks of the machine's and of the process's time differ a little."""
    assert columns(BEFORE, replace(AFTER, busy_s=busy_s))["load"] == load


def test_a_counter_that_grew_is_a_throttle() -> None:
    """A counter that appeared or went away is none."""
    grown = {("core0", "thermal"): 4, ("hwmon3", "oc3"): 9}
    row = columns(BEFORE, replace(AFTER, events=grown))
    assert (row["throttle_reasons"], row["is_throttled"]) == ("thermal", True)
    assert columns(BEFORE, replace(AFTER, events={}))["is_throttled"] is False


def test_a_gpu_that_is_held_back_at_either_reading_is_throttled() -> None:
    """All reasons are named; they count also where the other reading failed."""
    before = replace(BEFORE, throttles=frozenset({"software power cap"}))
    after = replace(AFTER, throttles=frozenset({"hardware slowdown"}), is_throttling_known=False)
    row = columns(before, after)
    assert row["throttle_reasons"] == "hardware slowdown, software power cap"
    assert row["is_throttled"] is True


def counters(root: Path, number: int = 3) -> Path:
    """A processor's throttle counters in a made tree."""
    folder = root / "sys/devices/system/cpu/cpu0/thermal_throttle"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("core_throttle_count", "package_throttle_count"):
        (folder / name).write_text(f"{number}\n")
    return folder


def broken(*_args: object, **_kwargs: object) -> Any:
    """Fail in a way of its own, at length."""
    raise OSError("this sensor\nis broken " + 500 * "!")


def test_a_machine_that_shows_nothing_says_why(tmp_path: Path) -> None:
    """Every figure is None with its reason, each reason once; nothing raises."""
    system = SimpleNamespace(
        cpu_freq=lambda: None, cpu_times=broken, Process=broken, cpu_count=broken
    )
    reading = Machine("cpu", tmp_path, system).read()
    assert reading.missing_note() == (
        "not readable here: clock, governor (no cpufreq), temperature (no sensor of the"
        " processor), throttling (no thermal_throttle counters), memory clock, trip point, fan (not"
        " shown by the kernel), power mode (no nvpmodel), load (OSError: this sensor)"
    )
    assert (reading.busy_s, reading.clock_mhz, reading.is_throttling_known) == (None, None, False)
    assert columns(reading, reading)["load"] is None


def test_a_machine_that_shows_all_misses_nothing(tmp_path: Path) -> None:
    """And has nothing to note."""
    system = SimpleNamespace(
        sensors_temperatures=lambda: {"k10temp": [SimpleNamespace(current=50.0)]},
        cpu_times=psutil.cpu_times,
        cpu_count=psutil.cpu_count,
        Process=psutil.Process,
        Error=psutil.Error,
    )
    build_board(tmp_path, BOARDS["thor"])
    reading = Machine("cpu", tmp_path, system).read()
    assert reading.missing_note() == ""
    assert (reading.clock_mhz, reading.temperature_c, reading.power_mode) == (1344, 50, "120W (1)")
    assert reading.cpu_clock_mhz == reading.clock_mhz
    assert reading.is_throttling_known


def test_a_gpu_is_asked_itself(tmp_path: Path) -> None:
    """Its clock and temperature, not the processor's."""
    gpu: Any = SimpleNamespace(
        clock_mhz=lambda: 900.0,
        temperature_c=lambda: 70.0,
        fan_pct=lambda: 35.0,
        throttles=lambda: frozenset({"x"}),
        others=lambda: 1,
    )
    root = build_board(tmp_path, BOARDS["thor"])
    reading = Machine("cuda", root, open_gpu=lambda: gpu).read()
    assert (reading.clock_mhz, reading.temperature_c, reading.fan_pct) == (900, 70, 35)
    assert (reading.cpu_clock_mhz, reading.emc_clock_mhz) == (1344, 4266)
    assert (reading.throttles, reading.is_throttling_known) == ({"x"}, True)
    before = replace(reading, gpu_others=None)
    assert columns(before, reading)["gpu_others"] == 1, "the one that could be read"


NOT_COUNTED = {"others on the GPU": "OSError: this sensor"}
"""The one figure of a board that NVML alone has."""


class NotSupported:
    """A GPU whose NVML starts and then refuses, as that of a Jetson does."""

    def __getattr__(self, figure: str) -> Callable[[], float]:
        """Refuse."""
        return broken


@pytest.mark.parametrize(
    ("board", "clock_mhz", "temperature_c", "emc_clock_mhz", "trip_c"),
    [
        ("orin-nano", 612, 48.531, None, 99),
        ("orin-nx", 408, 48.531, None, 99),
        ("agx-orin", 1300.5, 48.531, 3199, 99),
        ("xavier-nx", 510, 42, None, 95.5),
        ("thor", 1575, 54.906, 4266, 109),
    ],
)
def test_a_board_shows_by_its_kernel_what_nvml_refuses(
    tmp_path: Path,
    board: str,
    clock_mhz: float,
    temperature_c: float,
    emc_clock_mhz: float | None,
    trip_c: float,
) -> None:
    """Every figure, and that nothing throttles; the memory's clock where its kernel shows it."""
    gpu: Any = NotSupported()
    root = build_board(tmp_path, BOARDS[board])
    reading = Machine("cuda", root, open_gpu=lambda: gpu).read()
    row = columns(reading, reading)
    assert row["clock_mhz"] == pytest.approx(clock_mhz)
    assert row["temperature_c"] == pytest.approx(temperature_c)
    assert (row["cpu_clock_mhz"], row["trip_c"], row["fan_pct"]) == (1344, trip_c, 20)
    assert row["emc_clock_mhz"] == (emc_clock_mhz and pytest.approx(emc_clock_mhz))
    assert (row["throttle_reasons"], row["is_throttled"]) == (None, False)
    no_emc = {"memory clock": "in debugfs, for root alone"}
    assert reading.missing == ({} if emc_clock_mhz else no_emc) | NOT_COUNTED


def test_what_throttles_a_board_is_named(tmp_path: Path) -> None:
    """Cooling devices at work at either reading, and over-current events between them."""
    gpu: Any = NotSupported()
    root = build_board(tmp_path, BOARDS["thor"])
    machine = Machine("cuda", root, open_gpu=lambda: gpu)
    before = machine.read()
    names = list(BOARDS["thor"].cooling)
    for name in ("gpu-throttle-alert", "devfreq-gpu-gpc-0", "pwm-fan"):
        put(root / f"sys/class/thermal/cooling_device{names.index(name)}/cur_state", 2)
    put(root / "sys/class/hwmon/hwmon3/oc3_event_cnt", 179)
    row = columns(before, machine.read())
    assert row["throttle_reasons"] == "devfreq-gpu-gpc-0, gpu-throttle-alert, oc3"
    assert row["is_throttled"] is True


@pytest.mark.parametrize(
    ("file", "lie", "figure"),
    [
        ("sys/class/devfreq/gpu-gpc-0/cur_freq", "0", "clock"),
        ("sys/class/devfreq/gpu-gpc-0/cur_freq", None, "clock"),
        ("sys/class/devfreq/gpu-gpc-0/cur_freq", "garbage", "clock"),
        ("sys/class/devfreq/bwmgr/cur_freq", "-4266000000", "memory clock"),
        ("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "9" * 30, "processor clock"),
        ("sys/class/hwmon/hwmon4/pwm1", "4096", "fan"),
        ("var/lib/nvpmodel/status", "pmode", "power mode"),
    ],
)
def test_a_sensor_that_vanishes_or_lies_gives_none_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, lie: str | None, figure: str
) -> None:
    """That figure alone; all others stay."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0}, raising=False)
    gpu: Any = NotSupported()
    root = build_board(tmp_path, BOARDS["thor"])
    machine = Machine("cuda", root, open_gpu=lambda: gpu)
    assert machine.first.missing == NOT_COUNTED
    if lie is None:
        (root / file).unlink()
    else:
        put(root / file, lie)
    reading = machine.read()
    assert reading.missing.keys() - NOT_COUNTED == {figure}
    row = columns(reading, reading)
    column = {"memory clock": "emc_clock_mhz", "processor clock": "cpu_clock_mhz", "fan": "fan_pct"}
    assert row[column.get(figure, f"{figure}_mhz".replace("power mode_mhz", "power_mode"))] is None


def absent() -> Gpu:
    """No NVML here."""
    raise AbsentError("nvidia-ml-py is not installed")


@pytest.mark.parametrize("open_gpu", [absent, broken])
def test_a_gpu_that_cannot_be_asked_is_not_called_unthrottled(
    open_gpu: Callable[[], Gpu], tmp_path: Path
) -> None:
    """A processor's counters say nothing of it; a Jetson's events do."""
    counters(tmp_path)
    machine = Machine("cuda", tmp_path, open_gpu=open_gpu)
    reading = machine.read()
    assert columns(reading, reading)["is_throttled"] is None
    assert reading.clock_mhz is None
    assert {"clock", "temperature", "throttling"} <= reading.missing.keys()
    assert max(map(len, reading.missing.values())) < 150
    before = machine.read()
    counters(tmp_path, number=6)
    assert columns(before, machine.read())["throttle_reasons"] == "thermal"
    events = tmp_path / "sys/class/hwmon/hwmon3/oc3_event_cnt"
    events.parent.mkdir(parents=True)
    events.write_text("0")
    reading = machine.read()
    assert columns(reading, reading)["is_throttled"] is False
    assert "throttling" not in reading.missing


GRID = """\
models: [dynn.safetensors]
datasets: [{name: digits, limit: 20}]
thresholds: [0.5]
threads: [1]
measure: [accuracy, latency, exit_costs]
latency: {rounds: 3, warmup_images: 3}
"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A made tree in the place of the kernel's files, with throttle counters."""
    threads = torch.get_num_threads()
    root = tmp_path / "tree"
    counters(root)
    monkeypatch.setattr(conditions, "ROOT", root)
    machine_of.cache_clear()
    yield root
    machine_of.cache_clear()
    torch.set_num_threads(threads)


@pytest.fixture
def heat(tree: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have the processor too hot in some of the routed rounds."""

    def throttle(*rounds: int) -> None:
        real, calls = latency.measure_routes, itertools.count()

        def measure(*args: Any, **kwargs: Any) -> Any:
            measured = real(*args, **kwargs)
            number = next(calls)
            if number in rounds:
                counters(tree, number=10 * (number + 1))
            return measured

        monkeypatch.setattr(latency, "measure_routes", measure)

    return throttle


def run(path: Path, root: Path) -> None:
    """Run a grid in this process."""
    assert submit(path, root, Target(is_inline=True), lambda _: None, "r").is_done


def test_a_run_leaves_a_row_a_timed_task(
    write_grid: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On this machine as it is; a round of two shards has two rows; untimed tasks have none."""
    machine_of.cache_clear()
    monkeypatch.setattr("jobs.plan.task.SHARD_IMAGES", 12)
    threads = torch.get_num_threads()
    run(write_grid(GRID), tmp_path / "results")
    torch.set_num_threads(threads)
    rows = storage.query(
        tmp_path / "results",
        "select kind, rounds.* from rounds join cells using (run_id, cell_id)"
        " order by kind, round, started_at",
    ).to_pylist()
    keys = [(row["kind"], row["round"]) for row in rows]
    assert keys == [(k, n) for k in ("exit_costs", "latency") for n in (0, 0, 1, 1, 2, 2)]
    for row in rows:
        assert row["started_at"] < row["ended_at"]
        assert 0 <= row["load"] <= 1
    in_time = sorted(rows, key=lambda row: row["started_at"])
    assert [row["position"] for row in in_time] == list(range(12))
    (node,) = storage.query(tmp_path / "results", "from nodes").to_pylist()
    assert node["note"].startswith("power: no source: ina3221 (no hwmon device of that name)")
    missing = re.findall(r"[a-z][a-z ]+(?= \(|,)", node["note"].split("not readable here: ")[1])
    for column, figure in (("clock_mhz", "clock"), ("emc_clock_mhz", "memory clock")):
        assert (rows[0][column] is None) == (figure in missing)
    (line,) = storage.query(tmp_path / "results", "from ladder").to_pylist()
    assert line["samples"] == 60


def test_a_throttled_round_leaves_the_default_figures(
    write_grid: Callable[[str], Path], tmp_path: Path, heat: Callable[..., None]
) -> None:
    """Its rows are kept, and two rounds are enough for a valid cell."""
    heat(1)
    run(write_grid(GRID), tmp_path / "results")
    ask = "select round, throttle_reasons, is_throttled from rounds join cells using (cell_id)"
    rows = storage.query(
        tmp_path / "results", f"{ask} where kind = 'latency' order by round"
    ).to_pylist()
    assert [(row["throttle_reasons"], row["is_throttled"]) for row in rows] == [
        (None, False),
        ("thermal", True),
        (None, False),
    ]
    ask = "select avg(forward_ms) filter (round != 1) as kept_ms, count(*) as n from records"
    (records,) = storage.query(tmp_path / "results", ask).to_pylist()
    assert records["n"] == 60
    (line,) = storage.query(tmp_path / "results", "from ladder").to_pylist()
    assert line["samples"] == 40
    assert line["forward_ms"] == pytest.approx(records["kept_ms"])
    assert line["is_valid"]
    assert line["note"].startswith("throttled: 1 of 3 rounds; ")


def test_too_few_good_rounds_make_a_cell_invalid(
    write_grid: Callable[[str], Path], tmp_path: Path, heat: Callable[..., None]
) -> None:
    """Also where they were timed before a resume."""
    root = tmp_path / "results"
    heat(0, 2)
    run(write_grid(GRID), root)
    ask = "select kind, is_valid from cells order by kind"
    expected = [("exit_costs", True), ("exits", True), ("latency", False)]
    assert [tuple(row.values()) for row in storage.query(root, ask).to_pylist()] == expected
    with storage.RunStore.open(root, "r") as store:
        store.save_run(replace(store.run, status="running"))
    resume(root, "r", Target(is_inline=True), lambda _: None)
    assert [tuple(row.values()) for row in storage.query(root, ask).to_pylist()] == expected


def test_a_power_mode_that_changed_shows_in_the_summary(
    write_grid: Callable[[str], Path], tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the first routed cell's rounds: that one is INVALID, and others stand beside two."""
    status = tree / "var/lib/nvpmodel/status"
    status.parent.mkdir(parents=True)
    status.write_text("pmode:0000\n")
    real, calls = latency.measure_routes, itertools.count()

    def measure(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == 1:
            status.write_text("pmode:0002\n")
        return real(*args, **kwargs)

    monkeypatch.setattr(latency, "measure_routes", measure)
    root = tmp_path / "results"
    run(write_grid(GRID), root)
    (line,) = storage.query(root, "from ladder").to_pylist()
    changed = "conditions: the power mode changed while it was timed: 0, 2"
    assert (line["is_valid"], line["power_mode"]) == (False, "0, 2")
    assert changed in line["note"].split("; ")
    shown = summary.ladder(root, "r")
    assert shown.count("INVALID") == 2
    assert f"– {changed}" in shown
    ask = "select o.note from conditions o join cells using (cell_id) where kind = 'exit_costs'"
    (note,) = (row["note"] for row in storage.query(root, ask).to_pylist())
    assert note.split("; ")[0] == changed  # others may use this machine too, and it may say so
