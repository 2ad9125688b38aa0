"""Peak memory of this process and of its device, from one moment on."""

from __future__ import annotations

from pathlib import Path

from jobs.machine.devices import CUDA, Device

_KIB = 1024
_RESET = "5"
"""Written to clear_refs, it resets VmHWM to the present size (Linux, proc(5))."""


class PeakMemory:
    """Peaks since it was made; each is None if the system does not say.

    Args:
        device: the one in use.
        root: root of the kernel's files; a temporary tree in tests.
    """

    def __init__(self, device: Device, root: Path = Path("/")) -> None:
        self._own = root / "proc" / "self"
        self._is_gpu = device.name == CUDA
        try:
            (self._own / "clear_refs").write_text(_RESET)
            self._is_reset = True
        except OSError:  # no such file, or a container that may not write it
            self._is_reset = False
        if self._is_gpu:
            import torch

            torch.cuda.reset_peak_memory_stats()

    def process_bytes(self) -> int | None:
        """Return the largest resident size of this process."""
        if not self._is_reset:  # the peak of earlier tasks would be given as this one's
            return None
        try:
            lines = (self._own / "status").read_text().splitlines()
        except OSError:
            return None
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        words = fields.get("VmHWM", "").split()
        return int(words[0]) * _KIB if words and words[0].isdecimal() else None

    def device_bytes(self) -> int | None:
        """Return the most memory of the GPU that torch's allocator had handed out; None on a CPU.

        Engines with an allocator of their own (ONNX Runtime, TensorRT) are not seen by it.
        """
        if not self._is_gpu:
            return None
        import torch

        return int(torch.cuda.max_memory_allocated())
