"""Clocks, memory, NVML and load: what passes, and that planted values do not."""

from __future__ import annotations

import time
from typing import Any

import pytest

from jobs.acceptance import nvml_readings
from jobs.acceptance.bench import Bench
from jobs.acceptance.check_result import FAIL, OK, SKIP
from jobs.acceptance.clock import judge_clocks, judge_launches
from jobs.acceptance.nvml_readings import (
    check_nvml,
    integrate_mj,
    judge_energy,
    judge_idle_net,
    judge_range,
)
from jobs.acceptance.others import judge_gpu_others, judge_load
from jobs.acceptance.out_of_memory import ASKED, judge_halving
from jobs.machine.devices import Device
from jobs.machine.power.nvml_power import GpuEnergy, GpuPower
from jobs.machine.power.source import NS_PER_S, PowerReading
from jobs.machine.sensors import AbsentError
from jobs.worker.memory import Batches


@pytest.mark.parametrize(
    ("host_ms", "events_ms", "verdict"),
    [
        (5.2, 5.0, OK),
        (5.0, 5.01, OK),
        (4.8, 5.0, FAIL),  # the host stopped its clock before the GPU was done
        (7.0, 5.0, FAIL),  # more than 1 ms and 15 %
        (110.0, 100.0, OK),
    ],
)
def test_the_hosts_clock_covers_the_gpus(host_ms: float, events_ms: float, verdict: str) -> None:
    """No less, and little more."""
    assert judge_clocks(1, host_ms, events_ms).verdict == verdict


def test_the_share_of_launches_is_told() -> None:
    """By hand: 2 of 8 ms are the GPU's work; more work than time is a broken clock."""
    result = judge_launches(1, 8.0, 2.0)
    assert (result.verdict, result.figures["launch_bound_share"]) == (OK, 0.75)
    assert judge_launches(1, 8.0, 12.0).verdict == FAIL
    assert judge_launches(1, 8.0, 0.0).verdict == FAIL


def halved(size: int) -> Batches:
    """Batches that ended at a size."""
    batches = Batches(ASKED, lambda: None)
    batches.size = size
    return batches


@pytest.mark.parametrize(
    ("done", "size", "difference", "verdict"),
    [
        ([*range(96)], 16, 1e-6, OK),
        ([*range(96)], ASKED, 1e-6, FAIL),  # memory did not run out
        ([*range(95)], 16, 1e-6, FAIL),
        ([*range(96), 5], 16, 1e-6, FAIL),  # an image twice
        ([*range(96)], 16, 0.1, FAIL),
    ],
)
def test_halving_loses_no_image(
    done: list[int], size: int, difference: float, verdict: str
) -> None:
    """Nor runs one twice, nor answers otherwise; and it must have happened."""
    result = judge_halving(done, 96, halved(size), difference, is_planted=True)
    assert result.verdict == verdict
    assert "double" in (result.found or "")


def readings(*powers_mw: float, rail: str = "gpu") -> list[PowerReading]:
    """Readings of a second each."""
    return [
        PowerReading(number * NS_PER_S, (number + 1) * NS_PER_S, {rail: mw, "total": mw})
        for number, mw in enumerate(powers_mw)
    ]


def test_power_is_integrated_by_trapezoids() -> None:
    """By hand: 1 W to 3 W within the second between the middles, and constant outside."""
    assert integrate_mj(readings(1000, 3000), 0, 2 * NS_PER_S) == 500 + 2000 + 1500
    assert integrate_mj(readings(1000), 0, NS_PER_S) is None


@pytest.mark.parametrize(("power_mw", "verdict"), [(200e3, OK), (170e3, OK), (300e3, FAIL)])
def test_the_counter_is_held_against_the_power(power_mw: float, verdict: str) -> None:
    """200 W by the counter; a sensor that says 300 is wrong, or the counter is."""
    counter = readings(*[200e3] * 4)
    assert judge_energy(counter, readings(*[power_mw] * 4)).verdict == verdict
    assert judge_energy([], counter).verdict == FAIL, "a counter that stands still"
    assert judge_energy(counter, []).verdict == FAIL


