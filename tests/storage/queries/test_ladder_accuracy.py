"""The ladder's accuracy side: replay against an oracle, and where figures come from."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tests.storage.conftest import Builder
    from tests.storage.in_memory import InMemory

BLOCKS = (1, 2)  # early exits of a model of four blocks
NAN = math.nan


@pytest.fixture
def build(in_memory: InMemory) -> InMemory:
    """Give a builder of one run, to be asked."""
    return in_memory


def oracle_exits(
    gates: npt.NDArray[np.float32], thresholds: Sequence[float]
) -> npt.NDArray[np.int64]:
    """Say where each image leaves, one comparison at a time, as the router does."""
    exits = np.full(gates.shape[1], 3)
    for image in range(gates.shape[1]):
        for exit_, block in enumerate(BLOCKS):
            if gates[exit_, image] >= np.float32(thresholds[exit_]):
                exits[image] = block
                break
    return exits


def exits_columns(
    gates: npt.NDArray[np.float32], correct: npt.NDArray[np.bool_]
) -> dict[str, object]:
    """Lay an all-exit pass out as rows; gates (E-1, N), correct (E, N)."""
    images = gates.shape[1]
    blocks = (*BLOCKS, 3)
    return {
        "image_id": np.tile(np.arange(images), len(blocks)),
        "exit_block": np.repeat(blocks, images),
        "gate_score": [*gates.ravel().tolist(), *[None] * images],
        "is_correct": correct.ravel(),
        "is_top5": True,
        "loss": 0.25,
    }


def plan(
    build: Builder, gates: npt.NDArray[np.float32], model: str = "early", **thresholds: Any
) -> None:
    """An all-exit pass, right at the first exit only, and a routed cell without rows of its own."""
    common = {"model": model, "exit_blocks": BLOCKS}
    passes = build.cell("exits", batch_size=256, **common)
    build.cell("latency", **common, **thresholds)
    correct = np.zeros((3, gates.shape[1]), dtype=bool)
    correct[0] = True
    build.commit(passes, exits=exits_columns(gates, correct))


def replay(build: Builder, gates: npt.NDArray[np.float32], **thresholds: Any) -> dict[str, Any]:
    """Plan that, store it and read the ladder."""
    plan(build, gates, **thresholds)
    build.store()
    (row,) = build.ladder()
    return row


@pytest.mark.parametrize("threshold", [0.613, 0.1, 0.7, 1.0, 0.0])
def test_gate_equal_to_the_threshold_leaves_and_one_ulp_below_stays(
    build: Builder, threshold: float
) -> None:
    """The comparison is float32 against float32: 0.613 as DOUBLE would move the boundary."""
    at = np.float32(threshold)
    gates = np.array(
        [[np.nextafter(at, np.float32(-1)), at, np.nextafter(at, np.float32(2))], [-1, -1, -1]],
        dtype=np.float32,
    )
    row = replay(build, gates, threshold=threshold)
    assert row["exit_counts"] == [0, 2, 0, 1]
    assert row["acc1"] == pytest.approx(200 / 3)


def test_nan_gate_never_leaves_early(build: Builder) -> None:
    """In DuckDB NaN >= 0.5 is true; in the router it is not."""
    gates = np.array([[NAN, NAN, 0.9], [NAN, 0.9, NAN]], dtype=np.float32)
    row = replay(build, gates, threshold=0.5)
    assert row["exit_counts"] == [0, 1, 1, 1]
    assert row["mean_blocks"] == pytest.approx((2 + 3 + 4) / 3)


@pytest.mark.parametrize(
    ("threshold", "counts"),
    [(float("-inf"), [0, 2, 0, 1]), (float("inf"), [0, 0, 0, 3]), (None, [0, 0, 0, 3])],
)
def test_infinite_and_absent_thresholds(
    build: Builder, threshold: float | None, counts: list[int]
) -> None:
    """-inf always leaves unless the gate is NaN, +inf never does, NULL is full depth."""
    gates = np.array([[0.1, 0.99, NAN], [NAN, 0.99, NAN]], dtype=np.float32)
    assert replay(build, gates, threshold=threshold)["exit_counts"] == counts


SCORES = [0.0, 0.25, 0.5, float(np.nextafter(np.float32(0.5), np.float32(0))), 0.613, 1.0, NAN]


PAIRS = st.lists(
    st.tuples(st.sampled_from(SCORES), st.sampled_from(SCORES)), min_size=1, max_size=12
)
VECTORS = st.tuples(st.sampled_from(SCORES[:-1]), st.sampled_from(SCORES[:-1]))


@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cases=st.lists(st.tuples(PAIRS, VECTORS), min_size=4, max_size=8))
def test_replay_agrees_with_the_oracle(
    build: InMemory, cases: list[tuple[list[tuple[float, float]], tuple[float, float]]]
) -> None:
    """Any gates with ties and NaN, any vector of thresholds: exits as one-by-one comparison."""
    build = build.anew()
    gates = [np.array(pairs, dtype=np.float32).T for pairs, _ in cases]
    for number, (_, thresholds) in enumerate(cases):
        shared = thresholds[0] if thresholds[0] == thresholds[1] else None
        plan(build, gates[number], f"m{number}", thresholds=thresholds, threshold=shared)
    build.store()
    rows = {row["model"]: row for row in build.ladder()}
    assert len(rows) == len(cases)
    for number, (_, thresholds) in enumerate(cases):
        row = rows[f"m{number}"]
        expected = oracle_exits(gates[number], thresholds)
        assert row["exit_counts"] == np.bincount(expected, minlength=4).tolist()
        assert row["mean_blocks"] == pytest.approx(float(expected.mean()) + 1)
        assert row["acc1"] == pytest.approx(100 * float((expected == 1).mean()))
        assert row["thresholds"] == [float(np.float32(value)) for value in thresholds]


def test_accuracy_prefers_the_all_exit_pass_over_records(build: Builder) -> None:
    """With a pass, its images count, each once; the records give only times."""
    passes = build.cell("exits")
    timed = build.cell("latency")
    build.commit(
        passes,
        exits={
            "image_id": np.arange(8),
            "exit_block": 3,
            "is_correct": np.arange(8) < 2,
            "is_top5": True,
            "loss": 1.5,
        },
    )
    build.records(timed, 5)
    build.store()
    (row,) = build.ladder()
    assert (row["acc1"], row["acc5"], row["loss"]) == (25.0, 100.0, 1.5)
    assert row["exit_counts"] == [0, 0, 0, 8]
    assert row["forward_ms"] == 2.0


@pytest.mark.parametrize(
    "difference",
    [
        {"model": "other"},
        {"checkpoint_sha256": "c1"},
        {"dataset_sha256": "d1"},
        {"device": "gpu"},
        {"runtime": "onnx"},
        {"precision": "bfloat16"},
        {"threads": 2},
        {"exit_blocks": (2,)},
    ],
)
def test_pass_of_something_else_is_not_used(build: Builder, difference: dict[str, Any]) -> None:
    """A pass answers only for what it was: then round 0 of the records does, not round 1."""
    passes = build.cell("exits", **difference)
    timed = build.cell("latency")
    build.commit(passes, exits={"image_id": np.arange(8), "exit_block": 3, "is_correct": False})
    build.records(timed, 4, is_correct=[True, True, True, False], exit_block=[1, 3, 3, 3])
    build.records(timed, 4, round_=1, is_correct=False, exit_block=2)
    build.store()
    row = next(row for row in build.ladder() if row["cell_id"] == timed.cell_id)
    assert row["acc1"] == 75.0
    assert row["exit_counts"] == [0, 1, 0, 3]
    assert row["samples"] == 8


def test_accuracy_only_run_has_a_row_at_full_depth(build: Builder) -> None:
    """Without a latency cell the pass itself makes a row, with the reason for the rest."""
    passes = build.cell("exits", model="early", exit_blocks=BLOCKS)
    gates = np.ones((2, 4), dtype=np.float32)
    correct = np.array([[False] * 4, [False] * 4, [True] * 3 + [False]])
    build.commit(passes, exits=exits_columns(gates, correct))
    build.store()
    (row,) = build.ladder()
    assert row["threshold"] is None
    assert (row["acc1"], row["exit_counts"], row["mean_blocks"]) == (75.0, [0, 0, 0, 4], 4.0)
    assert row["forward_ms"] is None
    assert row["energy_mj"] is None
    assert row["node"] == "node-a"
    assert row["note"] == "latency and energy: not timed in this run"


def test_two_runs_with_the_same_cells_stay_apart(build: InMemory) -> None:
    """cell_id is a digest of the work: the same one in two runs must not mix."""
    first, second = (build.beside(run_id) for run_id in ("first", "second"))
    for each, right in ((first, True), (second, False)):
        passes, timed = each.cell("exits"), each.cell("latency")
        each.commit(passes, exits={"image_id": np.arange(3), "exit_block": 3, "is_correct": right})
        each.records(timed, 20, forward_ms=1.0 if right else 9.0)
        each.store()
    ((one,), (other,)) = first.ladder(), second.ladder()
    assert (one["acc1"], one["forward_ms"]) == (100.0, 1.0)
    assert (other["acc1"], other["forward_ms"]) == (0.0, 9.0)


def test_cell_without_rows_says_why(build: Builder) -> None:
    """A failed cell keeps its row, with NULL and the reason, never 0."""
    build.cell(
        "latency",
        status="failed",
        is_valid=False,
        error="Traceback:\n  x.py\nOutOfMemoryError: 2 GB; free some\n",
    )
    build.store()
    (row,) = build.ladder()
    for figure in ("acc1", "loss", "exit_counts", "mean_blocks", "forward_ms", "fps", "energy_mj"):
        assert row[figure] is None, figure
    assert row["note"] == (
        "OutOfMemoryError: 2 GB, free some; accuracy: no answers (cell is failed); "
        "latency: no timed rows (cell is failed)"
    )


def test_unknown_answer_is_not_replaced_by_a_later_exit(build: Builder) -> None:
    """NULL at the exit an image takes counts as no answer, not as the last block's."""
    cell = build.cell("exits", model="early", exit_blocks=(1,), dataset="d")
    build.cell("latency", model="early", exit_blocks=(1,), threshold=0.5, dataset="d")
    build.commit(
        cell,
        exits={
            "image_id": [0, 0, 1, 1],
            "exit_block": [1, 3, 1, 3],
            "gate_score": [0.9, None, 0.9, None],
            "is_correct": [None, True, False, True],
        },
    )
    build.store()
    (row,) = build.ladder()
    assert (row["acc1"], row["exit_counts"]) == (0.0, [0, 2, 0, 0])


