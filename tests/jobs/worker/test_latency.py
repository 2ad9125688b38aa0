"""Rows of images routed under the clock, against the model's own routes."""

from __future__ import annotations

import numpy as np
from support.worker import Bench

from jobs.plan.sources import shuffle_images


def test_routed_rows_are_what_the_router_did(bench: Bench) -> None:
    """One row an image, with exit, score and both clocks; NULL where there is no gate."""
    task = bench.task("latency", "dynn")
    assert task.thresholds == tuple(float(np.float32(t)) for t in (0.4, 0.6))
    rows = bench.rows(task, "records")
    batch, ids, labels = bench.images(task)
    assert (rows["image_id"], rows["label"]) == (ids, labels)
    assert ids == shuffle_images(450)[:20]
    for row, image in enumerate(batch.split(1)):
        routed = bench.model(task).route(image, task.thresholds)
        assert rows["exit_block"][row] == routed.exit_block.item()
        assert rows["prediction"][row] == int(routed.logits.argmax())
        is_last = routed.exit_block.item() == 4
        assert (rows["gate_score"][row] is None) == is_last
        assert 0 < rows["forward_ms"][row] <= rows["elapsed_ms"][row]
    assert set(rows["round"]) == {0}
    assert set(rows["threshold"]) == {None}, "the thresholds differ"
    assert set(rows["is_throttled"]) == {None}, "nobody looked"
    assert set(rows["device_ms"]) == {None}, "a processor has no clock but the host's"
    assert set(rows["device"]) == {"cpu"}


def test_a_static_model_leaves_at_its_last_block(bench: Bench) -> None:
    """One exit, no gate, no threshold."""
    rows = bench.rows(bench.task("latency", "flat"), "records")
    assert set(rows["exit_block"]) == {2}
    assert set(rows["gate_score"]) == set(rows["threshold"]) == {None}
    exits = bench.rows(bench.task("exits", "flat"), "exits")
    assert len(exits["image_id"]) == 20