def test_power_rises_under_load() -> None:
    """Idle, loaded, and below a GPU's limit."""
    assert judge_idle_net(60e3, 300e3).verdict == OK
    assert judge_idle_net(300e3, 300e3).verdict == FAIL
    assert judge_idle_net(0.0, 300e3).verdict == FAIL
    assert judge_idle_net(60e3, 60e6).verdict == FAIL, "milliwatts taken for watts"
    assert judge_idle_net(None, 300e3).verdict == FAIL


def test_readings_have_limits() -> None:
    """A temperature of 0 is a sensor that says nothing."""
    assert judge_range("x", "C", (1, 110), 55.0).verdict == OK
    assert judge_range("x", "C", (1, 110), 0.0).verdict == FAIL


class _Gpu:
    """A GPU of 250 W, 50 W at rest; its counter tells a share of that."""

    def __init__(self, share: float) -> None:
        self._share, self.is_busy = share, False
        self._energy_mj, self._at_s = 0.0, time.monotonic()

    def power_mw(self) -> float:
        """Now."""
        return 250e3 if self.is_busy else 50e3

    def energy_mj(self) -> float:
        """Since it was made."""
        now_s = time.monotonic()
        self._energy_mj += self._share * self.power_mw() * (now_s - self._at_s)
        self._at_s = now_s
        return self._energy_mj

    def clock_mhz(self) -> float:
        """Now."""
        return 1410.0

    def temperature_c(self) -> float:
        """A sensor that does not answer."""
        raise AbsentError("not supported")

    def throttles(self) -> frozenset[str]:
        """None."""
        return frozenset()


@pytest.mark.parametrize(("share", "energy"), [(1.0, OK), (0.5, FAIL)])
def test_a_gpu_is_read_at_rest_and_under_load(
    share: float, energy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the product's own sampler and sources; a counter that tells half is found."""
    gpu = _Gpu(share)

    def work() -> None:
        gpu.is_busy = True
        time.sleep(0.005)

    monkeypatch.setattr(nvml_readings, "open_gpu", lambda: gpu)
    monkeypatch.setattr(nvml_readings, "_work", lambda _bench: work)
    monkeypatch.setattr(nvml_readings, "SETTLE_S", 0.02)
    monkeypatch.setattr(nvml_readings, "WINDOW_S", 0.2)
    for source in (GpuEnergy, GpuPower):
        monkeypatch.setattr(source, "period_ms", 10.0)
    bench = Bench(Device("cuda", lambda: None, "cuda"), ("torch",))
    verdicts = {result.name: result.verdict for result in check_nvml(bench)}
    assert verdicts == {
        "NVML: clock": OK,
        "NVML: temperature": SKIP,
        "NVML: throttle reasons": OK,
        "NVML: energy": energy,
        "NVML: power above idle": OK,
    }


def test_without_nvml_each_reading_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason."""

    def absent() -> Any:
        raise AbsentError("nvidia-ml-py is not installed")

    monkeypatch.setattr(nvml_readings, "open_gpu", absent)
    found = list(check_nvml(Bench(Device("cuda", lambda: None, "cuda"), ())))
    assert {result.verdict for result in found} == {SKIP}
    assert {result.reason for result in found} == {"nvidia-ml-py is not installed"}


@pytest.mark.parametrize(
    ("load", "processors", "verdict"),
    [(0.25, 4, OK), (0.05, 4, FAIL), (None, 4, FAIL), (0.05, 64, OK)],
)
def test_a_busy_process_is_load(load: float | None, processors: int, verdict: str) -> None:
    """Of nearly one processor, however many there are."""
    assert judge_load({"load": load, "processors": processors}).verdict == verdict


def test_a_process_on_the_gpu_is_counted() -> None:
    """A driver that does not list processes is no failure of this installation."""
    seen = {"missing": {"others on the GPU": "NVML lists no process, not even this one"}}
    assert judge_gpu_others({"gpu_others": 1} | seen).verdict == OK
    assert judge_gpu_others({"gpu_others": 0} | seen).verdict == FAIL
    result = judge_gpu_others({"gpu_others": None} | seen)
    assert (result.verdict, result.reason) == (SKIP, seen["missing"]["others on the GPU"])
