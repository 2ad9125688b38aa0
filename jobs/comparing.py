"""Comparing the cells of two runs, or of one: what SQL gives, paired and tested."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

import storage
from jobs.choice.bootstrap import Estimate
from jobs.comparison.comparable import PLACE, answered, identity_of, why_no_accuracy, why_no_times
from jobs.comparison.holm import adjusted
from jobs.comparison.log_ratio import Logs, log_ratio, percent
from jobs.comparison.log_ratio import p_value as p_of_ratio
from jobs.comparison.mcnemar import Changes, interval
from jobs.comparison.mcnemar import p_value as p_of_changes
from jobs.errors import UsageError
from jobs.wording import Row, threshold_of

_AXES = tuple(axis for axis in PLACE if axis != "node")
"""What a pair must agree in to be one; another node is a reason not to compare times."""


@dataclass(frozen=True)
class Answers:
    """What the images of a cell were answered, in order of image_id; (N,) each."""

    dataset_sha256: str
    image_id: NDArray[np.int64]
    label: NDArray[np.int64]
    prediction: NDArray[np.int64]
    is_correct: NDArray[np.bool_]
    exit_block: NDArray[np.int64]


@dataclass(frozen=True)
class Times:
    """Logarithms of a cell's times on one node: (rounds, images), by number and by first image."""

    rounds: tuple[int, ...]
    images: tuple[int, ...]
    logs: Logs


@dataclass(frozen=True)
class Side:
    """One side of a comparison: the cells of a run, of one model or threshold where named."""

    run_id: str
    model: str | None = None
    threshold: float | None = None

    def has(self, row: Row) -> bool:
        """Whether a row of `measured` is on it; a static model is at every threshold."""
        return (self.model is None or row["model"] == self.model) and (
            self.threshold is None
            or row["threshold"] is None
            or row["threshold"] == float(np.float32(self.threshold))
        )


@dataclass(frozen=True)
class Compared:
    """One figure of one pair of cells.

    Attributes:
        figure: `accuracy` (percent), `latency` (ms), `energy` (mJ), `exits` (mean blocks).
        first, second: its values; of latency and energy as measured, with no control divided out.
        change: percentage points, percent, percent, blocks; with its 95 % interval `low`, `high`.
        p, p_holm: that there is no change; and among all that were tested.
        lost, won: images that are wrong now, and right now. Of `exits`, `moved` leave elsewhere.
        reason: why it is not compared.
        note: what the interval does not know.
    """

    model: str
    threshold: str
    second_model: str
    second_threshold: str
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


@dataclass(frozen=True)
class Comparison:
    """Two runs compared.

    Attributes:
        first, second: the sides.
        rows: every figure of every pair, those not compared with their reason.
        alone: cells that have no counterpart, in words.
        notes: what is true of all.
        changed: rows of images that were answered otherwise, where asked for.
    """

    first: Side
    second: Side
    rows: Sequence[Compared]
    alone: Sequence[str] = ()
    notes: Sequence[str] = ()
    changed: Sequence[Mapping[str, Any]] = ()


@dataclass
class _Run:
    """One run's rows, read when they are needed."""

    root: storage.Root
    side: Side
    rows: list[Row] = field(init=False)

    def __post_init__(self) -> None:
        run_id = self.side.run_id
        table = storage.named_query(self.root, "measured_in", run_ids=[run_id], run_id=run_id)
        self.all_rows: list[Row] = table.to_pylist()
        self.rows = [row for row in self.all_rows if self.side.has(row)]
        if not self.rows:
            known = ", ".join(
                sorted({f"{row['model']} at {threshold_of(row)}" for row in self.all_rows})
            )
            raise UsageError(
                f"run {run_id} has no such cells; it has {known or 'no accuracy or latency yet'}"
            )
        self.answers = read_answers(self.root, run_id)
        self.times = read_times(self.root, run_id)
        self.energies = read_energies(self.root, run_id)

    @cached_property
    def paths(self) -> Mapping[tuple[str, int], str]:
        """The images of its data sets."""
        run_id = self.side.run_id
        table = storage.named_query(self.root, "images_of", run_ids=[run_id], run_id=run_id)
        return {(i["dataset_sha256"], i["image_id"]): i["path"] for i in table.to_pylist()}

    def control(self, row: Row, name: str | None) -> Row | None:
        """The timed cell of the control beside a cell."""
        place = identity_of(row, PLACE)
        return next(
            (
                other
                for other in self.all_rows
                if other["model"] == name
                and identity_of(other, PLACE) == place
                and (other["cell_id"], other["node"]) in self.times
            ),
            None,
        )


