"""torch.compile: nothing is compiled or recorded while the clock runs, and answers stay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gfnet.bundle.exit_scores import clear_threshold
from gfnet.runtimes.availability import unavailable
from jobs.acceptance.bench import Bench, timed_images
from jobs.acceptance.check_result import CheckResult
from jobs.worker.timing import measure_routes, warm_up

SIZES = (1, 5, 37, 64)
"""Batch sizes; routed batches shrink to any size."""

FARTHEST = 1e-4
"""Distance of a logit from eager torch's, of logits up to some tens, in float32. An answer that the
next replay of a CUDA graph wrote over differs by all of a logit."""


@dataclass(frozen=True)
class Compilations:
    """What torch.compile has made so far in this process.

    Attributes:
        graphs: compiled by Dynamo and Inductor.
        recorded: CUDA graphs; None where there are none, or this torch does not show them.
        given_up: graphs that Inductor could not run as CUDA graphs.
    """

    graphs: int
    recorded: int | None
    given_up: int

    @classmethod
    def count(cls, *, is_gpu: bool) -> Compilations:
        """Count them now."""
        from torch._dynamo.utils import counters

        return cls(
            counters["frames"]["total"],
            _recorded() if is_gpu else None,
            counters["inductor"]["cudagraph_skips"],
        )


def check_compiled(bench: Bench) -> Iterator[CheckResult]:
    """Route batches of all sizes after the product's warm-up, and count what is compiled then."""
    name = "compile: while the clock runs"
    expected = "nothing is compiled, nothing is recorded"
    if "compile" not in bench.runtimes:
        return
    if reason := unavailable("compile", "float32", bench.device.name):
        yield CheckResult.skipped(name, expected, reason)
        return
    import torch

    model = bench.student_there
    engine = bench.engine("compile", model)
    gates, images = len(model.config.exit_blocks), bench.images(64, model, seed=5)
    with torch.inference_mode():
        scores = bench.engine("torch", model).forward_exits(images.to(bench.device.name))
        thresholds = [clear_threshold(each.cpu().numpy()) for each in scores.gate_scores]
        shards = [timed_images(images[:64], bench.device, size) for size in SIZES]
        for shard in shards:
            warm_up(engine, shard, gates=gates, images=1)
        before = Compilations.count(is_gpu=bench.is_gpu)
        measured = [measure_routes(engine, shard, thresholds) for shard in shards]
        after = Compilations.count(is_gpu=bench.is_gpu)
        eager = [measure_routes(model, shard, thresholds) for shard in shards]
    yield judge_compilations(before, after, is_gpu=bench.is_gpu)
    for size, one, other in zip(SIZES, measured, eager, strict=True):
        if size in (1, 64):
            yield judge_equal(size, _difference(one, other), _elsewhere(one, other))


def judge_compilations(before: Compilations, after: Compilations, *, is_gpu: bool) -> CheckResult:
    """Judge what was compiled between two counts."""
    name = "compile: while the clock runs"
    graphs = after.graphs - before.graphs
    recorded = None
    if before.recorded is not None and after.recorded is not None:
        recorded = after.recorded - before.recorded
    found = f"{graphs} graphs compiled"
    if is_gpu:
        shown = "an unknown number of" if recorded is None else recorded
        found += (
            f", {shown} CUDA graphs recorded of {after.recorded or 'some'}; {after.given_up} given"
            " up by Inductor"
        )
    is_replayed = not is_gpu or (after.recorded != 0 and after.given_up == 0)
    return CheckResult.judged(
        name,
        "nothing is compiled, at any size that a batch shrinks to"
        + (", or recorded; single images run as CUDA graphs" if is_gpu else ""),
        found,
        {"compiled_graphs": graphs, "recorded_graphs": recorded, "given_up": after.given_up},
        is_ok=graphs == 0 and not recorded and is_replayed,
    )


def judge_equal(size: int, difference: float, elsewhere: int) -> CheckResult:
    """Judge routed answers, which the next replay of a CUDA graph must not write over."""
    return CheckResult.judged(
        f"compile: routed answers, batch {size}",
        f"logits within {FARTHEST:.0e} of eager torch's, and the same exits",
        f"logits differ by {difference:.1e}; {elsewhere} images exit elsewhere",
        {"logits_difference": difference, "exit_flips": elsewhere},
        is_ok=difference <= FARTHEST and elsewhere == 0,
    )


def _difference(one: Any, other: Any) -> float:
    pairs = zip(one.logits, other.logits, one.exit_blocks, other.exit_blocks, strict=True)
    return max((float(abs(a - b).max()) for a, b, at, there in pairs if at == there), default=0.0)


def _elsewhere(one: Any, other: Any) -> int:
    return sum(a != b for a, b in zip(one.exit_blocks, other.exit_blocks, strict=True))


def _recorded() -> int | None:
    """Return the number of CUDA graphs that Inductor has recorded on this device."""
    import torch

    try:
        from torch._inductor.cudagraph_trees import get_manager

        device = torch.cuda.current_device()
        manager = get_manager(device, create_if_none_exists=False)
        roots = manager.roots if manager is not None else {}
    except (ImportError, AttributeError, TypeError):  # torch's own, and may move
        return None
    waiting, count = [node for nodes in roots.values() for node in nodes], 0
    while waiting:
        node = waiting.pop()
        count += 1
        waiting += [child for children in node.children.values() for child in children]
    return count
