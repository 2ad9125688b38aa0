"""The exact frontier: points by hand, against at_threshold, and dominance against loops."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import storage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.storage.conftest import Builder
    from tests.storage.in_memory import InMemory

    # Of one image: a score a gate, then whether it is right at each exit, the last block's last.
    Image = tuple[Sequence[float], Sequence[bool | None]]
    Row = dict[str, Any]

INF, NAN = float("inf"), float("nan")
LAST = 3  # of a model of four blocks
EARLY: Row = {"model": "early", "exit_blocks": (1, 2)}
THIRD = 100 / 3
HAND: list[Image] = [
    ((0.9, 0.5), (True, False, False)),  # 0.5 comes after 0.9, and decides nothing
    ((0.3, 0.6), (False, True, True)),
    ((0.2, 0.1), (False, False, True)),
]


@pytest.fixture
def build(in_memory: InMemory) -> InMemory:
    """Give a builder of one run, to be asked."""
    return in_memory


def store_pass(build: Builder, images: Sequence[Image], **cell: Any) -> storage.CellRow:
    """Plan an all-exit cell of these images; a score of None has no row."""
    row = build.cell("exits", **{**EARLY, **cell})
    blocks = [block for block in row.exit_blocks or () if block < LAST] + [LAST]
    rows = [
        (image, block, score, is_correct)
        for image, (scores, answers) in enumerate(images)
        for block, score, is_correct in zip(blocks, (*scores, "last"), answers, strict=True)
        if score is not None
    ]
    build.commit(
        row,
        exits={
            "image_id": [image for image, *_ in rows],
            "exit_block": [block for _, block, *_ in rows],
            "gate_score": [None if score == "last" else score for _, _, score, _ in rows],
            "is_correct": [is_correct for *_, is_correct in rows],
        },
    )
    return row


def store_costs(
    build: Builder, costs: dict[int, Sequence[float]], round_: int = 0, **cell: Any
) -> storage.CellRow:
    """Plan a cell of forced exits: milliseconds by block, one an image."""
    row = build.cell("exit_costs", **{**EARLY, **cell})
    commit_costs(build, row, costs, round_)
    return row


def commit_costs(
    build: Builder, cell: storage.CellRow, costs: dict[int, Sequence[float]], round_: int
) -> None:
    """Plan one round of forced exits."""
    rows = [(image, block, ms) for block, times in costs.items() for image, ms in enumerate(times)]
    images, blocks, times = zip(*rows, strict=True)
    columns = {"image_id": list(images), "exit_block": list(blocks), "forward_ms": list(times)}
    build.commit(cell, round_, exit_costs=columns)


def points(build: Builder, run: str = "latest") -> list[Row]:
    """Read the frontier."""
    return build.query(f"FROM frontier('{run}')")


def dominated(rows: Sequence[Row]) -> list[bool]:
    """Compare every pair of points, as the definition says."""

    def is_beaten(row: Row, other: Row) -> bool:
        if row["forward_ms"] is None or other["forward_ms"] is None:
            if row["cell_id"] != other["cell_id"]:
                return False
            cost, other_cost = row["mean_blocks"], other["mean_blocks"]
        else:
            cost, other_cost = row["forward_ms"], other["forward_ms"]
        accuracy, other_accuracy = row["acc1"], other["acc1"]
        if accuracy is None or other_accuracy is None:
            return False
        is_better = other_accuracy > accuracy or other_cost < cost
        return other_accuracy >= accuracy and other_cost <= cost and is_better

    return [any(is_beaten(row, other) for other in rows) for row in rows]


def test_three_images_by_hand(stored: Builder) -> None:
    """From the last block for all to the first exit for all, a point wherever an image moves."""
    cell = store_pass(stored, HAND)
    stored.store(merge=True)
    rows = points(stored)
    assert [row["threshold"] for row in rows] == np.array(
        [INF, 0.9, 0.6, 0.3, 0.2], dtype=np.float32
    ).tolist()
    assert [row["acc1"] for row in rows] == pytest.approx([2 * THIRD, 100, 100, 2 * THIRD, THIRD])
    assert [row["mean_blocks"] for row in rows] == pytest.approx([4, 10 / 3, 3, 8 / 3, 2])
    third = 1 / 3
    assert [row["exit_shares"] for row in rows] == [
        pytest.approx(shares)
        for shares in (
            [0, 0, 1],
            [third, 0, 2 * third],
            [third, third, third],
            [2 * third, 0, third],
            [1, 0, 0],
        )
    ]
    # 0.9 is as accurate as 0.6 and takes longer; +inf is not even as accurate.
    assert [row["is_dominated"] for row in rows] == [True, True, False, False, False]
    for row in rows:
        assert (row["run_id"], row["cell_id"], row["images"]) == ("run-1", cell.cell_id, 3)
        assert (row["forward_ms"], row["energy_mj"]) == (None, None)


SCORES = [-INF, 0.0, 0.25, float(np.nextafter(np.float32(0.25), np.float32(1))), 0.5, 1.0, INF]
BETWEEN = [0.1, 0.7]


def images_with(gates: int) -> st.SearchStrategy[list[Image]]:
    """Draw the images of a pass with so many gates; rows of gates may miss, answers be unknown."""
    scores = st.sampled_from([*SCORES, NAN, None])
    answers = st.sampled_from([True, False, None])
    image = st.tuples(st.tuples(*[scores] * gates), st.tuples(*[answers] * (gates + 1)))
    return st.lists(image, min_size=1, max_size=8)


@settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(passes=st.lists(st.integers(0, 3).flatmap(images_with), min_size=4, max_size=10))
def test_every_point_is_what_at_threshold_says(build: InMemory, passes: list[list[Image]]) -> None:
    """There, between the points, and nowhere else does anything change."""
    asked = " UNION ALL ".join(
        f"SELECT '{t}'::FLOAT AS t, * FROM at_threshold('{t}'::FLOAT)"  # noqa: S608 (ours)
        for t in [*SCORES, *BETWEEN]
    )
    build = build.anew()
    for images in passes:
        store_pass(build, images, exit_blocks=tuple(range(len(images[0][0]))))
    build.store()
    found = points(build)
    answers = build.query(f"FROM ({asked}) ORDER BY t DESC")
    by_question = {(row["cell_id"], row["t"]): row for row in answers}
    for number, images in enumerate(passes):
        rows = [row for row in found if row["cell_id"] == f"exits-{number}"]
        blocks = [*range(len(images[0][0])), LAST]
        for t in np.float32([*SCORES, *BETWEEN]).tolist():
            above = [row for row in rows if row["threshold"] is None or row["threshold"] >= t]
            answer = by_question.get((f"exits-{number}", t))
            assert bool(above) == (answer is not None)
            if answer is None:
                continue
            for figure in ("images", "acc1", "mean_blocks"):
                assert above[-1][figure] == answer[figure], figure
            shares = [answer["exit_counts"][block] / answer["images"] for block in blocks]
            assert above[-1]["exit_shares"] == shares
        seen = [(row["images"], row["exit_shares"]) for row in rows]
        assert all(above != below for above, below in itertools.pairwise(seen))
        assert [row["is_dominated"] for row in rows] == dominated(rows)


MOVES: list[tuple[list[tuple[float, float]], list[float]]] = [
    ([(0.5, 0.5), (0.5, 0.5), (0.5, 0.4)], [INF, 0.5]),  # ties, within an image and between
    ([(0.75, 0.25), (0.75, 1.0)], [INF, 1.0, 0.75]),  # all leave at once, in the end
    ([(NAN, NAN), (NAN, NAN)], [INF]),  # none leaves
    ([(NAN, 0.5), (0.25, NAN)], [INF, 0.5, 0.25]),
    ([(INF, 0.5), (0.5, INF)], [INF, 0.5]),
    ([(-INF, -INF)], [INF, -INF]),
    ([(-0.0, 0.0), (0.0, -0.0)], [INF, 0.0]),
    ([(0.5, 0.25)] * 3, [INF, 0.5]),
]


def test_thresholds_are_where_images_move(build: Builder) -> None:
    """Equal scores are one point; NaN and what comes after a higher score are none."""
    for pairs, _ in MOVES:
        store_pass(build, [(pair, (True, True, True)) for pair in pairs])
    build.store()
    found = points(build)
    for number, (pairs, thresholds) in enumerate(MOVES):
        rows = [row for row in found if row["cell_id"] == f"exits-{number}"]
        assert [row["threshold"] for row in rows] == thresholds, pairs
        assert {row["acc1"] for row in rows} == {100.0}
        # As accurate everywhere: what leaves earliest wins.
        assert [row["is_dominated"] for row in rows] == [True] * (len(rows) - 1) + [False]


def test_models_with_other_exits_stand_side_by_side(build: Builder) -> None:
    """Each has shares of its own exits; a static model is one point without a threshold."""
    store_pass(build, [((), (True,)), ((), (False,))], model="static", exit_blocks=(3,))
    store_pass(build, [((0.5,), (True, False))], exit_blocks=(2,))
    store_pass(build, HAND)
    build.store()
    rows = points(build)
    assert [row["cell_id"] for row in rows] == ["exits-0", *["exits-1"] * 2, *["exits-2"] * 5]
    static = rows[0]
    assert (static["threshold"], static["acc1"], static["mean_blocks"]) == (None, 50.0, 4.0)
    assert [row["exit_shares"] for row in rows[:3]] == [[1.0], [0.0, 1.0], [1.0, 0.0]]
    assert not static["is_dominated"]  # blocks of two models are not alike


def test_forward_ms_is_a_mixture_of_exit_means(build: Builder) -> None:
    """Shares times mean costs, throttled rounds left out, each round's rows alike."""
    store_pass(build, HAND)
    costs = store_costs(build, {1: [1.0, 3.0], 2: [4.0, 4.0], 3: [6.0, 8.0]}, rounds=3)
    commit_costs(build, costs, {1: [2.0, 2.0], 2: [4.0, 4.0], 3: [8.0, 6.0]}, round_=1)
    commit_costs(build, costs, {1: [90.0], 2: [90.0], 3: [90.0]}, round_=2)
    build.commit(costs, 1, 60, rounds={"is_throttled": None})
    build.commit(costs, 2, 60, rounds={"is_throttled": True})
    build.store()
    means = build.query("FROM exit_means ORDER BY exit_block")
    assert [row["exit_block"] for row in means] == [1, 2, 3]
    assert [row["forward_ms"] for row in means] == [2.0, 4.0, 7.0]
    assert [row["samples"] for row in means] == [4, 4, 4]
    rows = points(build)
    assert [row["forward_ms"] for row in rows] == pytest.approx(
        [7, (2 + 7 + 7) / 3, (2 + 4 + 7) / 3, (2 + 2 + 7) / 3, 2]
    )
    assert [row["is_dominated"] for row in rows] == [True, True, False, False, False]


