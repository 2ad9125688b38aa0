"""Compares the cells of two runs, or of one: pairs of cells, and the figures of each pair."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

import storage
from jobs.analysis.comparison.accuracy import Compared, accuracy, changed_images, exits
from jobs.analysis.comparison.comparable import PLACE, make_identity
from jobs.analysis.comparison.latency import times
from jobs.analysis.comparison.run_data import MeasuredRun, Runs, Side
from jobs.common.errors import UsageError
from jobs.common.formatting import (
    Row,
    format_model,
    format_setting,
    format_threads,
    format_threshold,
    list_some,
)
from jobs.statistics.holm import adjust_p_values

_AXES = tuple(axis for axis in PLACE if axis != "node")
"""Axes on which the cells of a pair must agree; if their nodes differ, times are not compared."""


_AXIS_FORMATS: Mapping[str, Callable[[Row], str]] = {
    "model and threshold": lambda row: format_model(row["model"], format_threshold(row)),
    "data set": itemgetter("dataset"),
    "device": itemgetter("device"),
    "runtime": itemgetter("runtime"),
    "precision": itemgetter("precision"),
    "number of threads": format_threads,
    "batch size": lambda row: str(row["batch_size"]),
}
"""What the cells of a pair must agree in, as a message names it."""

_NOT_COMPARED = (
    "throughput and serving are not compared: `gfjobs summary --load` shows those of each run"
)


@dataclass(frozen=True)
class CellPair:
    """Two cells that measure the same.

    Attributes:
        first, second: their rows of `measured`.
        figures: what was compared, or has a reason why not: their rows of the comparison.
        changed: rows of images whose prediction changed; None if not asked for.
    """

    first: Row
    second: Row
    figures: Sequence[Compared]
    changed: Sequence[Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class Comparison:
    """The result of comparing two runs.

    Attributes:
        first, second: the sides.
        rows: every figure of every pair; those not compared have a reason.
        alone: cells without a counterpart, as text.
        notes: remarks that apply to all rows.
        changed: rows of images whose prediction changed; None if not asked for.
        pairs: the same rows and images, by pair of cells.
    """

    first: Side
    second: Side
    rows: Sequence[Compared]
    alone: Sequence[str] = ()
    notes: Sequence[str] = ()
    changed: Sequence[Mapping[str, Any]] | None = None
    pairs: Sequence[CellPair] = ()


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
        first: the side to compare with.
        second: the side that is compared; changes are from the first to it.
        control: a model whose drift between the two runs is divided out of times and energies.
        with_images: list the images whose prediction changed.

    Raises:
        UsageError: a side has no cells, both are the same, or they have no cell in common.
    """
    return compare_runs(read_runs(root, first, second), control, with_images=with_images)


def read_runs(root: storage.Root, first: Side, second: Side) -> Runs:
    """Read the data of both sides.

    Raises:
        UsageError: a side has no cells, or both are the same.
    """
    if first == second:
        raise UsageError(
            f"both sides are run {first.run_id}: name two runs, or what to compare in it with"
            " --models A B or --thresholds A B"
        )
    return MeasuredRun(root, first), MeasuredRun(root, second)


def compare_runs(
    runs: Runs, control: str | None = None, *, with_images: bool = False
) -> Comparison:
    """Compare what has been read, as `compare` does.

    Raises:
        UsageError: both have no cell in common but those that are the same on both sides, or one
            has not timed the control.
    """
    first, second = (run.side for run in runs)
    is_one_run = first.run_id == second.run_id
    same = [row for row in runs[0].rows if is_one_run and second.has(row)]
    pairs, alone = _pairs(*runs, without={_locate(row) for row in same})
    if not pairs:
        raise UsageError(
            f"both sides are the same cells of run {first.run_id}, of {_name_models(same)}: name"
            " two runs, two models, or two thresholds of a model with gates"
            if same and not alone
            else _explain_no_pair(*runs)
        )
    _check_control(runs, control)
    compared = _adjusted(
        [
            CellPair(a, b, figures, [*changed_images(runs, a, b)] if with_images else None)
            for a, b in pairs
            for figures in ([*_figures(runs, a, b, control)],)
        ]
    )
    rows = [row for pair in compared for row in pair.figures]
    return Comparison(
        first,
        second,
        rows,
        alone,
        (
            *_notes(rows, is_one_run=is_one_run, control=control),
            *([f"the same on both sides, so not compared: {_name_models(same)}"] if same else []),
            *([_NOT_COMPARED] if any(run.has_load for run in runs) else []),
        ),
        [image for pair in compared for image in pair.changed or ()] if with_images else None,
        compared,
    )


def _figures(runs: Runs, a: Row, b: Row, control: str | None) -> Iterator[Compared]:
    """Yield the figures of a pair that either run has."""
    every = (
        accuracy(runs, a, b),
        times(runs, a, b, "latency", control),
        times(runs, a, b, "energy", control),
        exits(runs, a, b),
    )
    yield from (figure for figure in every if figure is not None)


