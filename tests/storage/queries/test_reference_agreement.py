"""Agreement with eager float32: shards added up, cell by cell."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import storage

if TYPE_CHECKING:
    from tests.storage.conftest import Builder


def test_shards_of_a_cell_are_one_line(build: Builder) -> None:
    """Counts are sums, differences the largest; NULL only where no shard has any."""
    routed = build.cell(runtime="onnx", threshold=0.5)
    passes = build.cell("exits", precision="bfloat16")
    build.cell()  # eager float32 itself
    shards: list[dict[str, object]] = [
        {"images": 1000, "max_logit_difference": 0.25, "answer_flips": 2, "exit_flips": 3},
        {"images": 500, "max_logit_difference": None, "answer_flips": 1, "exit_flips": 0},
        {"images": 7, "max_logit_difference": 0.5, "max_gate_difference": 0.125, "answer_flips": 0},
    ]
    for number, shard in enumerate(shards):
        build.commit(routed, shard=number, reference_agreement={"shard": number, **shard})
    failed = {"images": 9, "max_logit_difference": math.inf, "answer_flips": 4}
    build.commit(passes, reference_agreement={"shard": 0, **failed})
    build.store(merge=True)
    found = storage.named_query(build.root, "engines_beside_reference", run_id="run-1").to_pylist()
    columns = ("images", "max_logit_difference", "answer_flips", "exit_flips")
    assert [[row["cell_id"], *(row[name] for name in columns)] for row in found] == [
        [routed.cell_id, 1507, 0.5, 3, 3],
        [passes.cell_id, 9, math.inf, 4, None],
    ]
    assert [row["max_gate_difference"] for row in found] == [0.125, None]
    order = "SELECT cell_id, round, shard FROM reference_agreement"
    keys = [tuple(row.values()) for row in storage.query(build.root, order).to_pylist()]
    assert keys == [(passes.cell_id, 0, 0), *((routed.cell_id, 0, shard) for shard in range(3))]