def read_answers(root: storage.Root, run_id: str) -> dict[str, Answers]:
    """The answers of a run by cell_id, of each cell that the ladder has a row of."""
    table = storage.named_query(root, "answers_in", run_ids=[run_id], run_id=run_id)
    found = {}
    for place, (cell_id, sha256) in enumerate(
        zip(*(table[name].to_pylist() for name in ("cell_id", "dataset_sha256")), strict=True)
    ):
        columns = {
            name: _numbers(table[name][place])
            for name in ("image_id", "label", "prediction", "is_correct", "exit_block")
        }
        columns["is_correct"] = columns["is_correct"].astype(bool)
        found[cell_id] = Answers(sha256, **columns)
    return found


def _numbers(values: Any) -> NDArray[Any]:
    """The values of one list of an Arrow table."""
    numbers: NDArray[Any] = values.values.to_numpy(zero_copy_only=False)
    return numbers


def read_times(root: storage.Root, run_id: str) -> dict[tuple[str, str | None], Times]:
    """The forward times of a run's routed cells by cell_id and node, in unthrottled rounds.

    What was timed at once, a batch, is one time. Only images that every round timed count.
    """
    rows = storage.named_query(root, "timed_batches", run_ids=[run_id], run_id=run_id).to_pylist()
    found = {}
    for key, group in groupby(rows, key=lambda row: (row["cell_id"], row["node"])):
        rounds = {
            row["round"]: dict(
                zip(
                    row["first_image_id"],
                    np.log(np.array(row["total_ms"]) / np.array(row["images"])).tolist(),
                    strict=True,
                )
            )
            for row in group
        }
        images = sorted(set.intersection(*(set(times) for times in rounds.values())))
        if images:
            logs = np.array([[times[image] for image in images] for times in rounds.values()])
            found[key] = Times(tuple(rounds), tuple(images), logs)
    return found


def read_energies(root: storage.Root, run_id: str) -> dict[tuple[str, str | None], Times]:
    """Logarithms of the energy of an image in each window of a run's routed cells: one column."""
    rows = storage.named_query(root, "energies_in", run_ids=[run_id], run_id=run_id).to_pylist()
    found = {}
    for key, group in groupby(rows, key=lambda row: (row["cell_id"], row["node"])):
        windows = {row["round"]: row["energy_mj"] for row in group}
        if all(energy > 0 for energy in windows.values()):
            logs = np.log(np.array(list(windows.values())))[:, None]
            found[key] = Times(tuple(windows), (0,), logs)
    return found


def compare(
    root: storage.Root,
    first: Side,
    second: Side,
    control: str | None = None,
    *,
    with_images: bool = False,
) -> Comparison:
    """Compare the cells of two sides that measure the same.

    Args:
        root: the results root.
        first: what is compared with.
        second: what is compared; changes are from the first to it.
        control: a model whose drift between the two runs is divided out of times and energies.
        with_images: list the images that were answered otherwise.

    Raises:
        UsageError: a side has no cells, both are the same, or no pair has anything in common.
    """
    if first == second:
        raise UsageError(
            f"both sides are run {first.run_id}: name two runs, or what to compare in it with"
            " --models A B or --thresholds A B"
        )
    runs = _Run(root, first), _Run(root, second)
    pairs, alone = _pairs(*runs)
    if not pairs:
        raise UsageError(
            f"runs {first.run_id} and {second.run_id} have no cell in common: a pair has the same"
            " model, threshold, data set, device, runtime, precision, threads and batch size."
            f" {'; '.join(alone[:4])}"
        )
    rows = [
        compared
        for a, b in pairs
        for compared in (
            _accuracy(runs, a, b),
            _times(runs, a, b, "latency", control),
            _times(runs, a, b, "energy", control),
            _exits(runs, a, b),
        )
        if compared is not None
    ]
    ps = adjusted([row.p for row in rows])
    rows = [replace(row, p_holm=p) for row, p in zip(rows, ps, strict=True)]
    changed = [image for a, b in pairs for image in _changed(runs, a, b)] if with_images else []
    return Comparison(
        first,
        second,
        rows,
        alone,
        _notes(rows, is_one_run=first.run_id == second.run_id, control=control),
        changed,
    )


