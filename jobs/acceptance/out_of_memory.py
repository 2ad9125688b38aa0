"""Out of memory: an untimed pass halves its batches until they fit, and loses no image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jobs.acceptance.bench import Bench
from jobs.acceptance.check_result import CheckResult
from jobs.worker.memory import Batches

ASKED = 64
"""Images per batch; memory is made too little for half of them."""

NEAR = 1e-4
"""Distance of a logit from that of single batches: kernels of other sizes round differently."""

_EXPECTED = f"batches of {ASKED} are halved until they fit; every image once, the same answers"


def check_memory(bench: Bench) -> Iterator[CheckResult]:
    """Run an all-exit pass with too little memory for its batches."""
    import torch

    model, count = bench.student_there, ASKED + ASKED // 2
    engine = bench.engine("torch", model)
    images: Any = bench.images(count, model, seed=7)
    places_done: list[int] = []
    answers: list[Any] = []

    def step(places: range) -> None:
        there = images[places.start : places.stop].to(bench.device.name)
        if not bench.is_gpu and len(places) > ASKED // 4:
            raise torch.OutOfMemoryError("CUDA out of memory: planted, by a double")
        logits = engine.forward_exits(there).logits.cpu()
        answers.append(logits)
        places_done.extend(places)

    with torch.inference_mode():
        expected = torch.cat(
            [
                engine.forward_exits(each.to(bench.device.name)).logits.cpu()
                for each in images.split(ASKED // 8)
            ],
            dim=1,
        )
        batches = Batches(ASKED, bench.device.free)
        with _too_little(engine, images, bench):
            batches.run(count, step)
    difference = float((torch.cat(answers, dim=1) - expected).abs().max())
    yield judge_halving(places_done, count, batches, difference, is_planted=not bench.is_gpu)


def judge_halving(
    done: list[int], images: int, batches: Batches, difference: float, *, is_planted: bool
) -> CheckResult:
    """Judge a pass that had too little memory.

    Args:
        done: places of the images, in the order in which they ran.
        images: their number.
        batches: the batch size that was left, and the note.
        difference: the largest, of a logit.
        is_planted: whether the error was raised by a double.
    """
    double = " (the error is a double's: a processor's memory cannot be limited)"
    return CheckResult.judged(
        "out of memory",
        _EXPECTED,
        f"{batches.note or f'batches stayed at {batches.size}'}; {len(done)} of {images} images;"
        f" logits differ by {difference:.1e}{double if is_planted else ''}",
        {"batch_size": batches.size, "images": len(done), "logits_difference": difference},
        is_ok=batches.size < ASKED
        and bool(batches.note)
        and done == list(range(images))
        and difference <= NEAR,
    )


@contextmanager
def _too_little(engine: Any, images: Any, bench: Bench) -> Iterator[None]:
    """Limit this process's memory to what a quarter of a batch needs and some more."""
    if not bench.is_gpu:
        yield
        return
    import torch

    bench.device.free()
    held = torch.cuda.memory_reserved()
    torch.cuda.reset_peak_memory_stats()
    engine.forward_exits(images[: ASKED // 4].to(bench.device.name))
    needed = torch.cuda.max_memory_reserved() - held
    bench.device.free()
    total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    # Torch reserves memory in blocks of 2 to 20 MiB.
    limit = torch.cuda.memory_reserved() + 1.3 * needed + 2**25
    torch.cuda.set_per_process_memory_fraction(min(limit / total, 1.0))
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        bench.device.free()
