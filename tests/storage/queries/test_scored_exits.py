"""Exit rules in SQL: the score of each, against loops, and thresholds on them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pytest

if TYPE_CHECKING:
    from tests.storage.in_memory import InMemory

BLOCKS = (0, 2, 3, 5)  # the last block is 5
CLASSES = 7
RULES = ("gate", "max_prob", "margin", "entropy", "patience")
IMAGES = 40
# Columns of one image by exit: three predictions in a row agree, then none; one is unknown.
AGREEING = {(4, 4, 4, 4): (1, 2, 3), (1, 1, 2, 2): (1, 2, 1), (1, 2, 1, 1): (1, 1, 1)}


@pytest.fixture
def build(in_memory: InMemory) -> InMemory:
    """Give a builder of one run, to be asked."""
    return in_memory


def store(
    build: InMemory,
    num_classes: int | None = CLASSES,
    exit_rule: str | None = None,
    **columns: Any,
) -> dict[str, np.ndarray]:
    """Store one pass with random scores, by image and exit."""
    generator = np.random.default_rng(5)
    shape = (IMAGES, len(BLOCKS))
    rows: dict[str, np.ndarray] = {
        "gate_score": generator.random(shape, np.float32),
        "max_prob": generator.random(shape, np.float32),
        "margin": generator.random(shape, np.float32),
        "entropy": (generator.random(shape) * math.log(CLASSES)).astype(np.float32),
        "prediction": generator.integers(3, size=shape).astype(np.int32),
        "is_correct": generator.random(shape) < 0.5,
    } | columns
    cell = build.cell(
        "exits", depth=6, exit_blocks=BLOCKS[:-1], num_classes=num_classes, exit_rule=exit_rule
    )
    gates = [
        None if exit_ == len(BLOCKS) - 1 else score
        for image in rows["gate_score"].tolist()
        for exit_, score in enumerate(image)
    ]
    known = [None if value < 0 else value for value in rows["prediction"].flatten().tolist()]
    flat: dict[str, Any] = {name: values.flatten() for name, values in rows.items()}
    flat |= {"gate_score": gates, "prediction": known}
    build.commit(
        cell,
        exits={
            "image_id": np.repeat(np.arange(IMAGES), len(BLOCKS)),
            "exit_block": np.tile(np.array(BLOCKS, np.int32), IMAGES),
            **flat,
        },
    )
    build.store()
    return rows


def scores(build: InMemory, rule: str) -> np.ndarray:
    """Read the scores by image and exit; NaN at the last block, where they are NULL."""
    found = build.query(f"FROM scored_exits(rule := '{rule}') ORDER BY image_id, exit_block")
    values = [row["gate_score"] for row in found]
    assert [value is None for value in values] == [False, False, False, True] * IMAGES
    assert {*found[0], "dataset_sha256"} == {*build.query("FROM exits")[0]}
    return np.array(values, np.float32).reshape(IMAGES, -1)[:, :-1]


def test_scores_are_those_of_the_columns(build: InMemory) -> None:
    """To the bit, in float32; the gate's are the table's own."""
    rows = store(build)
    share = np.float32(1 / math.log(CLASSES))
    expected = {
        "gate": rows["gate_score"],
        "max_prob": rows["max_prob"],
        "margin": rows["margin"],
        "entropy": np.float32(1) - rows["entropy"] * share,
    }
    for rule, values in expected.items():
        np.testing.assert_array_equal(scores(build, rule), values[:, :-1])
    own = build.query("SELECT * EXCLUDE (dataset_sha256) FROM exits")
    assert build.query("FROM scored_exits()") == own


def test_patience_counts_exits_that_agree(build: InMemory) -> None:
    """In a row, this one included; a change of mind begins anew, also back to an earlier answer."""
    by_hand = list(AGREEING)
    predictions = np.array([by_hand[image % len(by_hand)] for image in range(IMAGES)], np.int32)
    store(build, prediction=predictions)
    expected = [AGREEING[by_hand[image % len(by_hand)]] for image in range(IMAGES)]
    np.testing.assert_array_equal(scores(build, "patience"), np.array(expected, np.float32))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("threshold", [0.25, 0.5, 1, 2])
def test_thresholds_on_every_rule(build: InMemory, rule: str, threshold: float) -> None:
    """An image exits at the first exit whose score reaches the threshold; a frontier agrees."""
    rows = store(build)
    found = scores(build, rule)
    exits = [
        next((exit_ for exit_, score in enumerate(image) if score >= threshold), len(BLOCKS) - 1)
        for image in found
    ]
    (row,) = build.query(f"FROM at_threshold({threshold}, rule := '{rule}')")
    right = rows["is_correct"][np.arange(IMAGES), exits]
    assert row["acc1"] == pytest.approx(100 * right.mean())
    assert row["mean_blocks"] == pytest.approx(np.mean([BLOCKS[exit_] + 1 for exit_ in exits]))
    assert row["exit_rule"] == rule
    frontier = f"FROM frontier('latest', rule := '{rule}')"
    points = build.query(f"{frontier} WHERE threshold >= {threshold}")
    assert points[-1]["acc1"] == pytest.approx(row["acc1"])
    assert points[-1]["mean_blocks"] == pytest.approx(row["mean_blocks"])
    assert {point["exit_rule"] for point in points} == {rule}


def test_a_pass_that_does_not_say_its_classes(build: InMemory) -> None:
    """An earlier version's: everything but the entropy is answered."""
    store(build, num_classes=None)
    assert build.query("FROM at_threshold(0.5, rule := 'entropy')") == []
    assert len(build.query("FROM at_threshold(0.5, rule := 'margin')")) == 1


def test_an_unknown_rule_is_refused(build: InMemory) -> None:
    """With the known ones."""
    store(build)
    with pytest.raises(duckdb.Error, match="no exit rule 'max_conf': give gate, max_prob, margin"):
        build.query("FROM at_threshold(0.5, rule := 'max_conf')")


def test_a_pass_under_another_rule(build: InMemory) -> None:
    """Its own score is that of its rule, and it has none of a gate."""
    store(build, exit_rule="margin")
    (own,) = build.query("FROM at_threshold(0.5)")
    assert own["exit_rule"] == "margin"
    assert build.query("FROM at_threshold(0.5, rule := 'gate')") == []
    (other,) = build.query("FROM at_threshold(0.5, rule := 'max_prob')")
    assert other["exit_rule"] == "max_prob"


def test_no_prediction_has_no_score(build: InMemory) -> None:
    """Two exits without one do not agree; what follows begins anew."""
    predictions = np.array([[1, -1, -1, 1]] * IMAGES, np.int32)
    store(build, prediction=predictions)
    found = scores(build, "patience")
    assert found[0, 0] == 1
    assert np.isnan(found[:, 1:]).all()


def test_the_same_cells_in_another_run_are_another_model(build: InMemory) -> None:
    """Each row is scored by the cell of its own run: there the model may have more classes."""
    store(build)
    first = build.query("FROM scored_exits(rule := 'entropy')")
    store(build.beside("run-2"), num_classes=2 * CLASSES)
    both = build.query("FROM scored_exits(rule := 'entropy')")
    assert [row for row in both if row["run_id"] == "run-1"] == first
    assert len(both) == 2 * len(first)
