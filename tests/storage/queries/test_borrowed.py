"""Borrowed accuracy: answers of another device, with bounds from a sample, against plain loops."""

from __future__ import annotations

import dataclasses
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import storage

if TYPE_CHECKING:
    from tests.storage.in_memory import InMemory

Row = dict[str, Any]

IMAGES, SAMPLE, LAST = 60, 20, 3
EARLY: Row = {"model": "early", "exit_blocks": (1, 2), "images": IMAGES, "exit_rule": "gate"}
FAST: Row = {**EARLY, "device": "fast", "node": "node-f"}
SLOW: Row = {**EARLY, "device": "slow", "node": "node-s", "images": SAMPLE, "borrowed_from": "fast"}
BLOCKS = (1, 2, LAST)


@dataclasses.dataclass(frozen=True)
class Planted:
    """What a device answers: scores of two gates, and correctness at three exits, by image."""

    scores: np.ndarray
    is_correct: np.ndarray

    def at(self, threshold: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the block that each image exits after, and whether it is right there."""
        is_out = self.scores >= np.float32(threshold)
        exits = np.where(is_out.any(axis=0), is_out.argmax(axis=0), 2)
        return np.array(BLOCKS)[exits], self.is_correct[exits, np.arange(self.scores.shape[1])]


def plant(seed: int) -> tuple[Planted, Planted]:
    """Return what a fast device answers, and a slow one that flips some, with noisy scores."""
    random = np.random.default_rng(seed)
    scores = random.random((2, IMAGES)).astype(np.float32)
    is_correct = random.random((3, IMAGES)) < 0.7
    noise = random.normal(0, 0.05, scores.shape).astype(np.float32) * (
        random.random(scores.shape) < 0.5
    )
    flipped = random.random(is_correct.shape) < 0.1
    return Planted(scores, is_correct), Planted(scores + noise, is_correct ^ flipped)


def commit(
    build: InMemory,
    cell: storage.CellRow,
    answers: Planted,
    images: np.ndarray,
    loss: float = 0.5,
) -> None:
    """Plan the rows of some images of an all-exit pass; the first has this loss somewhere."""
    scores: list[float | None] = [*answers.scores[:, images].ravel().tolist()]
    build.commit(
        cell,
        exits={
            "image_id": np.tile(images, 3),
            "exit_block": np.repeat(np.array(BLOCKS), len(images)),
            "gate_score": scores + [None] * len(images),
            "prediction": 1,
            "label": 1,
            "loss": [loss, *[0.5] * (3 * len(images) - 1)],
            "is_correct": answers.is_correct[:, images].ravel().tolist(),
        },
    )


def store(
    build: InMemory, seed: int = 0, fast: Row | None = None, slow: Row | None = None
) -> tuple[Planted, Planted, np.ndarray]:
    """Store a lender that answered all images, and a borrower that answered a sample of them."""
    lender, borrower = plant(seed)
    sampled = np.random.default_rng(seed).permutation(IMAGES)[:SAMPLE]
    commit(build, build.cell("exits", **{**FAST, **(fast or {})}), lender, np.arange(IMAGES))
    commit(build, build.cell("exits", **{**SLOW, **(slow or {})}), borrower, sampled)
    return lender, borrower, sampled


def tail(flipped: int, images: int, share: float) -> float:
    """Return the probability of so few flips or fewer, by exact binomial coefficients."""
    return sum(
        comb(images, number) * share**number * (1 - share) ** (images - number)
        for number in range(flipped + 1)
    )


def bound(flipped: int, images: int, misses: float = 0.05) -> float:
    """Return the Clopper-Pearson bound by plain bisection."""
    low, high = 0.0, 1.0
    if flipped == images:
        return 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if tail(flipped, images, middle) > misses else (low, middle)
    return high


@pytest.fixture
def build(in_memory: InMemory) -> InMemory:
    """Give a builder of one run, to be asked."""
    return in_memory


@pytest.mark.parametrize(("flipped", "images"), [(0, 500), (1, 1), (0, 1), (3, 500), (60, 120)])
@pytest.mark.parametrize("misses", [0.05, 0.05 / 20_001])
def test_the_bound_is_that_of_clopper_and_pearson(
    build: InMemory, flipped: int, images: int, misses: float
) -> None:
    """The share at which so few flips have just the allowed probability; by hand for none."""
    build.store()
    sql = f"SELECT flip_bound({flipped}, {images}, {misses}) AS share"
    share = build.query(sql)[0]["share"]
    assert share == pytest.approx(bound(flipped, images, misses), abs=1e-12)
    if flipped == 0:
        assert share == pytest.approx(1 - misses ** (1 / images), rel=1e-12)
    if 0 < flipped < images:
        assert tail(flipped, images, share) == pytest.approx(misses, rel=1e-9)


@pytest.mark.parametrize("threshold", [float("-inf"), 0.0, 0.35, 0.8, float("inf")])
def test_figures_at_a_threshold_are_the_lenders_with_a_bound(
    build: InMemory, threshold: float
) -> None:
    """At any threshold; the lender's own row has none."""
    lender, borrower, sampled = store(build)
    build.store()
    rows = {row["device"]: row for row in build.query(f"FROM at_threshold('{threshold}'::FLOAT)")}
    blocks, is_right = lender.at(threshold)
    own_blocks, is_own_right = (each[sampled] for each in borrower.at(threshold))
    for row in rows.values():
        assert row["acc1"] == pytest.approx(100 * is_right.mean())
        assert (row["images"], row["mean_blocks"]) == (IMAGES, pytest.approx((blocks + 1).mean()))
    slow = rows["slow"]
    flipped = int((is_own_right != is_right[sampled]).sum())
    moved = int((own_blocks != blocks[sampled]).sum())
    assert slow["accuracy_from"] == "fast"
    assert slow["acc1_bound_points"] == pytest.approx(100 * bound(flipped, SAMPLE))
    assert slow["mean_blocks_bound"] == pytest.approx(2 * bound(moved, SAMPLE))
    fast = rows["fast"]
    assert [fast[name] for name in ("accuracy_from", "acc1_bound_points")] == [None, None]


@pytest.mark.parametrize("seed", range(4))
def test_points_of_the_frontier_have_a_bound_that_holds_for_all(build: InMemory, seed: int) -> None:
    """The lender's points; flips counted at each, and the 5 % divided by their number."""
    lender, borrower, sampled = store(build, seed)
    build.store()
    rows = build.query("FROM frontier('latest')")
    points = {
        name: [row for row in rows if row["device"] == name and row["cell_id"].startswith("exits")]
        for name in ("fast", "slow")
    }
    assert len(points["slow"]) == len(points["fast"]) > IMAGES
    misses = 0.05 / len(points["slow"])
    for theirs, row in zip(points["fast"], points["slow"], strict=True):
        alike = ("threshold", "acc1", "mean_blocks", "images", "exit_shares")
        assert [row[name] for name in alike] == [theirs[name] for name in alike]
        blocks, is_right = (each[sampled] for each in lender.at(row["threshold"]))
        own_blocks, is_own_right = (each[sampled] for each in borrower.at(row["threshold"]))
        assert row["acc1_bound_points"] == pytest.approx(
            100 * bound(int((is_right != is_own_right).sum()), SAMPLE, misses)
        )
        assert row["mean_blocks_bound"] == pytest.approx(
            2 * bound(int((blocks != own_blocks).sum()), SAMPLE, misses)
        )
        assert (theirs["accuracy_from"], row["accuracy_from"]) == (None, "fast")


def test_the_ladder_says_where_its_accuracy_is_from(build: InMemory) -> None:
    """Routed rows too, at their thresholds; what has no bound is not borrowed."""
    lender, borrower, sampled = store(build)
    routed = build.cell(
        "latency", **{**SLOW, "borrowed_from": None, "threshold": 0.5, "thresholds": (0.5, 0.5)}
    )
    build.records(routed, 10)
    build.store()
    rows = build.query("FROM ladder WHERE device = 'slow'")
    assert [row["cell_id"] for row in rows] == [routed.cell_id]
    (row,) = rows
    blocks, is_right = lender.at(0.5)
    own_blocks, is_own_right = (each[sampled] for each in borrower.at(0.5))
    flipped = int((is_own_right != is_right[sampled]).sum())
    moved = int((own_blocks != blocks[sampled]).sum())
    assert row["acc1"] == pytest.approx(100 * is_right.mean())
    assert row["mean_blocks"] == pytest.approx((blocks + 1).mean())
    assert row["accuracy_from"] == "fast"
    assert row["acc1_bound_points"] == pytest.approx(100 * bound(flipped, SAMPLE))
    assert row["mean_blocks_bound"] == pytest.approx(2 * bound(moved, SAMPLE))
    assert (row["acc5"], row["loss"]) == (None, None)
    assert (
        f"accuracy: borrowed from fast, within {100 * bound(flipped, SAMPLE):.2g} points"
        in (row["note"])
    )
    assert f"(95 %: {flipped} of {SAMPLE} images differ)" in row["note"]
    assert f"(95 %: {moved} of {SAMPLE} images exit elsewhere)" in row["note"]


@pytest.mark.parametrize(
    ("fast", "reason"),
    [
        (
            {"status": "failed", "error": "Traceback\nOSError: gone"},
            "fast has not answered all images (its cell is failed: OSError: gone)",
        ),
        (
            {"status": "skipped", "note": "no onnx there"},
            "fast has not answered all images (its cell is skipped: no onnx there)",
        ),
        ({"precision": "float16"}, "fast has no such all-exit pass in this run"),
        ({"checkpoint_sha256": "c1"}, "fast has no such all-exit pass in this run"),
    ],
)
def test_nothing_is_borrowed_without_a_lender(build: InMemory, fast: Row, reason: str) -> None:
    """NULL with the reason, in the ladder; and no point on any curve."""
    store(build, fast=fast)
    build.store()
    (row,) = build.query("FROM ladder WHERE device = 'slow'")
    assert [row[name] for name in ("acc1", "mean_blocks", "exit_counts")] == [None, None, None]
    assert [row[name] for name in ("accuracy_from", "acc1_bound_points")] == [None, None]
    assert f"accuracy: not borrowed: {reason}" in row["note"]
    for sql in ("frontier('latest')", "at_threshold(0.5)"):
        assert [row for row in build.query(f"FROM {sql}") if row["device"] == "slow"] == []


def test_only_the_named_device_of_the_same_run_lends(build: InMemory) -> None:
    """Not another device that answered all images, nor that device in another run."""
    store(build, fast={"status": "failed"})
    lender, _ = plant(0)
    third = {**FAST, "device": "third", "cell_id": "third"}
    commit(build, build.cell("exits", **third), lender, np.arange(IMAGES))
    build.store()
    store(other := build.beside("run-2"))
    other.store()
    rows = build.query("FROM borrowed_passes")
    assert {row["run_id"]: row["lender_id"] for row in rows} == {"run-1": None, "run-2": "exits-0"}


def test_a_larger_sample_or_a_measured_pass_takes_the_place_of_a_sample(build: InMemory) -> None:
    """Once it is done; the smaller one is said by no view any more."""
    _, borrower, _ = store(build)
    for images, status, expected in ((40, "running", SAMPLE), (50, "done", 50)):
        row = build.cell("exits", **{**SLOW, "images": images, "status": status})
        commit(build, row, borrower, np.arange(images))
        build.store()
        (found,) = build.query(
            "SELECT l.*, c.images FROM ladder l JOIN cells c USING (run_id, cell_id)"
            " WHERE l.device = 'slow' AND c.status = 'done'"
        )
        assert found["images"] == expected
        assert found["accuracy_from"] == "fast"
    measured = build.cell("exits", **{**SLOW, "images": IMAGES, "borrowed_from": None})
    commit(build, measured, borrower, np.arange(IMAGES))
    build.store()
    (found,) = build.query("FROM ladder WHERE device = 'slow'")
    assert (found["cell_id"], found["accuracy_from"]) == (measured.cell_id, None)


def test_logits_that_are_not_finite_in_the_sample_have_no_accuracy(build: InMemory) -> None:
    """As for any pass: of the lender as of the sample."""
    lender, borrower = plant(0)
    commit(build, build.cell("exits", **FAST), lender, np.arange(IMAGES))
    row = build.cell("exits", **SLOW)
    commit(build, row, borrower, np.arange(SAMPLE), loss=float("nan"))
    build.store()
    (found,) = build.query("FROM ladder WHERE device = 'slow'")
    assert found["acc1"] is None
    assert "images with logits that are not finite: 1" in found["note"]
    assert {
        point["acc1"]
        for point in build.query("FROM frontier('latest')")
        if point["device"] == "slow"
    } == {None}