OTHERS: list[Row] = [
    {"model": "other"},
    {"checkpoint_sha256": "c1"},
    {"exit_blocks": (0, 2)},
    {"dataset": "other"},
    {"device": "gpu"},
    {"node": "node-b"},
    {"runtime": "onnx"},
    {"precision": "bfloat16"},
    {"threads": 2},
    {"batch_size": 8},
]


def test_costs_of_something_else_are_not_used(build: Builder) -> None:
    """Nor those of a batch: shares of images cost what single images do."""
    store_pass(build, HAND)
    for difference in OTHERS:
        store_costs(build, {1: [1.0], 2: [2.0], 3: [3.0]}, **difference)
    build.store()
    assert {row["forward_ms"] for row in points(build)} == {None}


def test_costs_come_from_one_cell_that_has_all(build: Builder) -> None:
    """An exit without a cost leaves nothing to mix; of two that have all the first is taken."""
    store_pass(build, HAND)
    store_costs(build, {1: [1.0], 3: [3.0]})
    store_costs(build, {1: [2.0], 2: [2.0], 3: [2.0]})
    store_costs(build, {1: [9.0], 2: [9.0], 3: [9.0]})
    build.store()
    assert {row["forward_ms"] for row in points(build)} == {2.0}
    (_, *above, lowest) = points(build)
    # As dear everywhere: the most accurate win, and equals do not beat each other.
    assert [row["is_dominated"] for row in above] == [False, False, True]
    assert lowest["is_dominated"]


