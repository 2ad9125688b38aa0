"""NVML by a double that speaks as pynvml does."""

# ruff: noqa: N802 - the double has pynvml's names

from __future__ import annotations

import sys
from typing import Any

import pytest

from jobs.machine.nvml import THROTTLES, Gpu, open_gpu
from jobs.machine.sensors import AbsentError


class Library:
    """A pynvml with one GPU."""

    NVML_CLOCK_SM = 1
    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        """What pynvml raises."""

    def __init__(self, bits: int = 0, *, is_old: bool = False, processes: int = 1) -> None:
        self.bits, self.is_old, self.processes = bits, is_old, processes
        self.is_started = False

    def nvmlInit(self) -> None:
        """Start."""
        self.is_started = True

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        """Find the GPU."""
        assert self.is_started
        if uuid != "GPU-7":
            raise self.NVMLError("Not Found")
        return "handle"

    def nvmlDeviceGetClockInfo(self, handle: str, clock: int) -> int:
        """Its clock, MHz."""
        assert (handle, clock) == ("handle", self.NVML_CLOCK_SM)
        return 1410

    def nvmlDeviceGetTemperature(self, handle: str, sensor: int) -> int:
        """Its temperature."""
        assert (handle, sensor) == ("handle", self.NVML_TEMPERATURE_GPU)
        return 64

    def nvmlDeviceGetFanSpeed(self, handle: str) -> int:
        """Its fan, percent."""
        assert handle == "handle"
        return 35

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[object]:
        """Those that compute on it."""
        assert handle == "handle"
        return [object()] * self.processes

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: str) -> int:
        """What holds it back, where the driver is new."""
        if self.is_old:
            raise self.NVMLError("Function Not Found")
        return self.nvmlDeviceGetCurrentClocksThrottleReasons(handle)

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: str) -> int:
        """The same, by its older name."""
        assert handle == "handle"
        return self.bits


@pytest.mark.parametrize("is_old", [False, True])
def test_a_gpu_tells_clock_heat_and_throttles(is_old: bool) -> None:
    """Idling (1) and clocks that someone set (2) are no throttles."""
    gpu = Gpu(Library(0x1 | 0x2 | 0x4 | 0x40, is_old=is_old), "GPU-7")
    assert (gpu.clock_mhz(), gpu.temperature_c(), gpu.fan_pct()) == (1410, 64, 35)
    assert gpu.throttles() == {"software power cap", "hardware thermal slowdown"}
    assert Gpu(Library(0x1), "GPU-7").throttles() == frozenset()


def test_other_processes_are_counted() -> None:
    """This one is among those listed, whatever its number; a list without it says nothing."""
    assert [Gpu(Library(processes=n), "GPU-7").others() for n in (1, 3)] == [0, 2]
    with pytest.raises(AbsentError, match="lists no process, not even this one"):
        Gpu(Library(processes=0), "GPU-7").others()


def test_the_bits_are_nvmls() -> None:
    """Held against the constants of the real package."""
    pynvml: Any = pytest.importorskip("pynvml", reason="the extra nvidia is not installed")
    names = {
        "software power cap": pynvml.nvmlClocksEventReasonSwPowerCap,
        "hardware slowdown": pynvml.nvmlClocksEventReasonHwSlowdown,
        "software thermal slowdown": pynvml.nvmlClocksEventReasonSwThermalSlowdown,
        "hardware thermal slowdown": pynvml.nvmlClocksEventReasonHwThermalSlowdown,
        "hardware power brake": pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown,
    }
    assert {name: bit for bit, name in THROTTLES.items()} == names
    for name in (name for name in vars(Library) if name.startswith(("nvml", "NVML"))):
        assert hasattr(pynvml, name), "the double has nothing that pynvml lacks"


def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is optional."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(AbsentError, match="nvidia-ml-py is not installed"):
        open_gpu()


def test_the_gpu_is_that_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name that torch gives it."""
    monkeypatch.setitem(sys.modules, "pynvml", Library())
    monkeypatch.setattr("jobs.machine.nvml.gpu_uuid", lambda: "GPU-7")
    assert open_gpu().clock_mhz() == 1410