def _notes(rows: Sequence[Compared], *, is_one_run: bool, control: str | None) -> Sequence[str]:
    if is_one_run or control or not any(row.figure == "latency" and row.p for row in rows):
        return ()
    return ("no control model: a drift of the machine is not divided out (--control MODEL)",)


def _pairs(first: _Run, second: _Run) -> tuple[list[tuple[Row, Row]], list[str]]:
    """Cells that measure the same, those of one node with each other; and those left alone."""
    pairs, met = [], set()
    for a in first.rows:
        same = [b for b in second.rows if _is_pair(first.side, a, b)]
        near = [b for b in same if b["node"] == a["node"]] or same[:1]
        pairs += [(a, b) for b in near]
        met |= {id(a) for _ in near} | {id(b) for b in near}
    alone = [
        f"only in {run.side.run_id}: {row['model']} at {threshold_of(row)} on {row['dataset']},"
        f" {row['device']}, {row['runtime']} {row['precision']}"
        for run in (first, second)
        for row in run.rows
        if id(row) not in met
    ]
    return pairs, alone


def _is_pair(first: Side, a: Row, b: Row) -> bool:
    if identity_of(a, _AXES) != identity_of(b, _AXES) and not _are_untimed(a, b):
        return False
    if first.model is None and a["model"] != b["model"]:
        return False
    if first.threshold is not None:
        return True
    is_static = first.model is not None and None in (a["threshold"], b["threshold"])
    same = ("threshold", "thresholds")
    return is_static or identity_of(a, same) == identity_of(b, same)


def _are_untimed(a: Row, b: Row) -> bool:
    """All-exit passes may have batches of other sizes: no answer depends on it."""
    axes = tuple(axis for axis in _AXES if axis != "batch_size")
    return a["kind"] == b["kind"] == "exits" and identity_of(a, axes) == identity_of(b, axes)


def _blank(a: Row, b: Row, figure: str, column: str) -> Compared:
    return Compared(
        model=a["model"],
        threshold=threshold_of(a),
        second_model=b["model"],
        second_threshold=threshold_of(b),
        **{axis: a[axis] for axis in PLACE},
        figure=figure,
        first=a[column],
        second=b[column],
    )


def _accuracy(runs: tuple[_Run, _Run], a: Row, b: Row) -> Compared:
    row = _blank(a, b, "accuracy", "acc1")
    answers = _same_answers(runs, a, b)
    if isinstance(answers, str):
        return replace(row, reason=answers)
    changes = Changes.between(*(each.is_correct for each in answers))
    value, low, high = interval(changes)
    return replace(
        row,
        change=value,
        low=low,
        high=high,
        p=p_of_changes(changes),
        images=changes.images,
        lost=changes.lost,
        won=changes.won,
    )


def _same_answers(runs: tuple[_Run, _Run], a: Row, b: Row) -> tuple[Answers, Answers] | str:
    """The answers of both to the same images, or why there are none."""
    if reason := why_no_accuracy(a, b):
        return reason
    first, second = (run.answers[row["cell_id"]] for run, row in zip(runs, (a, b), strict=True))
    if not np.array_equal(first.image_id, second.image_id):
        return "other images: as many, but not the same"
    return first, second


def _exits(runs: tuple[_Run, _Run], a: Row, b: Row) -> Compared | None:
    """Where images leave; nothing is said of two static models."""
    if None in (a["mean_blocks"], b["mean_blocks"]) or a["threshold"] == b["threshold"] is None:
        return None
    answers = _same_answers(runs, a, b)
    row = _blank(a, b, "exits", "mean_blocks")
    if isinstance(answers, str):
        return replace(row, reason=answers)
    moved = int(np.count_nonzero(answers[0].exit_block != answers[1].exit_block))
    change = b["mean_blocks"] - a["mean_blocks"]
    return replace(row, change=change, images=answered(a), moved=moved)