def test_static_rival_is_timed_by_its_latency_cell(build: Builder) -> None:
    """A static model that is faster and as accurate beats every slower point, not the cheaper."""
    store_pass(build, [((), (True,))] * 2 + [((), (False,))], model="static", exit_blocks=(3,))
    timed = build.cell("latency", rounds=2)
    build.records(timed, 2, forward_ms=[4.0, 5.0])
    build.records(timed, 2, round_=1, forward_ms=90.0, is_throttled=[False, True])
    build.records(build.cell("latency", batch_size=8), 2, forward_ms=0.1)
    store_pass(build, HAND)
    store_costs(build, {1: [2.0], 2: [4.0], 3: [7.0]})
    build.store()
    static, *early = points(build)
    assert (static["forward_ms"], static["acc1"]) == (4.5, pytest.approx(2 * THIRD))
    assert [row["forward_ms"] for row in early] == pytest.approx([7, 16 / 3, 13 / 3, 11 / 3, 2])
    assert static["is_dominated"]  # by 100 % in 4.33 ms
    assert [row["is_dominated"] for row in early] == [True, True, False, False, False]


def test_points_equal_in_both_do_not_beat_each_other(build: Builder) -> None:
    """Two static models of the same accuracy and time both stay; a slower third one goes."""
    for name, ms in (("one", 2.0), ("two", 2.0), ("slow", 2.5)):
        static = {"model": name, "exit_blocks": (3,)}
        store_pass(build, [((), (True,))], **static)
        build.records(build.cell("latency", **static), 3, forward_ms=ms)
    build.store()
    assert [row["is_dominated"] for row in points(build)] == [False, False, True]


