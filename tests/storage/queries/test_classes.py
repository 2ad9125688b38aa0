"""Classes: how each is answered in the cells of the ladder, and what it is taken for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import storage

if TYPE_CHECKING:
    from tests.storage.in_memory import InMemory

# cat, cat, cat, cat, dog, dog, owl; two exits, after blocks 1 and 3.
LABELS = [0, 0, 0, 0, 1, 1, 2]
EARLY = [0, 1, 1, 2, 1, 0, 1]
LATE = [0, 0, 2, 2, 1, 1, 2]
SCORES = [0.9, 0.1, 0.9, 0.9, 0.9, 0.9, 0.1]
"""At 0.5 images 1 and 6 go on: the answers are 0, 0, 1, 2, 1, 0, 2."""


def build_cells(build: InMemory, **changes: Any) -> None:
    """An all-exit pass, and a cell routed at 0.5 that takes its answers."""
    common = {"model": "early", "exit_blocks": (1,)}
    passes = build.cell("exits", **common)
    build.cell("latency", threshold=0.5, thresholds=(0.5,), **common)
    answers = EARLY + LATE
    columns = {
        "image_id": [*range(7)] * 2,
        "label": LABELS * 2,
        "exit_block": [1] * 7 + [3] * 7,
        "gate_score": [*SCORES, *[None] * 7],
        "prediction": answers,
        "is_correct": [a == b for a, b in zip(answers, LABELS * 2, strict=True)],
        "is_top5": True,
        "loss": 0.5,
    }
    build.commit(passes, exits=columns | changes)
    build.store()


def add_images(build: InMemory) -> None:
    """Names of the classes; one more data set has others under the same labels."""
    names = ["cat", "dog", "owl"]
    for digest, prefix in (("d0", ""), ("d1", "other ")):
        rows = {
            "dataset_sha256": digest,
            "image_id": list(range(7)),
            "path": [f"{row}.png" for row in range(7)],
            "label": LABELS,
            "class_name": [prefix + names[label] for label in LABELS],
        }
        build.add_rows("images", storage.build_table("images", rows))


def test_each_class_by_hand(in_memory: InMemory) -> None:
    """Accuracy, blocks, how often it was answered and rightly so, and what it is mistaken for."""
    build_cells(in_memory)
    add_images(in_memory)
    rows = in_memory.query("FROM class_accuracy('run-1')")
    assert [(row["run_id"], row["cell_id"], row["dataset_sha256"]) for row in rows] == [
        ("run-1", "latency-1", "d0")
    ] * 3
    cat, dog, owl = rows
    assert (cat["class_name"], cat["images"], cat["acc1"]) == ("cat", 4, 50.0)
    assert cat["mean_blocks"] == pytest.approx((2 + 4 + 2 + 2) / 4)
    assert (cat["predicted_images"], cat["predicted_right_pct"]) == (3, pytest.approx(200 / 3))
    # One image each is taken for a dog and for an owl: the lower label is named.
    assert (cat["mistaken_for"], cat["mistaken_for_name"], cat["mistaken_images"]) == (1, "dog", 1)
    assert (dog["acc1"], dog["mistaken_for"], dog["predicted_right_pct"]) == (50.0, 0, 50.0)
    assert (owl["acc1"], owl["mistaken_for"], owl["mistaken_images"]) == (100.0, None, None)
    assert (owl["predicted_images"], owl["mean_blocks"]) == (2, 4.0)


def test_the_confusions_are_all_images(in_memory: InMemory) -> None:
    """One row per class and answer that occur; accuracies by class make up the ladder's."""
    build_cells(in_memory)
    add_images(in_memory)
    rows = in_memory.query("FROM confusion('run-1')")
    found = {(row["class_name"], row["predicted_name"]): row["images"] for row in rows}
    assert found == {
        ("cat", "cat"): 2,
        ("cat", "dog"): 1,
        ("cat", "owl"): 1,
        ("dog", "dog"): 1,
        ("dog", "cat"): 1,
        ("owl", "owl"): 1,
    }
    (row,) = in_memory.query(
        "WITH mean AS (SELECT sum(acc1 * images) / sum(images) AS mean"
        " FROM class_accuracy('run-1')) SELECT acc1, mean FROM ladder, mean"
    )
    assert row["acc1"] == pytest.approx(row["mean"])


def test_an_answer_that_no_image_has_has_no_name(in_memory: InMemory) -> None:
    """A model may know classes that the data set does not."""
    build_cells(in_memory, prediction=[7] * 14, is_correct=False)
    add_images(in_memory)
    rows = in_memory.query("FROM class_accuracy('run-1')")
    assert [(row["mistaken_for"], row["mistaken_for_name"]) for row in rows] == [(7, None)] * 3
    assert [row["predicted_right_pct"] for row in rows] == [None] * 3
    assert [row["acc1"] for row in rows] == [0.0] * 3


def test_a_cell_with_logits_that_are_not_finite_has_no_accuracy(in_memory: InMemory) -> None:
    """As in the ladder: of any of its classes."""
    nothing = [None, *EARLY[1:], *LATE]
    build_cells(in_memory, prediction=nothing, is_correct=[None, *[True] * 13])
    add_images(in_memory)
    rows = in_memory.query("FROM class_accuracy('run-1')")
    assert [row["acc1"] for row in rows] == [None] * 3
    assert [row["predicted_right_pct"] for row in rows] == [None] * 3
    assert [row["images"] for row in rows] == [4, 2, 1]