@pytest.mark.parametrize("loss", [math.nan, math.inf])
@pytest.mark.parametrize("is_correct", [None, False])  # as rows were written before, too
def test_logits_that_are_not_finite_give_no_accuracy(
    build: Builder, loss: float, is_correct: bool | None
) -> None:
    """Of one image at one exit where none leaves: NULL with the reason, in each of the queries."""
    cell = build.cell("exits", model="early", exit_blocks=(1,), dataset="d", is_valid=False)
    build.cell("latency", model="early", exit_blocks=(1,), threshold=0.5, dataset="d")
    whole = build.cell("exits", model="whole", exit_blocks=(1,), dataset="d")
    answers = {
        "image_id": [0, 0, 1, 1],
        "exit_block": [1, 3, 1, 3],
        "gate_score": [0.1, None, 0.9, None],
        "is_top5": True,
    }
    build.commit(
        cell,
        exits=answers | {"is_correct": [is_correct, True, True, True], "loss": [loss, 1, 1, 1]},
    )
    build.commit(whole, exits=answers | {"is_correct": [True, True, False, True], "loss": 0.5})
    build.store()
    early, other = build.ladder()
    assert [early[name] for name in ("acc1", "acc5", "loss")] == [None] * 3
    assert early["exit_counts"] == [0, 1, 0, 1]
    assert "accuracy: images with logits that are not finite: 1; " in early["note"]
    assert [other[name] for name in ("acc1", "acc5", "loss")] == [100, 100, 0.5]
    rows = build.query("FROM at_threshold(0.5) ORDER BY model")
    assert [(row["acc1"], row["acc5"], row["loss"]) for row in rows] == [
        (None, None, None),
        (50, 100, 0.5),
    ]
    rows = build.query("FROM frontier('run-1')")
    points = [(row["model"], row["acc1"], row["is_dominated"]) for row in rows]
    assert points == [
        *[("early", None, False)] * 3,
        ("whole", 100, False),
        ("whole", 50, True),
        ("whole", 50, False),
    ]


