"""certificate and flips: routed rows against the replay of the all-exit pass, by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import storage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.storage.conftest import Builder
    from tests.storage.in_memory import InMemory

    Row = dict[str, Any]

NAN = float("nan")
EARLY: Row = {"model": "early", "exit_blocks": (1, 2)}
BLOCKS = (1, 2, 3)
# Of five images: the scores of both gates, and the answers at all exits. At 0.5 they leave at
# blocks 1, 2, 3, 1 and 3.
SCORES = [(0.75, 0.25), (0.25, 0.5), (0.375, 0.25), (0.5, NAN), (NAN, 0.25)]
ANSWERS = [(1, 2, 3), (4, 5, 6), (7, 8, 9), (1, 1, 2), (3, 3, 3)]
# What a router does that agrees: block, answer, score; the last block has no score.
ROUTES = [(1, 1, 0.75), (2, 5, 0.5), (3, 9, None), (1, 1, 0.5), (3, 3, None)]


@pytest.fixture
def build(in_memory: InMemory) -> InMemory:
    """Give a builder of one run, to be asked."""
    return in_memory


def store_pass(build: Builder, **cell: Any) -> storage.CellRow:
    """Plan the all-exit pass of the five images."""
    row = build.cell("exits", **{**EARLY, "batch_size": 256, **cell})
    build.commit(
        row,
        exits={
            "image_id": np.repeat(np.arange(len(SCORES)), len(BLOCKS)),
            "exit_block": np.tile(BLOCKS, len(SCORES)),
            "gate_score": [score for pair in SCORES for score in (*pair, None)],
            "prediction": [answer for answers in ANSWERS for answer in answers],
        },
    )
    return row


def store_routes(
    build: Builder,
    routes: Sequence[tuple[int, int, float | None]] = ROUTES,
    *,
    rounds: int = 1,
    **cell: Any,
) -> storage.CellRow:
    """Plan a routed cell: what became of images 0, 1, ... in each round."""
    row = build.cell("latency", **{**EARLY, "threshold": 0.5, "rounds": rounds, **cell})
    blocks, answers, scores = (list(column) for column in zip(*routes, strict=True))
    for round_ in range(rounds):
        columns = {"exit_block": blocks, "prediction": answers, "gate_score": scores}
        build.records(row, len(routes), round_, **columns)
    return row


def certificate(build: Builder) -> list[Row]:
    """Read the certificate."""
    return build.query("FROM certificate('latest')")


def flips(build: Builder) -> list[Row]:
    """Read the flips."""
    return build.query("FROM flips('latest')")


def test_routes_as_replayed_are_no_flips(build: Builder) -> None:
    """Ties leave, NaN gates stay shut, on both sides: every round of every image agrees."""
    passes = store_pass(build)
    routed = store_routes(build, rounds=3)
    build.store(merge=True)
    (row,) = certificate(build)
    assert row == {
        "run_id": "run-1",
        "cell_id": routed.cell_id,
        "exits_cell_id": passes.cell_id,
        "model": "early",
        "dataset": "digits",
        "device": "cpu",
        "node": "node-a",
        "runtime": "torch",
        "precision": "float32",
        "threads": 1,
        "threshold": 0.5,
        "thresholds": None,
        "batch_size": 1,
        "exits_batch_size": 256,
        "images": 5,
        "routes": 15,
        "flips": 0,
        "exit_flips": 0,
        "answer_flips": 0,
        "max_gate_distance": None,
        "max_score_difference": 0.0,
        "unmatched": 0,
    }
    assert flips(build) == []


def test_flips_by_hand(build: Builder) -> None:
    """Later and earlier than replayed, another answer at the same exit, and both at once."""
    store_pass(build)
    store_routes(
        build,
        [
            (2, 1, 0.625),  # later, though as certain of the same: the gate of block 1 decided
            (2, 6, 0.5625),  # the same exit, another answer
            (1, 7, 0.5),  # earlier, and other answer: 0.375 in the pass
            (1, 1, 0.53125),  # as replayed, with another score
            (3, 3, None),
        ],
    )
    build.store()
    (row,) = certificate(build)
    assert (row["images"], row["routes"], row["flips"]) == (5, 5, 3)
    assert (row["exit_flips"], row["answer_flips"]) == (2, 2)
    assert row["max_gate_distance"] == 0.25
    assert row["max_score_difference"] == 0.0625
    common = {
        "run_id": "run-1",
        "cell_id": "latency-1",
        "exits_cell_id": "exits-0",
        "model": "early",
        "dataset": "digits",
        "dataset_sha256": "d0",
        "round": 0,
        "threshold": 0.5,
    }
    names = ("image_id", "routed_exit_block", "replayed_exit_block", "routed_prediction")
    names += ("replayed_prediction", "deciding_block", "gate_score", "gate_distance")
    assert flips(build) == [
        common | dict(zip(names, values, strict=True))
        for values in (
            (0, 2, 1, 1, 1, 1, 0.75, 0.25),
            (1, 2, 2, 6, 5, 2, 0.5, 0.0),
            (2, 1, 3, 7, 9, 1, 0.375, 0.125),
        )
    ]


def test_each_gate_has_its_own_threshold(build: Builder) -> None:
    """Replay and distances take the threshold of the gate in question."""
    store_pass(build)
    thresholds = (0.75, 0.25)
    routes = [(1, 1, 0.75), (2, 5, 0.5), (2, 8, 0.25), (3, 2, None), (2, 3, 0.25)]
    store_routes(build, routes, threshold=None, thresholds=thresholds)
    routes[1] = (1, 4, 0.75)  # 0.25 in the pass
    routes[2] = (3, 9, None)  # 0.25 in the pass, where 0.25 is enough
    store_routes(build, routes, threshold=None, thresholds=thresholds)
    build.store()
    agreeing, row = certificate(build)
    assert agreeing["flips"] == 0
    assert (row["threshold"], row["thresholds"]) == (None, [0.75, 0.25])
    assert (row["flips"], row["max_gate_distance"]) == (2, 0.5)
    found = [
        (flip["deciding_block"], flip["threshold"], flip["gate_score"]) for flip in flips(build)
    ]
    assert found == [(1, 0.75, 0.25), (2, 0.25, 0.25)]


def test_nan_has_no_distance(build: Builder) -> None:
    """A gate that gave NaN in one pass and let the image out in the other is a flip, unmeasured."""
    store_pass(build)
    routes = list(ROUTES)
    routes[4] = (1, 3, 0.5)
    store_routes(build, routes)
    # At the same exit, NaN on one side or on both, the difference is unknown.
    store_routes(build, [(1, 1, NAN), *ROUTES[1:]])
    build.store()
    row, same_exit = certificate(build)
    assert (row["exit_flips"], row["max_gate_distance"]) == (1, None)
    assert (same_exit["flips"], same_exit["max_score_difference"]) == (0, 0.0)
    (flip,) = flips(build)
    assert (flip["image_id"], flip["gate_distance"]) == (4, None)
    assert np.isnan(flip["gate_score"])


def test_nan_on_both_sides_of_one_exit_is_no_flip(build: Builder) -> None:
    """Scores that no router leaves by still compare without a number."""
    passes = build.cell("exits", **EARLY)
    routed = build.cell("latency", **EARLY, threshold=0.5)
    scores = {"image_id": [0], "exit_block": [3], "gate_score": [None], "prediction": [1]}
    build.commit(passes, exits=scores)
    build.records(routed, 1, gate_score=[NAN])
    build.store()
    (row,) = certificate(build)
    assert (row["flips"], row["max_score_difference"]) == (0, None)


def test_flips_are_counted_by_round(build: Builder) -> None:
    """The same image flips in both rounds: one image, two routes, two flips."""
    store_pass(build)
    store_routes(build, [(2, 2, 0.5)], rounds=2)
    build.store()
    (row,) = certificate(build)
    assert (row["images"], row["routes"], row["flips"]) == (1, 2, 2)
    assert [flip["round"] for flip in flips(build)] == [0, 1]


def test_routes_without_a_replay_are_unmatched(build: Builder) -> None:
    """Images that the pass lacks are counted apart, and are no flips."""
    store_pass(build)
    store_routes(build, [*ROUTES, (1, 1, 0.5), (3, 1, None)], rounds=2)
    build.store()
    (row,) = certificate(build)
    assert (row["images"], row["routes"], row["unmatched"]) == (5, 10, 4)
    assert row["flips"] == 0


OTHERS: list[Row] = [
    {"model": "other"},
    {"checkpoint_sha256": "c1"},
    {"exit_blocks": (2,)},
    {"dataset_sha256": "d1"},
    {"device": "gpu"},
    {"node": "node-b"},
    {"runtime": "onnx"},
    {"precision": "bfloat16"},
    {"threads": 2},
]


def test_pass_of_something_else_proves_nothing(build: Builder) -> None:
    """A routed cell without a pass of its own is a row of unmatched routes."""
    for difference in OTHERS:
        store_pass(build, **difference)
    store_routes(build)
    build.store()
    (row,) = certificate(build)
    assert (row["exits_cell_id"], row["exits_batch_size"]) == (None, None)
    assert (row["images"], row["routes"], row["flips"], row["unmatched"]) == (0, 0, 0, 5)
    assert flips(build) == []


def test_each_pass_is_held_against(build: Builder) -> None:
    """Two batch sizes of the pass are two rows; routed cells follow the grid's order."""
    for batch_size in (256, 1):
        store_pass(build, batch_size=batch_size)
    for threshold in (0.5, 0.25):
        store_routes(build, threshold=threshold)
    build.store()
    rows = certificate(build)
    assert [(row["threshold"], row["exits_batch_size"]) for row in rows] == [
        (0.5, 256),
        (0.5, 1),
        (0.25, 256),
        (0.25, 1),
    ]
    assert [row["flips"] > 0 for row in rows] == [False, False, True, True]


