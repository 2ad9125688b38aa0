"""Devices by name; CUDA through doubles, since CI has no such device."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from jobs.machine import devices
from jobs.machine.devices import find_gpu_fault, local_devices, use_device
from jobs.machine.registration import Registration


def test_cpu_is_always_there() -> None:
    """And needs no synchronising."""
    device = use_device("cpu")
    assert device.name == "cpu"
    device.synchronise()


def test_any_prefers_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a double in CUDA's place: `any` is cuda, and synchronising reaches it."""
    calls: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: calls.append("sync"))
    device = use_device("any")
    device.synchronise()
    assert (device.name, calls) == ("cuda", ["sync"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert use_device("any").name == "cpu"


def test_a_gpus_own_clock_is_two_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """With timing, the same for each time; a processor has no clock but the host's."""
    recorded: list[Event] = []

    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            recorded.append(self)

        def elapsed_time(self, later: Event) -> float:
            assert recorded[-2:] == [self, later]
            return 1.5

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    timer = use_device("cuda").timer
    assert timer is not None
    for _ in range(2):
        timer.start()
        timer.stop()
        assert timer.elapsed_ms() == 1.5
    assert len(set(recorded)) == 2
    assert use_device("cpu").timer is None


def test_a_device_that_torch_does_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which torch looked, and what to do."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"sees no device 'cuda'.*devices: \[cpu\]"):
        use_device("cuda")


def test_local_devices_are_told_without_torch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From device files: a grid can be checked before torch is loaded."""
    (pattern,) = (file for file in devices._CUDA_FILES if file.startswith("/dev/nvidia"))
    monkeypatch.setattr(devices, "_CUDA_FILES", (pattern.replace("/dev", str(tmp_path)),))
    (tmp_path / "nvidiactl").touch()
    (tmp_path / "nvidia-uvm").touch()
    assert local_devices() == ("any", "cpu")
    (tmp_path / "nvidia3").touch()  # the only one that this container was given
    assert local_devices() == ("any", "cpu", "cuda")
    registered = Registration("laptop", "cpu", {"cpu": (0,), "slow": (0,)})
    monkeypatch.setattr(devices, "read_registration", lambda: registered)
    assert local_devices() == ("any", "cpu", "cuda", "slow")


WITHOUT_BINDINGS = """
import sys
from jobs.machine import devices
devices._CUDA_FILES = ()
devices.keep_cuda_bindings_out()
assert "torch" not in sys.modules
import torch
print(torch.ones(3).sum().item(), [name for name in sys.modules if name.startswith("cuda.b")])
"""


def test_torch_does_without_cuda_bindings_where_no_gpu_is() -> None:
    """In a process of its own: it looks for them once, at its import."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_BINDINGS], capture_output=True, text=True, check=True
    )
    assert done.stdout == "3.0 ['cuda.bindings']\n"


def test_cuda_bindings_stay_where_a_gpu_may_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file of its driver is enough; what was imported before stays in any case."""
    monkeypatch.setattr(devices, "_CUDA_FILES", (str(tmp_path / "nvidia[0-9]*"),))
    monkeypatch.setitem(sys.modules, "cuda.bindings", sys)
    devices.keep_cuda_bindings_out()
    assert sys.modules["cuda.bindings"] is sys
    monkeypatch.delitem(sys.modules, "cuda.bindings")
    (tmp_path / "nvidia0").touch()
    devices.keep_cuda_bindings_out()
    assert "cuda.bindings" not in sys.modules


def test_a_registered_name_is_what_the_node_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows show the name; torch gets its own, and the number of the GPU."""
    chosen: list[int] = []
    registered = Registration("bench", "cuda", {"h100": (1,), "rtx-4090": (0, 2)})
    monkeypatch.setattr(devices, "read_registration", lambda: registered)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    named = [use_device("rtx-4090", place) for place in (0, 1)]
    assert [(d.name, d.label, d.number) for d in named] == [
        ("cuda", "rtx-4090", 0),
        ("cuda", "rtx-4090", 2),
    ]
    assert chosen == [0, 2]
    for name in ("any", "cuda"):
        assert use_device(name).label == "h100"
    assert use_device("cpu").label == "cpu"
    with pytest.raises(ValueError, match="no device 'a100'"):
        use_device("a100")


def test_a_registered_gpu_is_not_replaced_by_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Jetson whose torch sees no GPU must not time its processor under the board's name."""
    registered = Registration("board", "cuda", {"jetson-orin-nano": (0,)})
    monkeypatch.setattr(devices, "read_registration", lambda: registered)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="sees no device 'cuda'"):
        use_device("jetson-orin-nano")


def test_a_gpu_is_asked_to_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the processor in its place; what torch raises is said by its first line."""
    monkeypatch.setattr(devices, "CUDA", "cpu")
    assert find_gpu_fault() == ""

    def no_kernel(*_args: object, **_kwargs: object) -> torch.Tensor:
        raise RuntimeError("CUDA error: no kernel image is available\nCompile with")

    monkeypatch.setattr(torch, "ones", no_kernel)
    assert find_gpu_fault() == "CUDA error: no kernel image is available"
