"""Clocks of processor, GPU and memory: kernel files in made trees, psutil by doubles."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.boards import put

from jobs.machine import clocks
from jobs.machine.sensors import AbsentError

CPU = "sys/devices/system/cpu"


@pytest.fixture
def _three_and_five(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is pinned to two processors."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)


@pytest.mark.usefixtures("_three_and_five")
def test_the_clock_is_of_the_processors_in_use(tmp_path: Path) -> None:
    """The mean of these, kHz in the files; one that idles beside them counts for nothing."""
    put(tmp_path / f"{CPU}/cpu0/cpufreq/scaling_cur_freq", "400000")
    put(tmp_path / f"{CPU}/cpu3/cpufreq/scaling_cur_freq", "1000000")
    put(tmp_path / f"{CPU}/cpu5/cpufreq/scaling_cur_freq", "2000000")
    system = SimpleNamespace(cpu_freq=lambda: SimpleNamespace(current=2400.5))
    assert clocks.cpu_clock_mhz(system, tmp_path) == pytest.approx(1500)


@pytest.mark.usefixtures("_three_and_five")
def test_the_clock_without_such_files_is_psutils(tmp_path: Path) -> None:
    """The mean of all that psutil gives, MHz."""
    put(tmp_path / f"{CPU}/cpu0/cpufreq/scaling_cur_freq", "400000")
    system = SimpleNamespace(cpu_freq=lambda: SimpleNamespace(current=2400.5))
    assert clocks.cpu_clock_mhz(system, tmp_path) == 2400.5


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
        clocks.cpu_clock_mhz(SimpleNamespace(cpu_freq=cpu_freq), tmp_path)


def test_governors_of_all_processors(tmp_path: Path) -> None:
    """Each name once."""
    with pytest.raises(AbsentError, match="no cpufreq"):
        clocks.governors(tmp_path)
    for number, name in enumerate(("powersave", "performance", "powersave")):
        put(tmp_path / f"{CPU}/cpu{number}/cpufreq/scaling_governor", f"{name}")
    assert clocks.governors(tmp_path) == {"powersave", "performance"}


def test_clocks_are_locked_where_none_can_move(tmp_path: Path) -> None:
    """By jetson_clocks, which leaves the governor alone: the least frequency is the highest."""
    with pytest.raises(AbsentError, match="no cpufreq"):
        clocks.are_clocks_locked(tmp_path, is_gpu=False)
    for number in range(2):
        folder = f"{CPU}/cpu{number}/cpufreq"
        put(tmp_path / f"{folder}/scaling_governor", "schedutil")
        put(tmp_path / f"{folder}/scaling_min_freq", "729600")
        put(tmp_path / f"{folder}/scaling_max_freq", "1510400")
    assert not clocks.are_clocks_locked(tmp_path, is_gpu=False)
    put(tmp_path / f"{CPU}/cpu0/cpufreq/scaling_min_freq", "1510400")
    assert not clocks.are_clocks_locked(tmp_path, is_gpu=False), "one of them moves"
    put(tmp_path / f"{CPU}/cpu1/cpufreq/scaling_governor", "performance")
    assert clocks.are_clocks_locked(tmp_path, is_gpu=False)
    with pytest.raises(AbsentError, match="no devfreq of the GPU"):
        clocks.are_clocks_locked(tmp_path, is_gpu=True)
    put(tmp_path / "sys/class/devfreq/15480000.nvdec/min_freq", "1")
    put(tmp_path / "sys/class/devfreq/15480000.nvdec/max_freq", "2")
    gpu = "sys/class/devfreq/17000000.gpu"
    put(tmp_path / f"{gpu}/min_freq", "306000000")
    put(tmp_path / f"{gpu}/max_freq", "624750000")
    assert not clocks.are_clocks_locked(tmp_path, is_gpu=True)
    put(tmp_path / f"{gpu}/min_freq", "624750000")
    assert clocks.are_clocks_locked(tmp_path, is_gpu=True)


@pytest.mark.parametrize(
    ("gpu", "mhz"),
    [
        ("17000000.gpu", 612),
        ("17000000.ga10b", 612),
        ("17000000.gv11b", 612),
        ("gpu-gpc-0", 612),
        ("5b00000.gpu", 612),
    ],
)
def test_the_gpus_clock_is_of_its_devfreq(tmp_path: Path, gpu: str, mhz: float) -> None:
    """Of every Jetson's name of it; video engines are none."""
    put(tmp_path / "sys/class/devfreq/15340000.vic/cur_freq", 115_200_000)
    put(tmp_path / "sys/class/devfreq/gpu-nvd-0/cur_freq", 1_692_000_000)
    with pytest.raises(AbsentError, match="no devfreq of the GPU"):
        clocks.gpu_clock_mhz(tmp_path)
    put(tmp_path / f"sys/class/devfreq/{gpu}/cur_freq", 612_000_000)
    assert clocks.gpu_clock_mhz(tmp_path) == pytest.approx(mhz)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("0", "devfreq gpu-gpc-0 reads 0 MHz: it is switched off"),
        ("-1", "devfreq gpu-gpc-0 reads -1e-06 MHz, which is no clock"),
        ("99999999999999", "which is no clock"),
        ("<unsupported>", "cur_freq reads '<unsupported>', which is not a number"),
        ("", "no devfreq of the GPU"),
    ],
)
def test_a_clock_that_cannot_be_is_none(tmp_path: Path, said: str, why: str) -> None:
    """Zero, negative, absurd, garbage, empty: each with its reason."""
    put(tmp_path / "sys/class/devfreq/gpu-gpc-0/cur_freq", said)
    with pytest.raises(AbsentError, match=why):
        clocks.gpu_clock_mhz(tmp_path)


def test_the_memory_clock_of_a_jetson(tmp_path: Path) -> None:
    """By devfreq since JetPack 7; else by debugfs, which root alone can read."""
    with pytest.raises(AbsentError, match="not shown by the kernel"):
        clocks.emc_clock_mhz(tmp_path)
    put(tmp_path / "sys/class/devfreq/17000000.gpu/cur_freq", 612_000_000)
    with pytest.raises(AbsentError, match="in debugfs, for root alone"):
        clocks.emc_clock_mhz(tmp_path)
    put(tmp_path / "sys/kernel/debug/bpmp/debug/clk/emc/rate", 2_133_000_000)
    assert clocks.emc_clock_mhz(tmp_path) == pytest.approx(2133)
    put(tmp_path / "sys/class/devfreq/bwmgr/cur_freq", 4_266_000_000)
    assert clocks.emc_clock_mhz(tmp_path) == pytest.approx(4266)
    put(tmp_path / "sys/class/devfreq/bwmgr/cur_freq", 0)
    with pytest.raises(AbsentError, match="bwmgr reads 0 MHz: it is switched off"):
        clocks.emc_clock_mhz(tmp_path)