def _times(
    runs: tuple[_Run, _Run], a: Row, b: Row, figure: str, control: str | None
) -> Compared | None:
    """Latency by image, or energy by window; nothing where neither run has any."""
    column = {"latency": "forward_ms", "energy": "energy_mj"}[figure]
    if a[column] is None and b[column] is None:
        return None
    row = _blank(a, b, figure, column)
    if reason := why_no_times(a, b):
        return replace(row, reason=reason)
    tables = [run.times if figure == "latency" else run.energies for run in runs]
    sides = [_of(table, each) for table, each in zip(tables, (a, b), strict=True)]
    if None in sides:
        why = {
            "latency": "fewer than 11 samples",
            "energy": "no power, or none above idle, in some of its rounds",
        }[figure]
        return replace(row, reason=why)
    first, second = _aligned([side for side in sides if side is not None])
    if not first.images:
        return replace(row, reason="other images: none was timed in every round of both")
    is_one_run = runs[0].side.run_id == runs[1].side.run_id
    note = None
    if control is not None and not is_one_run:
        divided = _divided(runs, (a, b), (first, second), tables, control)
        if isinstance(divided, str):
            note = divided
        else:
            first, second = divided
    if min(len(first.rounds), len(second.rounds)) == 1:
        once = "one round: the interval does not know how rounds differ"
        note = "; ".join(filter(None, (note, once)))
    are_paired = is_one_run and first.rounds == second.rounds
    estimate = log_ratio(first.logs, second.logs, are_paired=are_paired)
    p = p_of_ratio(estimate)
    shown = Estimate(*(percent(log) for log in estimate))
    return replace(
        row,
        change=shown.value,
        low=None if p is None else shown.low,
        high=None if p is None else shown.high,
        p=p,
        images=len(first.images) if figure == "latency" else None,
        note=note,
    )


def _of(table: Mapping[tuple[str, str | None], Times], row: Row) -> Times | None:
    return table.get((row["cell_id"], row["node"]))


def _aligned(sides: Sequence[Times]) -> list[Times]:
    """Only the images that all have."""
    images = sorted(set.intersection(*(set(side.images) for side in sides)))
    aligned = []
    for side in sides:
        places = {image: place for place, image in enumerate(side.images)}
        logs = side.logs[:, [places[image] for image in images]]
        aligned.append(Times(side.rounds, tuple(images), logs))
    return aligned


def _divided(
    runs: tuple[_Run, _Run],
    pair: tuple[Row, Row],
    sides: tuple[Times, Times],
    tables: Sequence[Mapping[tuple[str, str | None], Times]],
    name: str,
) -> tuple[Times, Times] | str:
    """Both sides with the control's figures divided out, round by round; or why not."""
    if pair[0]["model"] == name:
        return "the control itself: nothing is divided out"
    controls = [run.control(row, name) for run, row in zip(runs, pair, strict=True)]
    absent = [run.side.run_id for run, row in zip(runs, controls, strict=True) if row is None]
    first, second = controls
    if first is None or second is None:
        return f"no control {name} beside it in {' and '.join(absent)}"
    if first["checkpoint_sha256"] != second["checkpoint_sha256"]:
        return f"the control {name} has other weights in each run: not divided out"
    if reason := why_no_times(first, second):
        return f"the control {name} cannot be compared ({reason}): not divided out"
    divided = []
    for table, row, side in zip(tables, (first, second), sides, strict=True):
        its = _of(table, row)
        rounds = sorted(set(side.rounds) & set(its.rounds)) if its else []
        if its is None or not rounds:
            return f"the control {name} has no rounds beside it: not divided out"
        ours = side.logs[[side.rounds.index(number) for number in rounds]]
        level = its.logs[[its.rounds.index(number) for number in rounds]].mean(axis=1)
        divided.append(Times(tuple(rounds), side.images, ours - level[:, None]))
    return divided[0], divided[1]


def _changed(runs: tuple[_Run, _Run], a: Row, b: Row) -> Iterator[Mapping[str, Any]]:
    """The images of a pair that were answered otherwise."""
    answers = _same_answers(runs, a, b)
    if isinstance(answers, str):
        return
    first, second = answers
    places = np.flatnonzero(first.prediction != second.prediction)
    if not len(places):
        return
    paths = runs[0].paths
    for place in places.tolist():
        image_id = int(first.image_id[place])
        yield {
            "model": b["model"],
            "threshold": threshold_of(b),
            "device": b["device"],
            "image_id": image_id,
            "path": paths.get((first.dataset_sha256, image_id)),
            "label": int(first.label[place]),
            "first": int(first.prediction[place]),
            "second": int(second.prediction[place]),
            "first_exit": int(first.exit_block[place]),
            "second_exit": int(second.exit_block[place]),
        }
