"""Formats a plan: how points fold into cells, the cells, and how long they will take."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence

import storage
from jobs.common.formatting import format_counted, format_duration
from jobs.common.tables import fitting_table, format_value
from jobs.common.text import fold
from jobs.grid.datasets import Dataset
from jobs.grid.grid import DEFAULT_MEASURES, Grid
from jobs.machine.devices import CUDA, local_devices
from jobs.machine.power.protocol import EnergyProtocol
from jobs.plan.cell import Cell, explain_unshared_names
from jobs.plan.estimate import Estimate
from jobs.plan.plan import Plan

_MAX_DIGITS = 18  # of class names that are numbers

MAX_DATASETS = 20
"""How many data sets of a plan are described."""


_DROPPABLE = ("device", "batch")
"""Columns that a narrow terminal does not get, the least important first."""


def describe_plan(plan: Plan, estimate: Estimate, *, is_all: bool = False) -> str:
    """The plan as `gfjobs plan` prints it; a terminal gets only the first cells unless `is_all`."""
    grid = plan.grid
    tasks = sum(cell.rounds * len(cell.shards) for cell in plan.runnable)
    at_most = "at most " if _has_until(plan) else ""
    said = ", ".join(
        format_counted(number, *kind.counted_as)
        for kind in storage.KINDS.values()
        if (number := plan.count(kind.name)) or set(kind.measures) & set(DEFAULT_MEASURES)
    )
    points = format_counted(plan.points, "point", "points")
    cells = format_counted(len(plan.cells), "cell", "cells")
    head = fold(f"{grid.name}: {points} → {cells}: {said}", indent="")
    if not plan.runnable:
        return "\n".join([head, *describe_skips(plan), ""])
    lines = [
        head,
        *describe_skips(plan),
        *_absent_devices(grid),
        *(_dataset(dataset) for dataset in grid.datasets[:MAX_DATASETS]),
        *_calibration(grid),
        *_borrowing(plan),
        "an all-exit pass covers every threshold; a routed cell is timed",
        f"{at_most}{format_counted(tasks, 'task', 'tasks')} of at most 1,000 images",
        *_until(plan, estimate),
        _time(plan, estimate, is_open=bool(at_most) and estimate.rounds is None),
        "",
        "",
    ]
    axes = {"runtime": grid.runtimes, "precision": grid.precisions, "threads": grid.threads}
    varied = [axis for axis, values in axes.items() if len(values) > 1]
    columns = ("kind", "model", "dataset", "threshold", "device", *varied, "batch", "images")
    rows = [
        (
            cell.kind,
            cell.model.name,
            cell.dataset.label,
            _thresholds(cell),
            cell.setting.device,
            *(getattr(cell.setting, axis) for axis in varied),
            cell.batch_size,
            _images(cell),
        )
        for cell in plan.runnable
    ]
    table = fitting_table(columns, rows, "cells", droppable=_DROPPABLE, is_all=is_all)
    return "\n".join(lines) + table


def _absent_devices(grid: Grid) -> Iterator[str]:
    """Yield the devices that this machine does not have: a node may have them."""
    lenders = [grid.borrowing.lender] if grid.borrowing else []
    for device in dict.fromkeys([*grid.devices, *lenders]):
        if device not in local_devices():
            hint = f"; a GPU is called {CUDA}" if device == "gpu" else ""
            yield fold(
                f"device {device} is not one of this machine: its cells need --address, and a node"
                f" that registered it{hint}"
            )


def _dataset(dataset: Dataset) -> str:
    images, count = len(dataset.images), dataset.count
    used = f"{count:,} of {images:,}" if count < images else f"{images:,}"
    classes = format_counted(len(dataset.images.class_names), "class", "classes")
    return f"{dataset.label}: {used} images, {classes}"


def _calibration(grid: Grid) -> Iterator[str]:
    if used := grid.calibration:
        yield f"int8: ranges from {used.count:,} images of {used.images.name}/{used.images.split}"


def _borrowing(plan: Plan) -> Iterator[str]:
    """Yield which devices borrow their accuracy, from where."""
    borrowers = [cell for cell in plan.runnable if cell.borrowed_from]
    if borrowers and (used := plan.grid.borrowing):
        devices = ", ".join(dict.fromkeys(cell.setting.device for cell in borrowers))
        yield fold(
            f"accuracy of {devices}: borrowed from {used.lender}, with a bound from a sample of"
            f" {format_counted(used.sample, 'image', 'images')}"
        )


def describe_skips(plan: Plan) -> list[str]:
    """One paragraph per reason why cells of a plan are skipped, and one if no cell is left to run.

    Also one each if the grid's `energy`, `serving`, `until` or `accuracy` has no effect, and those
    on labels that could not be checked.
    """
    reasons = Counter(cell.skipped for cell in plan.cells if cell.skipped)
    lines = [
        fold(f"{format_counted(number, 'cell', 'cells')} will be skipped: {reason}")
        for reason, number in reasons.items()
    ]
    if plan.grid.energy != EnergyProtocol() and "energy" not in plan.grid.measure:
        lines.append("`energy` has no effect: `measure` does not include energy")
    if plan.grid.serving.arrivals and "serving" not in plan.grid.measure:
        lines.append("`serving` has no effect: `measure` does not include serving")
    if plan.grid.latency.until and plan.runnable and not _has_until(plan):
        lines.append("`until` has no effect: no cell has a mean time")
    lines += map(fold, _unborrowed(plan.grid))
    lines += map(fold, dict.fromkeys(_unchecked_labels(plan.grid)))
    return lines if plan.runnable else [*lines, "nothing is left to run"]


def _has_until(plan: Plan) -> bool:
    return any(cell.until for cell in plan.runnable)


def _unborrowed(grid: Grid) -> Iterator[str]:
    """Yield the data sets whose images are no more than the sample."""
    for dataset in grid.datasets if grid.borrowing else ():
        if grid.borrowing and dataset.count <= grid.borrowing.sample:
            yield (
                f"`accuracy` has no effect on {dataset.label}, which has"
                f" {format_counted(dataset.count, 'image', 'images')}, no more than the sample of"
                f" {grid.borrowing.sample:,}: every device answers all of them"
            )


def _unchecked_labels(grid: Grid) -> Iterator[str]:
    """Yield where a label may be another class in the model, which would show in the accuracy only.

    Classes whose names the model knows were checked with the grid.
    """
    for dataset, model in itertools.product(grid.datasets, grid.models):
        names, known = dataset.images.class_names, model.metadata.class_names
        is_left_out = grid.excludes({"model": model.name, "dataset": dataset.label})
        if is_left_out or set(names) <= set(known):
            continue
        if label := _first_out_of_order(names):
            yield (
                f"the classes of {dataset.label} are numbers sorted as text: label {label} is"
                f" {names[label]}. If {model.name} has them in the order of the numbers, give all"
                " as many digits, such as 002"
            )
        elif said := explain_unshared_names(model, dataset):
            yield said
        elif not known and len(names) < model.config.num_classes:
            yield (
                f"{dataset.label} has {len(names):,} of the {model.config.num_classes:,} classes of"
                f" {model.name}, which has no names for them: whether they have the same labels is"
                " not known. `gfjobs import --classes` names them"
            )


def _first_out_of_order(names: Sequence[str]) -> int | None:
    """The first label that is not in the order of the numbers that the names are, if they are."""
    if not all(name.isdecimal() and len(name) <= _MAX_DIGITS for name in names):
        return None
    ordered = sorted(names, key=int)
    return next((label for label, name in enumerate(names) if name != ordered[label]), None)


def _images(cell: Cell) -> str:
    """Images and rounds, a range if their number is found out; or how requests arrive."""
    if asked := cell.arrivals:
        return f"{asked.per_s:g}/s, {asked.seconds:g} s x {cell.rounds}"
    fewest = f"{cell.until.fewest}-" if cell.until and cell.until.fewest < cell.rounds else ""
    return f"{cell.images} x {fewest}{cell.rounds}" if cell.is_timed else f"{cell.images}"


def _thresholds(cell: Cell) -> str:
    if cell.model.gates and not cell.is_timed:
        return "all"
    if cell.threshold is not None:
        return f"{cell.threshold:g}"
    return format_value(cell.thresholds) if cell.thresholds else "–"


def _until(plan: Plan, estimate: Estimate) -> Iterator[str]:
    until = plan.grid.latency.until
    if until is None or not _has_until(plan):
        return
    of = "each ratio to the baseline" if until.of == "ratio" else "each mean"
    told = (
        f"about {estimate.rounds} by earlier runs"
        if estimate.rounds
        else "no earlier run tells how many"
    )
    rounds = f"{until.fewest} to {until.most}" if until.fewest < until.most else f"{until.most}"
    yield fold(f"{rounds} rounds, until {of} is known to ±{until.pct:g} %: {told}")


def _time(plan: Plan, estimate: Estimate, *, is_open: bool) -> str:
    if not estimate.known:
        return "no time estimate: no earlier run has timed such cells"
    new = format_counted(estimate.unknown, "cell is", "cells are")
    time = f"{'at most' if is_open else 'about'} {format_duration(estimate.seconds)}"
    if estimate.unknown > estimate.known:
        return f"no time estimate: {new} new, and the other {estimate.known} take {time}"
    by = "`serving`" if all(cell.arrivals for cell in plan.runnable) else "earlier runs"
    text = f"{time} of device time, by {by}"
    without = format_counted(estimate.unknown, "new cell", "new cells")
    return f"{text}, without {without}" if estimate.unknown else text