def test_records_that_are_not_finite_give_no_accuracy(build: Builder) -> None:
    """Without an all-exit pass; times are shown, and the cell says that it is not valid."""
    cell = build.cell(dataset="d", is_valid=False, rounds=2)
    for round_ in (0, 1):
        build.records(cell, 3, round_, loss=[0.5, 0.5, math.nan], is_correct=[True, False, None])
    build.store()
    (row,) = build.ladder()
    assert (row["acc1"], row["acc5"], row["loss"], row["is_valid"]) == (None, None, None, False)
    assert row["forward_ms"] == 2
    assert "accuracy: images with logits that are not finite: 1; " in row["note"]


def test_costs_are_means_over_the_exits_taken(build: Builder) -> None:
    """One image leaves at the first exit, two at the second, one at the last, which has no gate."""
    gates = np.array([[0.9, 0.1, 0.1, 0.1], [0.9, 0.9, 0.9, 0.1]], np.float32)
    costs = {
        "exit_params": (100, 200, 300),
        "exit_multiply_adds": (1000, 2000, 3000),
        "exit_executed_multiply_adds": (2**40, 2**40, 2**42),
    }
    plan(build, gates, threshold=0.5)
    build.cells[:] = [dataclasses.replace(cell, **costs) for cell in build.cells]
    build.store()
    (row,) = build.ladder()
    assert row["mean_params"] == (100 + 2 * 200 + 300) / 4
    assert row["mean_multiply_adds"] == 2000
    assert row["mean_executed_multiply_adds"] == (3 * 2**40 + 2**42) / 4


