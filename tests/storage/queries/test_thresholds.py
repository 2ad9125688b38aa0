"""at_threshold and at_thresholds: the replay at any threshold, against loops as the router's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.storage.in_memory import InMemory

INF, NAN = float("inf"), float("nan")
DEPTH = 5
GATES = (0, 2, 3)  # blocks of at most three gates; the last block is 4
HALF = 0.5
BELOW_HALF = float(np.nextafter(np.float32(HALF), np.float32(0)))
SCORES = [-INF, 0.0, 0.25, BELOW_HALF, HALF, 0.613, 1.0, INF, NAN]
THRESHOLDS = [-INF, -0.0, 0.1, BELOW_HALF, HALF, 0.613, 0.7, 1.0, INF]


@dataclass(frozen=True)
class Image:
    """One image: a score a gate, and whether it is right at each exit, the last block's last."""

    scores: tuple[float, ...]
    is_correct: tuple[bool | None, ...]

    def exit_at(self, thresholds: Sequence[float]) -> int:
        """Say which exit it takes, one comparison at a time."""
        for place, (score, threshold) in enumerate(zip(self.scores, thresholds, strict=True)):
            if np.float32(score) >= np.float32(threshold):
                return place
        return len(self.scores)


def images_with(gates: int) -> st.SearchStrategy[list[Image]]:
    """Draw the images of a pass with so many gates."""
    image = st.builds(
        Image,
        st.tuples(*[st.sampled_from(SCORES)] * gates),
        st.tuples(*[st.sampled_from([True, False, None])] * (gates + 1)),
    )
    return st.lists(image, min_size=1, max_size=8)


PASSES = st.lists(
    st.integers(0, len(GATES)).flatmap(images_with), min_size=1, max_size=6
)  # at least one image each, so that the number of its gates is known


def blocks_of(images: Sequence[Image]) -> tuple[int, ...]:
    """The exit blocks of a pass, the last one included."""
    return (*GATES[: len(images[0].scores)], DEPTH - 1)


@pytest.fixture
def build(in_memory: InMemory) -> InMemory:
    """Give a builder of one run, to be asked."""
    return in_memory


def store(build: InMemory, passes: Sequence[Sequence[Image]]) -> None:
    """Store each list of images as an all-exit cell."""
    for images in passes:
        blocks = blocks_of(images)
        cell = build.cell("exits", depth=DEPTH, exit_blocks=blocks[:-1])
        build.commit(
            cell,
            exits={
                "image_id": np.repeat(np.arange(len(images)), len(blocks)),
                "exit_block": np.tile(blocks, len(images)),
                "gate_score": [score for image in images for score in (*image.scores, None)],
                "is_correct": [value for image in images for value in image.is_correct],
                "is_top5": [value is not False for image in images for value in image.is_correct],
                "loss": np.tile(np.arange(len(blocks)), len(images)) + 0.25,
            },
        )
    build.store()


def ask(build: InMemory, sql: str) -> list[dict[str, Any]]:
    """Read rows."""
    return build.query(sql)


def assert_answers(
    row: dict[str, Any], images: Sequence[Image], thresholds: Sequence[float]
) -> None:
    """Hold one row to the loops."""
    places = [image.exit_at(thresholds) for image in images]
    blocks = [blocks_of(images)[place] for place in places]
    answers = [image.is_correct[place] for image, place in zip(images, places, strict=True)]
    known = [answer for answer in answers if answer is not None]
    assert row["images"] == len(images)
    assert row["exit_counts"] == np.bincount(blocks, minlength=DEPTH).tolist()
    assert row["mean_blocks"] == pytest.approx(np.mean(blocks) + 1)
    assert row["acc1"] == (pytest.approx(100 * np.mean(known)) if known else None)
    assert row["acc5"] == pytest.approx(100 * np.mean([answer is not False for answer in answers]))
    assert row["loss"] == pytest.approx(np.mean(places) + 0.25)


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(passes=PASSES, vector=st.tuples(*[st.sampled_from(THRESHOLDS)] * len(GATES)))
def test_replay_agrees_with_the_loops(
    build: InMemory, passes: list[list[Image]], vector: tuple[float, ...]
) -> None:
    """Any scores with ties, NaN and infinities, one threshold for all gates or one a gate."""
    shared = " UNION ALL ".join(
        f"SELECT {number} AS number, * FROM at_threshold('{t}'::FLOAT)"  # noqa: S608 (ours)
        for number, t in enumerate(THRESHOLDS)
    )
    numbers = {len(images[0].scores) for images in passes}  # of gates
    listed = "[" + ", ".join(f"'{t}'::FLOAT" for t in vector) + "]"
    build = build.anew()
    store(build, passes)
    rows = ask(build, f"FROM ({shared}) JOIN cells USING (cell_id) ORDER BY number, position")
    by_gate = []
    if numbers <= {0} or len(GATES) in numbers:
        by_gate = ask(build, f"FROM at_thresholds({listed})")
    else:
        with pytest.raises(duckdb.Error, match="3 thresholds were given"):
            ask(build, f"FROM at_thresholds({listed})")
    assert len(rows) == len(THRESHOLDS) * len(passes)
    for row in rows:
        images, t = passes[row["position"]], THRESHOLDS[row["number"]]
        gates = len(images[0].scores)
        assert_answers(row, images, [t] * gates)
        assert row["threshold"] == (float(np.float32(t)) if gates else None)
    cells = {row["cell_id"]: row for row in by_gate}
    expected = [images for images in passes if by_gate and len(images[0].scores) in (0, len(GATES))]
    assert len(cells) == len(expected)  # a vector is for models with as many gates
    for position, images in enumerate(passes):
        if images in expected:
            gates = len(images[0].scores)
            assert_answers(cells[f"exits-{position}"], images, vector[:gates])


