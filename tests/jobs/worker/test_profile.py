"""Rows of a model's parts, each with a clock around it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.worker import Bench

from jobs.worker import run_task as worker
from jobs.worker.run_task import run_task


def test_a_profile_has_a_row_a_part(bench: Bench) -> None:
    """Every part of every block and exit once, in milliseconds and as a share of the whole."""
    in_block = ["norm1", "filter_forward", "filter_product", "filter_inverse", "norm2", "mlp"]
    in_block.append("residual")
    at_exit = ["exit_norm", "exit_heads", "exit_gate", "exit_decision"]
    ends = {(name, None) for name in ("patch_embed", "norm", "head", "other", "profiling")}
    for model, depth, exits in (("flat", 3, ()), ("dynn", 5, (1, 3))):
        rows = bench.rows(bench.task("profile", model), "profile")
        keys = list(zip(rows["component"], rows["block"], strict=True))
        expected = ends | {(name, block) for name in in_block for block in range(depth)}
        assert set(keys) == expected | {(name, block) for name in at_exit for block in exits}
        assert len(keys) == len(set(keys))
        assert set(rows["calls"]) == {20}
        parts = [row for row, key in enumerate(keys) if key[0] != "profiling"]
        assert sum(rows["share"][row] for row in parts) == pytest.approx(1)
        assert min(rows["total_ms"][row] for row in parts) > 0
        total_ms = sum(rows["total_ms"][row] for row in parts)
        for row in range(len(keys)):
            assert rows["share"][row] == pytest.approx(rows["total_ms"][row] / total_ms)


def test_profiling_leaves_the_loaded_model_alone(bench: Bench) -> None:
    """The worker keeps it, and the next cell is timed without clocks inside."""
    task = bench.task("profile", "dynn")
    bench.rows(task, "profile")
    (model,) = worker._models.values()
    assert not [module for module in model.modules() if "forward" in vars(module)]
    assert not {"embed", "early_readout", "readout"} & set(vars(model))


def test_another_engine_is_not_profiled_as_torch(bench: Bench) -> None:
    """Its parts are not the modules that have clocks: that is skipped, and says what has some."""
    task = replace(bench.task("profile", "flat"), precision="bfloat16")
    outcome = run_task(task, lambda: bench.sources.weights(task), bench.sources.shard(task))
    reason = "a profile can time the parts of runtime torch in float32 only"
    assert outcome.skipped.startswith(reason)
    assert not outcome.error