def test_a_cost_that_a_bundle_does_not_say_leaves_the_mean_unknown(build: Builder) -> None:
    """A sum over the others would be too small; figures that it says have their mean."""
    gates = np.array([[0.9, 0.1], [0.9, 0.1]], np.float32)
    costs = {"exit_params": (100, 200, 400), "exit_multiply_adds": (1000, None, None)}
    plan(build, gates, threshold=0.5)
    build.cells[:] = [dataclasses.replace(cell, **costs) for cell in build.cells]
    build.store()
    (row,) = build.ladder()
    assert row["mean_params"] == (100 + 400) / 2
    assert row["mean_multiply_adds"] is None


def test_costs_of_an_older_run_are_not_known(build: Builder) -> None:
    """Its cells have no costs: NULL, not 0."""
    row = replay(build, np.full((2, 3), 0.9, np.float32), threshold=0.5)
    assert row["mean_params"] is None
    assert row["mean_multiply_adds"] is None


def test_costs_without_predictions_are_not_known(build: Builder) -> None:
    """The exits that images take are unknown as long as no image has been answered."""
    build.cell("latency", exit_blocks=BLOCKS, threshold=0.5, exit_params=(1, 2, 3))
    build.store()
    assert [row["mean_params"] for row in build.ladder()] == [None]
