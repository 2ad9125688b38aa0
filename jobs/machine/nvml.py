"""NVML readings of the GPU in use: clock, temperature, fan, power and throttle reasons."""

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
"""NVML's clock event reasons that count as throttling; idling and user-set clocks do not."""


class Gpu:
    """One GPU, read by NVML; every method may raise what NVML raises.

    Args:
        library: pynvml, or a test double.
        uuid: of the GPU. If a process sees only some GPUs, NVML and torch number them differently.
    """

    def __init__(self, library: Any, uuid: str) -> None:
        self._library = library
        library.nvmlInit()
        self._handle = library.nvmlDeviceGetHandleByUUID(uuid)

    def clock_mhz(self) -> float:
        """Return the present clock of its multiprocessors."""
        return float(
            self._library.nvmlDeviceGetClockInfo(self._handle, self._library.NVML_CLOCK_SM)
        )

    def temperature_c(self) -> float:
        """Return the temperature of its die."""
        sensor = self._library.NVML_TEMPERATURE_GPU
        return float(self._library.nvmlDeviceGetTemperature(self._handle, sensor))

    def fan_pct(self) -> float:
        """Return the speed of its fan as it is set, in percent; not supported without a fan."""
        return float(self._library.nvmlDeviceGetFanSpeed(self._handle))

    def energy_mj(self) -> float:
        """Return the energy used since its driver was loaded; not supported before Volta."""
        return float(self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle))

    def power_mw(self) -> float:
        """Return the present power; on many GPUs this is the mean of the last second."""
        return float(self._library.nvmlDeviceGetPowerUsage(self._handle))

    def others(self) -> int:
        """Return how many other processes compute on it, once this one does.

        In a container the driver may number processes as the host does, so that this one cannot be
        told from others (nvidia-docker#1483): it counts as one of those listed.

        Raises:
            AbsentError: no process is listed, not even this one.
        """
        listed = self._library.nvmlDeviceGetComputeRunningProcesses(self._handle)
        if not listed:
            raise AbsentError("NVML lists no process, not even this one")
        return len(listed) - 1

    def throttles(self) -> frozenset[str]:
        """Return why its clock is throttled now; empty if it is not."""
        try:
            bits = self._library.nvmlDeviceGetCurrentClocksEventReasons(self._handle)
        except self._library.NVMLError:  # drivers before 535 have only the older name
            bits = self._library.nvmlDeviceGetCurrentClocksThrottleReasons(self._handle)
        return frozenset(name for bit, name in THROTTLES.items() if bits & bit)


def open_gpu() -> Gpu:
    """Open the GPU that torch uses in this process.

    Raises:
        AbsentError: nvidia-ml-py is not installed.
        Exception: what NVML raises if it does not work.
    """
    return Gpu(_pynvml(), gpu_uuid())


def first_gpu() -> Gpu:
    """Open the first GPU in NVML's numbering, without loading torch.

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