def test_all_leave_at_once_and_none_leaves(build: InMemory) -> None:
    """One exit: below its lowest score all leave there that can, above its highest nobody."""
    store(build, [[Image((score,), (True, False)) for score in (0.2, 0.9, NAN)]])
    expected = {
        "'-inf'": [2, 0, 0, 0, 1],  # the NaN gate stays shut
        "0.2": [2, 0, 0, 0, 1],
        "0.5": [1, 0, 0, 0, 2],
        "0.91": [0, 0, 0, 0, 3],
        "'inf'": [0, 0, 0, 0, 3],
        "NULL": [0, 0, 0, 0, 3],
    }
    for t, counts in expected.items():
        (row,) = ask(build, f"FROM at_threshold({t})")
        assert row["exit_counts"] == counts, t
        assert row["acc1"] == pytest.approx(100 * counts[0] / 3), t


def test_threshold_is_float32(build: InMemory) -> None:
    """A DOUBLE 0.613 is not the FLOAT 0.613: who stands at it leaves, one ulp below stays."""
    at = np.float32(0.613)
    scores = (float(np.nextafter(at, np.float32(0))), float(at))
    store(build, [[Image((score,), (True, False)) for score in scores]])
    (row,) = ask(build, "FROM at_threshold(0.613)")
    assert (row["exit_counts"], row["threshold"]) == ([1, 0, 0, 0, 1], float(at))


def test_one_threshold_a_gate(build: InMemory) -> None:
    """+inf shuts a gate, -inf opens it; a list of another length is not for this model."""
    store(build, [[Image((0.9, 0.4), (True, False, True)), Image((0.1, 0.6), (True,) * 3)]])
    (row,) = ask(build, "FROM at_thresholds(['inf'::FLOAT, 0.5])")
    assert (row["exit_counts"], row["acc1"]) == ([0, 0, 1, 0, 1], 100.0)
    assert row["thresholds"] == [INF, 0.5]
    (row,) = ask(build, "FROM at_thresholds(['inf', '-inf'])")
    assert (row["exit_counts"], row["acc1"]) == ([0, 0, 2, 0, 0], 50.0)
    (row,) = ask(build, "FROM at_thresholds([0.5])")
    assert row["exit_counts"] == [1, 0, 1, 0, 0]
    with pytest.raises(duckdb.Error, match=r"3 thresholds were given.* have 2 gates: give one"):
        ask(build, "FROM at_thresholds([0.5, 0.5, 0.5])")


def test_static_model_answers_the_same_at_any(build: InMemory) -> None:
    """It has no gates: one exit, and no threshold to name."""
    store(build, [[Image((), (True,)), Image((), (False,)), Image((), (None,))]])
    for question in ("at_threshold(0.5)", "at_thresholds(['inf'])", "at_thresholds([0, 0, 0, 0])"):
        (row,) = ask(build, f"FROM {question}")
        assert (row["images"], row["acc1"], row["mean_blocks"]) == (3, 50.0, 5.0)
        assert row.get("thresholds") is None
        assert row.get("threshold") is None


def test_image_without_a_last_block_counts_where_it_leaves(build: InMemory) -> None:
    """Above its scores nothing is known of it."""
    cell = build.cell("exits", exit_blocks=(1,))
    build.commit(
        cell,
        exits={
            "image_id": [0, 1, 1],
            "exit_block": [1, 1, 3],
            "gate_score": [0.4, 0.2, None],
            "is_correct": [True, False, False],
        },
    )
    build.store()
    rows = [ask(build, f"FROM at_threshold({t})")[0] for t in (0.3, 0.5)]
    assert [(row["images"], row["acc1"]) for row in rows] == [(2, 50.0), (1, 0.0)]


def test_run_without_rows_has_no_answer(build: InMemory) -> None:
    """A cell that did not run yet makes no row, and an empty root none."""
    build.cell("exits", exit_blocks=(1,))
    build.store()
    assert ask(build, "FROM at_threshold(0.5)") == []
    assert ask(build, "FROM at_thresholds([0.5])") == []
