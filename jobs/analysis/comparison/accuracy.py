"""Compares the predictions of a pair of cells: accuracy, exits, and images that changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jobs.analysis.comparison.comparable import PLACE, count_answered, explain_no_accuracy
from jobs.analysis.comparison.run_data import RunAnswers, Runs
from jobs.common.formatting import Row
from jobs.statistics.mcnemar import AnswerTable, interval, p_value

LOST, WON, BOTH_WRONG = "lost", "won", "both wrong"
"""Outcomes of an image whose prediction changed: right in the first, in the second, in neither."""

_COUNTED = "no test: blocks are counted on the same images"


@dataclass(frozen=True)
class Compared:
    """One figure of one pair of cells.

    Attributes:
        threshold, thresholds: of the first side; both None for a static model, and one of them if
            its exits share a threshold or not. Likewise of the second.
        figure: `accuracy` (percent), `latency` (ms), `energy` (mJ), `exits` (mean blocks).
        first, second: its values; latency and energy as measured, with no control divided out.
        change: percentage points, percent, percent, blocks; with its 95 % interval `low`, `high`.
        p, p_holm: p-value of no change; and adjusted for all tested figures.
        p_reason: why there is no p although it is compared; for times, then no interval either.
        lost, won: images that are now wrong, and now right. Of `exits`, `moved` exit elsewhere.
        both_right, both_wrong: the other images; with `lost` and `won` McNemar's table.
        reason: why it is not compared.
        note: what the interval does not cover, and whether energy is of some rounds only.
        energy_source: of `energy`, what measured it.
    """

    model: str
    threshold: float | None
    second_model: str
    second_threshold: float | None
    dataset: str
    device: str
    node: str | None
    runtime: str
    precision: str
    threads: int
    batch_size: int
    figure: str
    first: float | None = None
    second: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    images: int | None = None
    lost: int | None = None
    won: int | None = None
    moved: int | None = None
    reason: str | None = None
    note: str | None = None
    p_reason: str | None = None
    energy_source: str | None = None
    thresholds: Sequence[float] | None = None
    second_thresholds: Sequence[float] | None = None
    both_right: int | None = None
    both_wrong: int | None = None


def blank(a: Row, b: Row, figure: str, column: str) -> Compared:
    """Return a figure of a pair before any test: what identifies it, and both values."""
    return Compared(
        model=a["model"],
        threshold=a["threshold"],
        thresholds=a["thresholds"],
        second_model=b["model"],
        second_threshold=b["threshold"],
        second_thresholds=b["thresholds"],
        **{axis: a[axis] for axis in PLACE},
        figure=figure,
        first=a[column],
        second=b[column],
    )


def accuracy(runs: Runs, a: Row, b: Row) -> Compared:
    """Compare accuracy on the same images, by McNemar's test; or give the reason why not."""
    row = blank(a, b, "accuracy", "acc1")
    answers = _same_answers(runs, a, b)
    if isinstance(answers, str):
        return replace(row, reason=answers)
    table = AnswerTable.between(*(each.is_correct for each in answers))
    changes = table.changes
    value, low, high = interval(changes)
    return replace(
        row,
        change=value,
        low=low,
        high=high,
        p=p_value(changes),
        images=changes.images,
        lost=table.lost,
        won=table.won,
        both_right=table.both_right,
        both_wrong=table.both_wrong,
    )


def _same_answers(runs: Runs, a: Row, b: Row) -> tuple[RunAnswers, RunAnswers] | str:
    """Return the predictions of both on the same images, or why there are none."""
    if reason := explain_no_accuracy(a, b):
        return reason
    first, second = (run.answers[row["cell_id"]] for run, row in zip(runs, (a, b), strict=True))
    if not np.array_equal(first.image_id, second.image_id):
        return "other images: the same number, but not the same images"
    return first, second


def exits(runs: Runs, a: Row, b: Row) -> Compared | None:
    """Compare where images exit; None for two static models."""
    are_static = all(row["threshold"] is row["thresholds"] is None for row in (a, b))
    if are_static or None in (a["mean_blocks"], b["mean_blocks"]):
        return None
    answers = _same_answers(runs, a, b)
    row = blank(a, b, "exits", "mean_blocks")
    if isinstance(answers, str):
        return replace(row, reason=answers)
    moved = int(np.count_nonzero(answers[0].exit_block != answers[1].exit_block))
    change = b["mean_blocks"] - a["mean_blocks"]
    return replace(row, change=change, images=count_answered(a), moved=moved, p_reason=_COUNTED)


def changed_images(runs: Runs, a: Row, b: Row) -> Iterator[Mapping[str, Any]]:
    """Yield the images of a pair whose prediction changed."""
    answers = _same_answers(runs, a, b)
    if isinstance(answers, str):
        return
    first, second = answers
    places = np.flatnonzero(first.prediction != second.prediction)
    if not len(places):
        return
    sha256 = first.dataset_sha256
    paths, names = runs[0].paths, runs[0].class_names

    for place in places.tolist():
        image_id, label = int(first.image_id[place]), int(first.label[place])
        predictions = int(first.prediction[place]), int(second.prediction[place])
        yield {
            "model": b["model"],
            "threshold": b["threshold"],
            "thresholds": b["thresholds"],
            "device": b["device"],
            "image_id": image_id,
            "path": paths.get((sha256, image_id)),
            "label": label,
            "first": predictions[0],
            "second": predictions[1],
            "first_exit": int(first.exit_block[place]),
            "second_exit": int(second.exit_block[place]),
            "outcome": _outcome(
                is_first_right=bool(first.is_correct[place]),
                is_second_right=bool(second.is_correct[place]),
            ),
            "class_name": names.get((sha256, label)),
            "first_name": names.get((sha256, predictions[0])),
            "second_name": names.get((sha256, predictions[1])),
        }


def _outcome(*, is_first_right: bool, is_second_right: bool) -> str:
    """Name the part of McNemar's table that an image whose prediction changed is in."""
    if is_first_right:
        return LOST
    return WON if is_second_right else BOTH_WRONG
