"""Formats a plan: how points fold into cells, the cells, and how long they will take."""

from __future__ import annotations

from collections import Counter

import storage
from jobs.common.formatting import format_counted, format_duration
from jobs.common.tables import format_value, long_table
from jobs.common.text import fold
from jobs.grid.grid import DEFAULT_MEASURES
from jobs.machine.power.protocol import EnergyProtocol
from jobs.plan.cell import Cell
from jobs.plan.estimate import Estimate
from jobs.plan.plan import Plan


def describe_plan(plan: Plan, estimate: Estimate, *, is_all: bool = False) -> str:
    """The plan as `gfjobs plan` prints it; a terminal gets only the first cells unless `is_all`."""
    grid = plan.grid
    tasks = sum(cell.rounds * len(cell.shards) for cell in plan.runnable)
    said = ", ".join(
        format_counted(number, *kind.counted_as)
        for kind in storage.KINDS.values()
        if (number := plan.count(kind.name)) or set(kind.measures) & set(DEFAULT_MEASURES)
    )
    head = fold(f"{grid.name}: {plan.points} points → {len(plan.cells)} cells: {said}", indent="")
    if not plan.runnable:
        return "\n".join([head, *describe_skips(plan), ""])
    lines = [
        head,
        *describe_skips(plan),
        "an all-exit pass covers every threshold; a routed cell is timed",
        f"{format_counted(tasks, 'task', 'tasks')} of at most 1,000 images",
        _time(estimate),
        "",
        "",
    ]
    columns = ("kind", "model", "dataset", "threshold", "device", "batch", "images")
    rows = [
        (
            cell.kind,
            cell.model.name,
            cell.dataset.label,
            _thresholds(cell),
            cell.setting.device,
            cell.batch_size,
            f"{cell.images} x {cell.rounds}" if cell.is_timed else f"{cell.images}",
        )
        for cell in plan.runnable
    ]
    return "\n".join(lines) + long_table(columns, rows, "cells", is_all=is_all)


def describe_skips(plan: Plan) -> list[str]:
    """One paragraph per reason why cells of a plan are skipped, and one if no cell is left to run.

    Also one if the grid's `energy` has no effect.
    """
    reasons = Counter(cell.skipped for cell in plan.cells if cell.skipped)
    lines = [
        fold(f"{format_counted(number, 'cell', 'cells')} will be skipped: {reason}")
        for reason, number in reasons.items()
    ]
    if plan.grid.energy != EnergyProtocol() and "energy" not in plan.grid.measure:
        lines.append("`energy` has no effect: `measure` does not include energy")
    return lines if plan.runnable else [*lines, "nothing is left to run"]


def _thresholds(cell: Cell) -> str:
    if cell.model.gates and not cell.is_timed:
        return "all"
    if cell.threshold is not None:
        return f"{cell.threshold:g}"
    return format_value(cell.thresholds) if cell.thresholds else "–"


def _time(estimate: Estimate) -> str:
    if not estimate.known:
        return "no time estimate: no earlier run has timed such cells"
    text = f"about {format_duration(estimate.seconds)} of device time, by earlier runs"
    return text + (
        f"; {format_counted(estimate.unknown, 'cell is', 'cells are')} new"
        if estimate.unknown
        else ""
    )
