"""Peak memory, of this process and by the kernel files of made-up ones."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from jobs.machine.devices import Device, use_device
from jobs.worker.peak_memory import PeakMemory

CPU = Device("cpu", lambda: None, "cpu")
MIB = 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the peak since a moment")
def test_a_peak_is_of_its_own_time() -> None:
    """An array that is gone before does not count, one that came and went meanwhile does."""
    np.ones(200 * MIB, np.uint8).sum()
    before = PeakMemory(use_device("cpu")).process_bytes()
    peaks = PeakMemory(use_device("cpu"))
    np.ones(100 * MIB, np.uint8).sum()
    after = peaks.process_bytes()
    assert before is not None
    assert after is not None
    assert 90 * MIB < after - before < 150 * MIB
    assert peaks.device_bytes() is None


@pytest.mark.parametrize(
    ("status", "found"),
    [
        ("Name:\tpython\nVmHWM:\t  2048 kB\n", 2 * MIB),
        ("Name:\tpython\n", None),
        ("VmHWM:\n", None),
        ("VmHWM:\t-1 kB\n", None),
        (None, None),
    ],
)
def test_kernel_files(tmp_path: Path, status: str | None, found: int | None) -> None:
    """VmHWM in KiB; a kernel that does not say gives None."""
    own = tmp_path / "proc" / "self"
    own.mkdir(parents=True)
    if status is not None:
        (own / "status").write_text(status)
    assert PeakMemory(CPU, tmp_path).process_bytes() == found
    assert (own / "clear_refs").read_text() == "5"


def test_a_peak_that_cannot_be_reset_is_unknown(tmp_path: Path) -> None:
    """It would be that of an earlier task."""
    assert PeakMemory(CPU, tmp_path).process_bytes() is None


def test_of_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Torch's own count, reset first; a double stands for it, since no GPU is here."""
    calls = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: calls.append("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 5 * MIB)
    peaks = PeakMemory(Device("cuda", lambda: None, "gpu"), tmp_path)
    assert calls == ["reset"]
    assert peaks.device_bytes() == 5 * MIB