def _adjusted(pairs: Sequence[CellPair]) -> list[CellPair]:
    """Adjust the p-values of all figures of all pairs together."""
    ps = iter(adjust_p_values([row.p for pair in pairs for row in pair.figures]))
    return [
        replace(pair, figures=[replace(row, p_holm=next(ps)) for row in pair.figures])
        for pair in pairs
    ]


def _notes(rows: Sequence[Compared], *, is_one_run: bool, control: str | None) -> Sequence[str]:
    is_tested = any(row.figure == "latency" and row.p is not None for row in rows)
    if is_one_run and control:
        return (f"both sides are of one run: the control {control} is not divided out",)
    if is_one_run or control or not is_tested:
        return ()
    return ("no control model: a drift of the machine is not divided out (--control MODEL)",)


def _name_models(rows: Sequence[Row]) -> str:
    names = dict.fromkeys(
        f"all exits of {row['model']}"
        if row["kind"] == "exits" and row["exit_blocks"]
        else str(row["model"])
        for row in rows
    )
    return list_some([*names])


def _locate(row: Row) -> tuple[object, object]:
    """Return what tells a row of one run from all others of it."""
    return row["cell_id"], row["node"]


def _pairs(
    first: MeasuredRun, second: MeasuredRun, without: Collection[tuple[object, object]]
) -> tuple[list[tuple[Row, Row]], list[str]]:
    """Pair the cells that measure the same, on the same node if possible; list the others.

    Cells of one run that are on both sides, as a model without gates is at both thresholds, are
    left out: a cell is not compared with itself.
    """
    pairs, met = [], set()
    rows = [[row for row in run.rows if _locate(row) not in without] for run in (first, second)]
    for a in rows[0]:
        same = [b for b in rows[1] if _is_pair(first.side, a, b)]
        near = [b for b in same if b["node"] == a["node"]] or same[:1]
        pairs += [(a, b) for b in near]
        met |= {id(a) for _ in near} | {id(b) for b in near}
    alone = [
        f"only in {run.side.run_id}: {_name_cell(row)}"
        for run, own in zip((first, second), rows, strict=True)
        for row in own
        if id(row) not in met
    ]
    return pairs, alone


def _name_cell(row: Row) -> str:
    model = format_model(row["model"], format_threshold(row))
    return f"{model} on {format_setting(row)}, batch {row['batch_size']}"


def _explain_no_pair(first: MeasuredRun, second: MeasuredRun) -> str:
    """Say on which axes no cell of one run agrees with any of the other, and list cells of both."""
    runs = (first, second)
    said = (
        f"runs {first.side.run_id} and {second.side.run_id} have no cell in common: a pair has"
        f" the same {', '.join(_AXIS_FORMATS)}"
    )
    lines = [said]
    for name, format_axis in _AXIS_FORMATS.items():
        values = [dict.fromkeys(map(format_axis, run.rows)) for run in runs]
        if values[0].keys().isdisjoint(values[1]):
            both = [
                f"{list_some([*each])} in {run.side.run_id}"
                for each, run in zip(values, runs, strict=True)
            ]
            lines.append(f"no {name} in common: {', '.join(both)}")
    lines += [
        f"cells of {run.side.run_id}: {list_some([*map(_name_cell, run.rows)], '; ')}"
        for run in runs
    ]
    return "\n".join(lines)


def _check_control(runs: tuple[MeasuredRun, MeasuredRun], control: str | None) -> None:
    """Refuse a control that one of the runs has not timed: no time could be divided by it.

    Raises: UsageError: likewise.
    """
    timed = [
        {str(row["model"]) for row in run.all_rows if row["forward_ms"] is not None} for run in runs
    ]
    both = timed[0] & timed[1]
    if control is None or control in both:
        return
    absent = dict.fromkeys(
        run.side.run_id for run, models in zip(runs, timed, strict=True) if control not in models
    )
    raise UsageError(
        f"control {control} is not a timed model of {' or '.join(absent)};"
        f" available: {', '.join(sorted(both)) or 'none that both have'}"
    )


def _is_pair(first: Side, a: Row, b: Row) -> bool:
    if make_identity(a, _AXES) != make_identity(b, _AXES) and not _are_untimed(a, b):
        return False
    if first.model is None and a["model"] != b["model"]:
        return False
    if first.threshold is not None:
        return True
    is_static = first.model is not None and None in (a["threshold"], b["threshold"])
    same = ("threshold", "thresholds")
    return is_static or make_identity(a, same) == make_identity(b, same)


def _are_untimed(a: Row, b: Row) -> bool:
    """Whether both are all-exit passes alike but for batch size, which affects no prediction."""
    axes = tuple(axis for axis in _AXES if axis != "batch_size")
    return a["kind"] == b["kind"] == "exits" and make_identity(a, axes) == make_identity(b, axes)
