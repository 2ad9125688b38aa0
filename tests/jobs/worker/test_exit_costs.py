"""Rows of exits that were forced under the clock."""

from __future__ import annotations

from support.worker import Bench

from jobs.plan.sources import shuffle_images


def test_exit_costs_have_a_row_an_image_and_exit(bench: Bench) -> None:
    """All exits of all images, each with a time."""
    task = bench.task("exit_costs", "dynn")
    rows = bench.rows(task, "exit_costs")
    keys = set(zip(rows["image_id"], rows["exit_block"], strict=True))
    assert keys == {(i, block) for i in shuffle_images(450)[:20] for block in (1, 3, 4)}
    assert len(rows["image_id"]) == 60
    assert min(rows["forward_ms"]) > 0
    assert set(rows["round"]) == {0}
