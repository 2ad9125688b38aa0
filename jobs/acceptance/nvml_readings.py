"""NVML: clock, temperature, throttle reasons, and the energy counter against integrated power."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from jobs.acceptance.bench import Bench
from jobs.acceptance.check_result import CheckResult
from jobs.machine.nvml import Gpu, open_gpu
from jobs.machine.power.nvml_power import RAIL, GpuEnergy, GpuPower
from jobs.machine.power.protocol import TOTAL
from jobs.machine.power.sampler import Sampler
from jobs.machine.power.source import NS_PER_S, PowerReading

CLOCKS_MHZ = (50.0, 5000.0)
TEMPERATURES_C = (1.0, 110.0)

WINDOW_S = 4.0
SETTLE_S = 1.5
"""Reported power is the mean of up to a second on many GPUs: it follows a load that late."""

NEAR = 0.2
"""Share by which energy and integrated power may differ: NVIDIA states 5 % for its sensor, and on
some GPUs it samples only a part of the time (Yang et al., Part-time power measurements, 2024)."""

MOST_W = 3000.0


def check_nvml(bench: Bench) -> Iterator[CheckResult]:
    """Read the GPU at rest and under load."""
    names = ("NVML: clock", "NVML: temperature", "NVML: throttle reasons", "NVML: energy")
    if not bench.is_gpu:
        for name in names:
            yield CheckResult.skipped(name, "a value that a GPU can have", "the device is no GPU")
        return
    try:
        gpu = open_gpu()
    except Exception as err:  # noqa: BLE001 - NVML has its own errors
        for name in names:
            yield CheckResult.skipped(name, "a value that a GPU can have", f"{err}")
        return
    yield _read(names[0], "MHz", CLOCKS_MHZ, gpu.clock_mhz)
    yield _read(names[1], "degrees Celsius", TEMPERATURES_C, gpu.temperature_c)
    yield _throttles(names[2], gpu)
    try:
        gpu.energy_mj(), gpu.power_mw()
    except Exception as err:  # noqa: BLE001 - as above; a Jetson's NVML supports neither
        yield CheckResult.skipped(names[3], "as much as the integrated power", f"{err}")
        return
    idle = watch_power(gpu, lambda: time.sleep(0.05))
    busy = watch_power(gpu, _work(bench))
    yield judge_energy(*busy)
    yield judge_idle_net(mean_mw(idle[1]), mean_mw(busy[1]))


def judge_range(name: str, unit: str, limits: tuple[float, float], value: float) -> CheckResult:
    """Judge a reading by the values that a GPU can have."""
    low, high = limits
    return CheckResult.judged(
        name,
        f"{low:g} to {high:g} {unit}",
        f"{value:g} {unit}",
        {"value": value},
        is_ok=low <= value <= high,
    )


def judge_energy(counter: Sequence[PowerReading], power: Sequence[PowerReading]) -> CheckResult:
    """Judge the energy counter by the integral of the reported power, over the same time."""
    name = "NVML: energy"
    expected = f"the counter within {NEAR:.0%} of the integral of the reported power"
    spans = [(reading.begin_ns, reading.end_ns) for reading in counter]
    if not spans:
        return CheckResult.broken(name, expected, "the energy counter did not move")
    begin_ns, end_ns = spans[0][0], spans[-1][1]
    counted_mj = sum(
        reading.rails_mw[RAIL] * (reading.end_ns - reading.begin_ns) / NS_PER_S
        for reading in counter
    )
    integrated_mj = integrate_mj(power, begin_ns, end_ns)
    if integrated_mj is None:
        return CheckResult.broken(name, expected, "the reported power was not read often enough")
    ratio = counted_mj / integrated_mj if integrated_mj else float("inf")
    return CheckResult.judged(
        name,
        expected,
        f"{counted_mj / 1e3:.1f} J counted, {integrated_mj / 1e3:.1f} J integrated, over"
        f" {(end_ns - begin_ns) / NS_PER_S:.1f} s: a ratio of {ratio:.3f}",
        {"counted_mj": counted_mj, "integrated_mj": integrated_mj},
        is_ok=abs(ratio - 1) <= NEAR,
    )


def judge_idle_net(idle_mw: float | None, busy_mw: float | None) -> CheckResult:
    """Judge the power at rest and under load: what is left above idle is a model's."""
    name, expected = "NVML: power above idle", "more under load than at rest, and no GPU's limit"
    if idle_mw is None or busy_mw is None:
        return CheckResult.broken(name, expected, "the reported power was not read")
    return CheckResult.judged(
        name,
        expected,
        f"{idle_mw / 1e3:.1f} W at rest, {busy_mw / 1e3:.1f} W under load:"
        f" {(busy_mw - idle_mw) / 1e3:.1f} W above idle",
        {"idle_mw": idle_mw, "busy_mw": busy_mw},
        is_ok=0 < idle_mw < busy_mw < MOST_W * 1e3,
    )


