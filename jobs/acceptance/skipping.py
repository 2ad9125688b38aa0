"""Skipping: images that exit early leave the rest of the model out, in blocks and in time."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gfnet.runtimes.availability import unavailable
from jobs.acceptance.bench import Bench, timed_images
from jobs.acceptance.check_result import CheckResult
from jobs.worker.exit_costs import measure_exits
from jobs.worker.timing import warm_up

BATCHES = (1, 64)
ROUNDS = {1: 12, 64: 4}
"""Batches that each exit is timed on, in turn with the other exits."""

TRIES = 3
"""Rounds of timing: others that use a machine for a moment must not fail it. An engine that does
not skip fails them all."""

LEAST_SHARE = {1: 0.25, 64: 0.5}
"""Share of the ideal saving that counts as skipping, by batch size. None is saved by an engine that
does not skip; eager torch saves 0.86 of it at batch 1 on a CPU (docs/performance.md). On a GPU a
single image costs launches, of an exit's small operations as many as of a block."""


@dataclass(frozen=True)
class ExitTimes:
    """Median times of a batch, by exit.

    Attributes:
        batch: images.
        blocks: the block before each exit, the last included.
        forward_ms: milliseconds a batch.
    """

    batch: int
    blocks: tuple[int, ...]
    forward_ms: tuple[float, ...]

    @property
    def is_falling(self) -> bool:
        """Whether each exit takes less than the next."""
        return all(a < b for a, b in zip(self.forward_ms, self.forward_ms[1:], strict=False))

    @property
    def share(self) -> float:
        """The share of the ideal saving at the first exit.

        Ideally time is in proportion to blocks: embedding and head count as part of them, so that
        an engine cannot reach 1 quite.
        """
        first, last = self.blocks[0] + 1, self.blocks[-1] + 1
        ideal_ms = self.forward_ms[-1] * (1 - first / last)
        return (self.forward_ms[-1] - self.forward_ms[0]) / ideal_ms

    @property
    def is_skipping(self) -> bool:
        """Whether exits save time, and as much as they must."""
        return self.is_falling and self.share >= LEAST_SHARE[self.batch]


def check_skipping(bench: Bench) -> Iterator[CheckResult]:
    """Count the blocks that routed images run, and time every exit on every engine."""
    yield _count_blocks(bench)
    for runtime in bench.runtimes:
        for batch in BATCHES:
            name = f"{runtime}: time by exit, batch {batch}"
            if reason := unavailable(runtime, "float32", bench.device.name):
                yield CheckResult.skipped(name, "time that falls with the block", reason)
                continue
            yield judge_times(name, time_exits(runtime, batch, bench))


def time_exits(runtime: str, batch: int, bench: Bench) -> ExitTimes:
    """Time a batch forced out at every exit, until it is clear or TRIES are used up."""
    model = bench.student_there
    engine = bench.engine(runtime, model)
    images = bench.images(batch * ROUNDS[batch], model, seed=batch)
    shard = timed_images(images, bench.device, batch)
    gates = len(model.config.exit_blocks)
    blocks = (*model.config.exit_blocks, model.config.last_block)
    import torch

    with torch.inference_mode():
        warm_up(engine, shard, gates=gates, images=batch * ROUNDS[batch])
        for _ in range(TRIES):
            measured = measure_exits(engine, shard, gates)
            times = ExitTimes(
                batch,
                blocks,
                tuple(
                    batch * statistics.median(_of_exit(measured.exits, measured.forward_ms, number))
                    for number in range(gates + 1)
                ),
            )
            if times.is_skipping:
                break
    return times


def judge_times(name: str, times: ExitTimes) -> CheckResult:
    """Judge whether exits save time."""
    shown = ", ".join(
        f"{ms:.3f} ms at block {block}"
        for block, ms in zip(times.blocks, times.forward_ms, strict=True)
    )
    figures: dict[str, float | None] = {
        f"block_{block}_ms": ms for block, ms in zip(times.blocks, times.forward_ms, strict=True)
    }
    return CheckResult.judged(
        name,
        f"less at each earlier exit, and at least {LEAST_SHARE[times.batch]:g} of the ideal saving",
        f"{shown}; {times.share:.2f} of the ideal saving",
        figures | {"share_of_ideal": times.share},
        is_ok=times.is_skipping,
    )


def judge_blocks(run: Sequence[int], expected: Sequence[int]) -> CheckResult:
    """Judge how many images each block was run on."""
    return CheckResult.judged(
        "torch: images that each block runs on",
        f"{list(expected)}: those that have not exited",
        f"{list(run)}",
        is_ok=list(run) == list(expected),
    )


def _count_blocks(bench: Bench) -> CheckResult:
    import torch

    model = bench.student_there
    config = model.config
    images = bench.images(64, model, seed=3).to(bench.device.name)
    run = [0] * config.depth

    def counted(number: int) -> Any:
        def count(_module: object, arguments: Any) -> None:
            run[number] += len(arguments[0])

        return count

    with torch.inference_mode():
        engine = bench.engine("torch", model)
        scores = engine.forward_exits(images).gate_scores
        thresholds = [float(each.median()) for each in scores]
        blocks = model.numbered_blocks()
        hooks = [
            block.register_forward_pre_hook(counted(number)) for number, block in enumerate(blocks)
        ]
        try:
            exits = engine.route(images, thresholds).exit_block.tolist()
        finally:
            for hook in hooks:
                hook.remove()
    leaving = [exits.count(block) for block in range(config.depth)]
    return judge_blocks(run, [len(exits) - sum(leaving[:block]) for block in range(config.depth)])


def _of_exit(exits: Sequence[int], forward_ms: Sequence[float], number: int) -> list[float]:
    return [ms for exit_, ms in zip(exits, forward_ms, strict=True) if exit_ == number]