def test_static_model_can_only_answer_otherwise(build: Builder) -> None:
    """It has one exit and no gate: nothing has a threshold or a distance."""
    static: Row = {"model": "static", "exit_blocks": (3,)}
    passes = build.cell("exits", **static)
    answers = {"image_id": [0, 1], "exit_block": 3, "prediction": [1, 2]}
    build.commit(passes, exits=answers)
    build.records(build.cell("latency", **static), 2)  # prediction 1
    build.store()
    (row,) = certificate(build)
    assert (row["flips"], row["exit_flips"], row["answer_flips"]) == (1, 0, 1)
    assert (row["threshold"], row["max_gate_distance"]) == (None, None)
    assert row["max_score_difference"] is None
    (flip,) = flips(build)
    assert (flip["image_id"], flip["deciding_block"]) == (1, 3)
    assert (flip["threshold"], flip["gate_score"], flip["gate_distance"]) == (None, None, None)


def test_same_cells_in_two_runs_stay_apart(build: InMemory) -> None:
    """The certificate of a run is of its own rows."""
    for run_id, answer in (("first", 1), ("second", 2)):
        each = build.beside(run_id)
        store_pass(each)
        store_routes(each, [(1, answer, 0.75)])
        each.store()
    rows = build.query("FROM certificate('first')")
    assert [(row["run_id"], row["routes"], row["flips"]) for row in rows] == [("first", 1, 0)]
    assert [(row["run_id"], row["flips"]) for row in certificate(build)] == [("second", 1)]


def test_run_without_routed_rows_has_no_certificate(build: Builder) -> None:
    """Nothing was routed: nothing is compared."""
    store_pass(build)
    build.cell("latency", **EARLY, threshold=0.5)
    build.store()
    assert certificate(build) == []
    assert flips(build) == []
