"""Running out of memory: batches that grow smaller, by an allocator that the test makes up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.worker import Bench

import gfnet
import storage
from jobs.runs.submit import submit
from jobs.runs.target import Target
from jobs.worker.memory import Batches, is_out_of_memory
from jobs.worker.run_task import run_task

GRID = """\
models: [dynn.safetensors]
datasets: [{name: digits, limit: 20}]
thresholds: [0.5]
threads: [1]
batch_sizes: {accuracy: 16, latency: 4}
latency: {rounds: 1, warmup_images: 2}
"""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("could not create a primitive"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"), True),
        (RuntimeError('NVML_SUCCESS == r INTERNAL ASSERT FAILED at "CUDACaching.cpp":1131'), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts(error: Exception, *, expected: bool) -> None:
    """Errors of other kinds are not retried."""
    assert is_out_of_memory(error) == expected


def test_an_allocation_that_no_machine_can_make_is_one() -> None:
    """What torch says for real, of 2 EiB."""
    with pytest.raises((RuntimeError, MemoryError)) as raised:
        torch.empty(2**58, dtype=torch.float64)
    assert is_out_of_memory(raised.value)


def lacking(most: int, done: list[range]) -> Callable[[range], None]:
    """A step for at most so many images at a time."""

    def step(places: range) -> None:
        if len(places) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        done.append(places)

    return step


def test_batches_halve_until_they_fit() -> None:
    """Every image once, in order; memory is given back each time, and the note says so."""
    freed: list[int] = []
    batches, done = Batches(16, lambda: freed.append(1)), list[range]()
    batches.run(40, lacking(5, done))
    assert [place for places in done for place in places] == list(range(40))
    assert max(map(len, done)) == 4
    assert len(freed) == 2
    assert batches.note == "out of memory at batch size 16: continued with 4"


def test_a_last_batch_that_is_small_already_halves_itself() -> None:
    """Not the size that was asked for, which did not run."""
    batches, done = Batches(256, lambda: None), list[range]()
    batches.run(6, lacking(3, done))
    assert [len(places) for places in done] == [3, 3]


def test_enough_memory_leaves_no_note() -> None:
    """And one image that does not fit is an error."""
    batches, done = Batches(16, lambda: None), list[range]()
    batches.run(20, lacking(16, done))
    assert batches.note == ""
    with pytest.raises(torch.OutOfMemoryError):
        batches.run(20, lacking(0, done))


def test_a_run_out_of_memory(
    write_grid: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accuracy goes on with less, and its cell says so; under the clock the cell fails."""
    grid = write_grid(GRID)
    assert submit(grid, tmp_path / "whole", Target(is_inline=True), str, "r").is_done
    exits, route = gfnet.GFNet.forward_exits, gfnet.GFNet.route

    def scarce(most: int, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(self: Any, images: torch.Tensor, *arguments: Any, **options: Any) -> Any:
            if len(images) > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return call(self, images, *arguments, **options)

        return called

    monkeypatch.setattr(gfnet.GFNet, "forward_exits", scarce(5, exits))
    monkeypatch.setattr(gfnet.GFNet, "route", scarce(3, route))
    assert not submit(grid, tmp_path / "scarce", Target(is_inline=True), str, "r").is_done
    cells = storage.query(tmp_path / "scarce", "select kind, status, note, error from cells")
    by_kind = {row["kind"]: row for row in cells.to_pylist()}
    assert by_kind["exits"]["status"] == "done"
    assert by_kind["exits"]["note"] == "out of memory at batch size 16: continued with 4"
    assert by_kind["latency"]["status"] == "failed"
    assert "out of memory at batch size 4" in by_kind["latency"]["error"]
    assert "choose a smaller batch_sizes.latency" in by_kind["latency"]["error"]
    assert "Traceback" not in by_kind["latency"]["error"]
    sql = "select image_id, exit_block, prediction, is_correct from exits order by all"
    whole, ours = (storage.query(tmp_path / name, sql) for name in ("whole", "scarce"))
    assert whole.num_rows == 60
    assert ours.equals(whole)


def test_an_engine_that_does_not_fit_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, without a traceback; another failure of an engine keeps its own."""
    task = bench.task("exits", "flat")

    def run(error: Exception) -> str:
        def build(*_args: Any, **_options: Any) -> None:
            raise error

        monkeypatch.setattr(gfnet, "runtime", build)
        return run_task(task, lambda: bench.sources.weights(task), bench.sources.shard(task)).error

    assert run(torch.OutOfMemoryError("CUDA out of memory")) == (
        "out of memory while its engine was built (CUDA out of memory); choose another runtime, or"
        " a device with more memory"
    )
    assert run(RuntimeError("no kernel image")).startswith("Traceback")
