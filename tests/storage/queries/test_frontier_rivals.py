"""Which points of the frontier are rivals: those of one setting, over the same images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import storage

if TYPE_CHECKING:
    from tests.storage.conftest import Builder

Row = dict[str, Any]


def _static(build: Builder, model: str, ms: float, *, is_correct: list[bool], **cell: Any) -> None:
    """A static model's pass over two images, and how long it takes."""
    passes = build.cell("exits", model=model, **cell)
    rows: Row = {"image_id": [0, 1], "exit_block": 3, "is_correct": is_correct}
    build.commit(passes, exits=rows)
    build.records(build.cell(model=model, **cell), 2, forward_ms=ms)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"dataset": "other"},
        {"dataset_sha256": "d9"},
        {"device": "gpu"},
        {"node": "node-b"},
        {"runtime": "onnx"},
        {"precision": "int8"},
        {"threads": 2},
    ],
)
def test_a_better_model_beats_in_its_own_setting(build: Builder, change: Row) -> None:
    """It is as fast and more accurate; beside another setting or other images both stay."""
    _static(build, "good", 2.0, is_correct=[True, True])
    _static(build, "poor", 2.0, is_correct=[True, False], **change)
    build.store()
    rows = storage.query(build.root, "FROM frontier('run-1')").to_pylist()
    found = {row["model"]: (row["acc1"], row["forward_ms"], row["is_dominated"]) for row in rows}
    assert found == {"good": (100.0, 2.0, False), "poor": (50.0, 2.0, not change)}
