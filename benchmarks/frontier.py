"""The exact frontier of a large all-exit pass, against answering thresholds one by one.

Makes a run of one cell with synthetic scores, nearly all distinct, and of forced exits, writes it
through storage, merges it, and asks. Each question has a process of its own, so that its peak
memory is its own, Python with DuckDB and pyarrow included. The rival is at_threshold(t) on one
connection; what each further threshold takes is counted 101 times. Both must agree where both
were asked. CPU seconds tell what other work on the machine adds to the time.

    python benchmarks/frontier.py [--images 1000000] [--exits 11] [--threads 2]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

import storage

SHARD_IMAGES = 50_000
COST_IMAGES = 1_000
THRESHOLDS = (0.3, 0.5, 0.7, 0.9)
RIVAL_THRESHOLDS = 101
LIMIT_S = 5.0
NOON = datetime(2026, 11, 24, 12)  # noqa: DTZ001 (naive UTC throughout)

Result = TypeVar("Result")

QUESTIONS = {
    "count(*), max(acc1), min(mean_blocks)": (
        "SELECT count(*), max(acc1), min(mean_blocks) FROM frontier('latest')"
    ),
    "points that are not dominated, 3 columns": (
        "SELECT threshold, acc1, forward_ms FROM frontier('latest') WHERE NOT is_dominated"
    ),
    "all points, all columns, as Arrow": "FROM frontier('latest')",
}


@dataclass(frozen=True)
class Cost:
    """What a question took, and the first rows of its answer."""

    elapsed_s: float
    cpu_s: float
    peak_gb: float
    rows: int
    first: list[dict[str, Any]]


def make_run(root: Path, images: int, exits: int) -> None:
    """One all-exit pass of a model whose scores rise and agree from exit to exit, merged."""
    blocks = np.arange(exits, dtype=np.int32)
    common: dict[str, Any] = {
        "model": "early",
        "depth": exits,
        "exit_blocks": tuple(range(exits - 1)),
        "status": "done",
    }
    passes = storage.CellRow("frontier", "exits", kind="exits", batch_size=256, **common)
    costs = storage.CellRow("frontier", "costs", kind="exit_costs", batch_size=1, **common)
    run = storage.RunRow("frontier", submitted_at=NOON)
    generator = np.random.default_rng(0)
    with storage.RunStore.create(root, run, [passes, costs], {}) as store:
        for shard, first in enumerate(range(0, images, SHARD_IMAGES)):
            rows = _pass_columns(generator, first, min(SHARD_IMAGES, images - first), blocks)
            entry = storage.CommitEntry("exits", 0, shard, committed_at=NOON)
            names = {"run_id": "frontier", "cell_id": "exits"}
            store.commit(entry, {"exits": storage.build_table("exits", rows | names)})
        rows = {
            "run_id": "frontier",
            "cell_id": "costs",
            "round": 0,
            "image_id": np.repeat(np.arange(COST_IMAGES), exits),
            "exit_block": np.tile(blocks, COST_IMAGES),
            "forward_ms": np.tile(1.0 + blocks, COST_IMAGES),
        }
        entry = storage.CommitEntry("costs", 0, 0, committed_at=NOON)
        store.commit(entry, {"exit_costs": storage.build_table("exit_costs", rows)})
        store.merge()


def _pass_columns(
    generator: np.random.Generator, first: int, images: int, blocks: np.ndarray
) -> dict[str, object]:
    exits = len(blocks)
    ease = generator.normal(size=(images, 1))
    noise = generator.normal(scale=0.7, size=(images, exits))
    scores = (1 / (1 + np.exp(-(ease + 0.25 * blocks + noise)))).astype(np.float32)
    is_correct = generator.random((images, exits)) < 0.3 + 0.6 * scores
    is_last = np.tile(blocks == blocks[-1], images)
    return {
        "image_id": np.repeat(np.arange(first, first + images), exits),
        "exit_block": np.tile(blocks, images),
        "gate_score": pa.array(scores.ravel(), mask=is_last),
        "is_correct": is_correct.ravel(),
        "is_top5": True,
        "loss": 1 - scores.ravel(),
    }


def ask(root: Path, sql: str, threads: int) -> Cost:
    """Time one question here, from opening the results to an Arrow table."""
    if hasattr(os, "sched_setaffinity"):  # connections take no settings, and as many threads
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    table = storage.query(root, sql)
    elapsed_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_gb = peak / (1e9 if sys.platform == "darwin" else 1e6)  # bytes there, KiB elsewhere
    return Cost(elapsed_s, cpu_s, peak_gb, table.num_rows, table.slice(0, 10).to_pylist())


def elsewhere(function: Callable[..., Result], *arguments: object) -> Result:
    """Call a function in a new process; this one stays small, for a child starts at its peak."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def rival_sql(thresholds: Sequence[float]) -> str:
    """Ask for one threshold after the other."""
    columns = "SELECT images, acc1, mean_blocks"
    answers = [f"{columns} FROM at_threshold({t})" for t in thresholds]
    inserts = [f"INSERT INTO answers {answer}" for answer in answers[1:]]
    return "; ".join([f"CREATE TEMP TABLE answers AS {answers[0]}", *inserts, "FROM answers"])


def frontier_sql(thresholds: Sequence[float]) -> str:
    """Look the same up among the points: at any t the one with the lowest threshold >= t holds."""
    asked = ", ".join(f"({t}::FLOAT)" for t in thresholds)
    return (
        f"SELECT images, acc1, mean_blocks FROM (VALUES {asked}) asked(t) "  # noqa: S608 (numbers)
        "ASOF JOIN frontier('latest') f ON asked.t <= f.threshold ORDER BY t"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--exits", type=int, default=11)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "results"
        elsewhere(make_run, root, options.images, options.exits)

        def took(sql: str) -> Cost:
            return elsewhere(ask, root, sql, options.threads)

        ours = {name: took(sql) for name, sql in QUESTIONS.items()}
        looked_up = took(frontier_sql(THRESHOLDS))
        one, all_of_them = took(rival_sql(THRESHOLDS[:1])), took(rival_sql(THRESHOLDS))
    if looked_up.first != all_of_them.first:
        raise RuntimeError(f"frontier says {looked_up.first}, at_threshold {all_of_them.first}")
    rival_s = _extrapolated(one.elapsed_s, all_of_them.elapsed_s)
    rival_cpu_s = _extrapolated(one.cpu_s, all_of_them.cpu_s)
    *_, whole = ours.values()
    print(f"{options.images:,} images, {options.exits} exits, {options.threads} threads in DuckDB;")
    print(f"{whole.rows:,} operating points")
    print(f"{'':42}{'s':>8}{'CPU s':>8}{'GB':>7}{f's / {LIMIT_S:.0f} s':>10}{'rival s / s':>13}")
    for name, cost in ours.items():
        line = f"{name:42}{cost.elapsed_s:8.2f}{cost.cpu_s:8.2f}{cost.peak_gb:7.2f}"
        print(f"{line}{cost.elapsed_s / LIMIT_S:10.2f}{rival_s / cost.elapsed_s:13.1f}")
    name = f"rival: {RIVAL_THRESHOLDS} times at_threshold(t)"
    print(f"{name:42}{rival_s:8.2f}{rival_cpu_s:8.2f}{all_of_them.peak_gb:7.2f}")
    print(f"(from {len(THRESHOLDS)} thresholds; both agree there)")


def _extrapolated(one_s: float, all_s: float) -> float:
    return one_s + (RIVAL_THRESHOLDS - 1) * (all_s - one_s) / (len(THRESHOLDS) - 1)


if __name__ == "__main__":
    main()