def test_dominance_agrees_with_every_pair(build: Builder) -> None:
    """Three timed models, one of another setting, one untimed; costs that do not rise by exit."""
    generator = np.random.default_rng(3)
    settings_ = [
        ({"model": "a"}, [1.0, 3.0, 2.5]),
        ({"model": "b"}, [1.5, 1.5, 4.0]),
        ({"model": "c", "threads": 2}, [0.5, 0.6, 0.7]),
        ({"model": "d"}, None),
        ({"model": "e"}, [2.0, 1.0, 3.0]),
    ]
    for cell, costs in settings_:
        scores = generator.integers(0, 12, size=(20, 2)) / 12
        right = generator.random((20, 3)) < 0.3 + 0.1 * np.arange(3)
        store_pass(build, list(zip(scores.tolist(), right.tolist(), strict=True)), **cell)
        if costs:
            store_costs(build, {1: costs[:1], 2: costs[1:2], 3: costs[2:]}, **cell)
    build.store()
    rows = points(build)
    setting = [row["threads"] for row in rows]
    expected = [
        dominated([row, *[other for other in rows if other["threads"] == threads]])[0]
        for row, threads in zip(rows, setting, strict=True)
    ]
    assert [row["is_dominated"] for row in rows] == expected
    assert {True, False} == set(expected)


def test_image_without_a_last_block_counts_where_it_leaves(build: Builder) -> None:
    """It has no answer above its scores; one that could never leave is nowhere."""
    cell = build.cell("exits", exit_blocks=(1,))
    build.commit(
        cell,
        exits={
            "image_id": [0, 1, 1, 2],
            "exit_block": [1, 1, 3, 1],
            "gate_score": [0.5, 0.25, None, NAN],
            "is_correct": [True, False, False, True],
        },
    )
    build.store()
    rows = points(build)
    assert [(row["threshold"], row["images"]) for row in rows] == [(INF, 1), (0.5, 2), (0.25, 2)]
    assert [row["acc1"] for row in rows] == [0.0, 50.0, 50.0]


def test_unknown_answers_count_as_in_at_threshold(build: Builder) -> None:
    """An image without an answer at its exit is left out of acc1, not wrong."""
    images = [((0.5, 0.1), (None, True, False)), ((0.25, 0.1), (True, True, True))]
    store_pass(build, images)
    store_pass(build, [((0.5, 0.1), (None, None, None))])
    build.store()
    rows = points(build)
    assert [row["acc1"] for row in rows] == [50.0, 100.0, 100.0, None, None]
    assert [row["is_dominated"] for row in rows] == [True, True, False, False, False]


def test_one_run_at_a_time(build: InMemory) -> None:
    """`latest` is the newest run; the same cell in another run does not mix in."""
    for run_id, right in (("first", True), ("second", False)):
        each = build.beside(run_id)
        store_pass(each, [((0.5, 0.1), (right,) * 3)])
        each.store()
    assert {(row["run_id"], row["acc1"]) for row in points(build, "first")} == {("first", 100.0)}
    assert {(row["run_id"], row["acc1"]) for row in points(build)} == {("second", 0.0)}
    with pytest.raises(duckdb.Error, match="there is no run 'none'; the newest is second"):
        points(build, "none")


def test_run_without_rows_has_no_points(build: InMemory, tmp_path: Path) -> None:
    """Neither an empty root nor a cell that did not run yet."""
    build.cell("exits", **EARLY)
    build.store()
    assert points(build) == []
    empty = storage.query(tmp_path, "FROM frontier('latest')")
    assert (empty.num_rows, empty.column_names[-12:-8]) == (
        0,
        ["energy_mj", "is_dominated", "is_forward_ms_promised", "forward_ms_verdict"],
    )
