"""What NVML says of the GPU in use: its clock, its heat, its power, and what holds it back."""

from __future__ import annotations

from typing import Any

from jobs.machine.devices import gpu_uuid
from jobs.machine.sensors import AbsentError

THROTTLES = {
    0x04: "software power cap",
    0x08: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}
"""NVML's reasons for a clock that are throttles; idling and clocks that someone set are not."""


class Gpu:
    """One GPU as NVML knows it; every method may raise what NVML raises.

    Args:
        library: pynvml; a double in tests.
        uuid: which GPU. NVML counts from another 0 than torch where a process sees some GPUs only.
    """

    def __init__(self, library: Any, uuid: str) -> None:
        self._library = library
        library.nvmlInit()
        self._handle = library.nvmlDeviceGetHandleByUUID(uuid)

    def clock_mhz(self) -> float:
        """The clock of its multiprocessors now."""
        return float(
            self._library.nvmlDeviceGetClockInfo(self._handle, self._library.NVML_CLOCK_SM)
        )

    def temperature_c(self) -> float:
        """Of its die."""
        sensor = self._library.NVML_TEMPERATURE_GPU
        return float(self._library.nvmlDeviceGetTemperature(self._handle, sensor))

    def energy_mj(self) -> float:
        """What it has taken since its driver was loaded; GPUs before Volta do not say."""
        return float(self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle))

    def power_mw(self) -> float:
        """What it takes now; of many GPUs the mean of the last second."""
        return float(self._library.nvmlDeviceGetPowerUsage(self._handle))

    def throttles(self) -> frozenset[str]:
        """What holds its clock back now; empty where nothing does."""
        try:
            bits = self._library.nvmlDeviceGetCurrentClocksEventReasons(self._handle)
        except self._library.NVMLError:  # drivers before 535 know the older name alone
            bits = self._library.nvmlDeviceGetCurrentClocksThrottleReasons(self._handle)
        return frozenset(name for bit, name in THROTTLES.items() if bits & bit)


def open_gpu() -> Gpu:
    """The GPU that torch uses in this process.

    Raises:
        AbsentError: nvidia-ml-py is not installed. Else what NVML raises where it does not work.
    """
    return Gpu(_pynvml(), gpu_uuid())


def first_gpu() -> Gpu:
    """The first GPU as NVML counts, for a process that shall not load torch.

    Raises:
        As `open_gpu`.
    """
    library = _pynvml()
    library.nvmlInit()
    return Gpu(library, library.nvmlDeviceGetUUID(library.nvmlDeviceGetHandleByIndex(0)))


def _pynvml() -> Any:
    try:
        import pynvml
    except ModuleNotFoundError as err:
        raise AbsentError("nvidia-ml-py is not installed") from err
    return pynvml
