"""Lines that only a GPU runs, with doubles of torch.cuda: what they ask, and what they make of it.

No double shows that a GPU does what they expect: `make gpu` does, on one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch._inductor import cudagraph_trees

from gfnet.float32 import tf32_uses
from jobs.acceptance import answers, clock, compiled, machine_facts, out_of_memory
from jobs.acceptance.bench import SMALL, Bench
from jobs.acceptance.check_result import FAIL, OK
from jobs.machine.devices import Device

GIB = 2**30


class _Pretending(Bench):
    """The processor in the place of a GPU."""

    is_gpu = property(lambda _self: True)
    sizes = property(lambda _self: SMALL)


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A bench whose device is called a GPU, and computes on the processor."""
    threads = torch.get_num_threads()
    yield _Pretending(Device("cpu", lambda: None, "cpu"), ("torch",))
    torch.set_num_threads(threads)


class _Event:
    """A CUDA event by the host's clock; it is late by a factor."""

    factor = 1.0

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        """Now."""
        self.at_s = time.perf_counter()

    def elapsed_time(self, end: _Event) -> float:
        """Milliseconds to another event."""
        return (end.at_s - self.at_s) * 1e3 * self.factor


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, OK), (20.0, FAIL)])
def test_events_surround_each_route(
    bench: Bench, factor: float, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They agree with the host's clock, unless the GPU was 20 times as long at work."""
    monkeypatch.setattr(_Event, "factor", factor)
    monkeypatch.setattr(torch.cuda, "Event", _Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(clock, "PLUG", 8)
    monkeypatch.setattr(clock, "PASSES", 3)
    monkeypatch.setattr(clock, "LATEST_MS", 1e3)  # this processor has other work
    monkeypatch.setattr(clock, "BATCHES", (1,))
    clocks, launches = clock.check_clock(bench)
    assert clocks.verdict == verdict
    assert clocks.figures["host_ms"] is not None
    assert launches.figures["queued_ms"] is not None


class _Memory:
    """The memory of a GPU of 1 GiB, of which an image takes 1 MiB and other things 100."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.limit, self.peak, self.fractions = 1.0 * GIB, 0, list[float]()
        names = ("memory_reserved", "max_memory_reserved", "reset_peak_memory_stats")
        for name in (*names, "set_per_process_memory_fraction"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(
            torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=GIB)
        )

    def memory_reserved(self) -> int:
        """What other things take."""
        return 100 * 2**20

    def max_memory_reserved(self) -> int:
        """With the images of the largest batch."""
        return self.memory_reserved() + self.peak

    def reset_peak_memory_stats(self) -> None:
        """Forget the largest batch."""
        self.peak = 0

    def set_per_process_memory_fraction(self, fraction: float) -> None:
        """Limit all of it."""
        self.fractions.append(fraction)
        self.limit = fraction * GIB

    def forward_exits(self, model: Any, images: Any) -> Any:
        """Run a model, if there is room for its images."""
        needed = 4 * len(images) * 2**20
        if self.memory_reserved() + needed > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        self.peak = max(self.peak, needed)
        return model.forward_exits(images)


def test_memory_is_limited_and_given_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """To room for a quarter of a batch; what the process holds already does not count."""
    memory = _Memory(monkeypatch)
    engine = SimpleNamespace(
        forward_exits=lambda images: memory.forward_exits(bench.student_there, images)
    )
    monkeypatch.setattr(_Pretending, "engine", lambda *_: engine)
    (result,) = out_of_memory.check_memory(bench)
    assert (result.verdict, result.figures["batch_size"]) == (OK, 16)
    assert "double" not in (result.found or "")
    # 100 MiB, 1.3 times the 64 MiB of 16 images, and 32 MiB.
    assert memory.fractions == [pytest.approx((100 + 1.3 * 64 + 32) / 1024), 1.0]


def test_tf32_that_changes_nothing_fails(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where it could not be switched off; it is off at the end."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 0))
    assert answers._tf32_effect(bench).verdict == FAIL
    assert tf32_uses() == []
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    assert answers._tf32_effect(bench).reason == "this GPU has no TF32: Ampere and later have"


def test_cuda_graphs_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Roots and what was recorded after them; a torch that does not show them has no number."""
    leaf = SimpleNamespace(children={})
    root = SimpleNamespace(children={"stage 1": [leaf]})
    manager = SimpleNamespace(roots={"stage 0": [root], "whole": [leaf]})
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(cudagraph_trees, "get_manager", lambda *_, **__: manager)
    assert compiled._recorded() == 3
    monkeypatch.setattr(cudagraph_trees, "get_manager", lambda *_, **__: None)
    assert compiled._recorded() == 0
    monkeypatch.setattr(cudagraph_trees, "get_manager", lambda *_, **__: SimpleNamespace())
    assert compiled._recorded() is None


def test_a_gpu_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name, capability and memory."""
    gpu = SimpleNamespace(name="NVIDIA X", major=9, minor=0, total_memory=GIB, uuid="7")
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: gpu)
    facts = machine_facts.describe_machine(Device("cuda", lambda: None, "cuda"))
    assert (facts["gpu"], facts["compute_capability"], facts["memory_bytes"]) == (
        "NVIDIA X",
        "9.0",
        GIB,
    )
