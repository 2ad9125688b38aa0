"""Every threshold from one pass, against a loop that routes each: same images, same machine.

Ours is a whole run in this process: grid, plan, one all-exit pass, commit and merge, then one SQL
question for all thresholds. The rival decodes and routes all images once a threshold, with the same
model, the same batches and the same number of threads, and keeps nothing. Both take turns; the
answers are compared threshold by threshold.

    python benchmarks/thresholds.py [--model digits-dynn] [--dataset "{name: digits, split: train}"]
        [--thresholds 101] [--repeats 3]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import gfnet
import storage
from jobs.common.yaml_document import Document
from jobs.grid.reader import read_grid
from jobs.machine.devices import local_devices, use_device
from jobs.plan.order import make_blocks
from jobs.plan.plan import Plan, make_plan
from jobs.plan.sources import Sources
from jobs.plan.task import Task
from jobs.runs.submit import submit
from jobs.runs.target import Target
from jobs.worker.input_pipeline import Pipeline

Answer = tuple[int, tuple[int, ...]]
"""Images answered correctly, and images that left after each block."""

# The point of the frontier that a threshold has: the lowest one that is at least as high.
SQL = """
SELECT t.threshold, round(f.acc1 * f.images / 100)::BIGINT AS correct,
    list_transform(f.exit_shares, lambda share: round(share * f.images)::BIGINT) AS counts
FROM (SELECT unnest({thresholds})::FLOAT AS threshold) t
ASOF JOIN (FROM frontier('latest') WHERE threshold IS NOT NULL) f ON t.threshold <= f.threshold
ORDER BY t.threshold
"""


def fold(grid: Path, root: Path, thresholds: list[float]) -> tuple[float, list[Answer]]:
    """Seconds of the run and its question, and the answers."""
    began_s = time.perf_counter()
    if not submit(grid, root, Target(is_inline=True), lambda _: None).is_done:
        raise RuntimeError("the run failed")
    rows = storage.query(root, SQL.format(thresholds=thresholds)).to_pylist()
    return time.perf_counter() - began_s, [(r["correct"], tuple(r["counts"])) for r in rows]


def loop(plan: Plan, thresholds: list[float]) -> tuple[float, list[Answer]]:
    """Seconds of routing all images once a threshold, and the answers."""
    queue = make_blocks(plan, by_device=False)[0].tasks("r", frozenset())
    tasks = list(queue)
    sources = Sources.of(plan)
    began_s = time.perf_counter()
    device = use_device(tasks[0].device)
    model = gfnet.load_checkpoint(sources.weights(tasks[0]))
    runtime = gfnet.runtime("torch", model, threads=tasks[0].threads, precision="float32")
    shards = [sources.shard(task) for task in tasks]
    answers = []
    with torch.inference_mode():
        for threshold in thresholds:
            correct, counts = 0, np.zeros(model.config.depth, np.int64)
            for task, shard in zip(tasks, shards, strict=True):
                right, exit_blocks = route_shard(
                    runtime, Pipeline(model.metadata.preprocessing, device), task, shard, threshold
                )
                correct += right
                counts += np.bincount(exit_blocks, minlength=len(counts))
            exits = (*model.config.exit_blocks, model.config.last_block)
            answers.append((correct, tuple(counts[list(exits)].tolist())))
    return time.perf_counter() - began_s, answers


def route_shard(
    runtime: gfnet.Runtime, pipeline: Pipeline, task: Task, shard: object, threshold: float
) -> tuple[int, np.ndarray]:
    """Right answers of a shard, and the block that each image left after."""
    encoded = shard.column("image").to_pylist()
    labels = torch.from_numpy(np.array(shard.column("label"), np.int64))
    correct, blocks = 0, []
    for start in range(0, len(encoded), task.batch_size):
        tensor, kept = pipeline.bulk(
            encoded, range(start, min(start + task.batch_size, len(encoded)))
        )
        routed = runtime.route(tensor, threshold)
        correct += int((routed.logits.argmax(dim=1) == labels[kept]).sum())
        blocks.append(routed.exit_block.numpy())
    return correct, np.concatenate(blocks)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="digits-dynn")
    parser.add_argument("--dataset", default="{name: digits, split: train}")
    parser.add_argument("--thresholds", type=int, default=101)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    thresholds = [float(np.float32(t)) for t in np.linspace(0, 1, options.thresholds)]
    with tempfile.TemporaryDirectory() as folder:
        grid = Path(folder) / "thresholds.yaml"
        grid.write_text(
            f"models: [{options.model}]\ndatasets: [{options.dataset}]\nthreads: [1]\n"
            f"thresholds: [{{start: 0, stop: 1, num: {options.thresholds}}}]\nmeasure: [accuracy]\n"
        )
        plan = make_plan(read_grid(Document.read(grid), local_devices(), Path.cwd()))
        ours, theirs, equal = [], [], 0
        for _ in range(options.repeats):
            ours_s, folded = fold(grid, Path(folder) / "results", thresholds)
            loop_s, routed = loop(plan, thresholds)
            ours.append(ours_s)
            theirs.append(loop_s)
            equal = sum(a == b for a, b in zip(folded, routed, strict=True))
    images = plan.cells[0].images
    print(
        f"{options.thresholds} thresholds of {options.model} on {images} images, 1 of"
        f" {os.cpu_count()} processors"
    )
    print(f"equal in answers and exits: {equal} of {options.thresholds}")
    print(f"{'':28}{'median s':>10}{'min':>9}{'max':>9}")
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    for name, values in (
        ("one pass and SQL", ours),
        ("a loop that routes each", theirs),
        ("loop / ours", ratios),
    ):
        low, high = min(values), max(values)
        print(f"{name:28}{statistics.median(values):10.2f}{low:9.2f}{high:9.2f}")


if __name__ == "__main__":
    main()