def watch_power(
    gpu: Gpu, work: Callable[[], None]
) -> tuple[Sequence[PowerReading], Sequence[PowerReading]]:
    """Do some work again and again, and return the readings of counter and power meanwhile."""
    until = time.monotonic() + SETTLE_S
    _repeat(work, until)
    samplers = [Sampler(source(gpu, time.monotonic_ns)) for source in (GpuEnergy, GpuPower)]
    for sampler in samplers:
        sampler.start()
    _repeat(work, time.monotonic() + WINDOW_S)
    for sampler in samplers:
        sampler.stop()
    counter, power = (sampler.readings for sampler in samplers)
    return counter, power


def integrate_mj(power: Sequence[PowerReading], begin_ns: int, end_ns: int) -> float | None:
    """Integrate samples by trapezoids; beyond the first and the last the power stays as there.

    Returns: None for fewer than two samples.
    """
    if len(power) < 2:  # noqa: PLR2004 - a trapezoid has two ends
        return None
    points = [((r.begin_ns + r.end_ns) // 2, r.rails_mw[TOTAL]) for r in power]
    inside = [(at, mw) for at, mw in points if begin_ns < at < end_ns] or points[:1]
    inside = [(begin_ns, inside[0][1]), *inside, (end_ns, inside[-1][1])]
    return sum(
        (mw + next_mw) / 2 * (next_at - at) / NS_PER_S
        for (at, mw), (next_at, next_mw) in pairwise(inside)
    )


def mean_mw(power: Sequence[PowerReading]) -> float | None:
    """Return the mean of some samples; None if there are none."""
    values = [reading.rails_mw[TOTAL] for reading in power]
    return sum(values) / len(values) if values else None


def _read(
    name: str, unit: str, limits: tuple[float, float], source: Callable[[], float]
) -> CheckResult:
    try:
        return judge_range(name, unit, limits, source())
    except Exception as err:  # noqa: BLE001 - NVML has its own errors; a Jetson's answers little
        low, high = limits
        return CheckResult.skipped(
            name, f"{low:g} to {high:g} {unit}", f"{type(err).__name__}: {err}"
        )


def _throttles(name: str, gpu: Gpu) -> CheckResult:
    expected = "reasons by name, or none; a throttled GPU is named, not failed"
    try:
        reasons = gpu.throttles()
    except Exception as err:  # noqa: BLE001 - as above
        return CheckResult.skipped(name, expected, f"{type(err).__name__}: {err}")
    return CheckResult.judged(name, expected, ", ".join(sorted(reasons)) or "none", is_ok=True)


def _work(bench: Bench) -> Callable[[], None]:
    """Return a pass of a batch, to be repeated."""
    import torch

    engine = bench.engine("torch", bench.student_there)
    images: Any = bench.images(64, bench.student, seed=8).to(bench.device.name)

    def work() -> None:
        with torch.inference_mode():
            engine.forward_exits(images)
        bench.device.synchronise()

    return work


def _repeat(work: Callable[[], None], until_s: float) -> None:
    while time.monotonic() < until_s:
        work()
        time.sleep(0)  # the samplers are threads of this process
