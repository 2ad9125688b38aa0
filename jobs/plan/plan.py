"""The plan: a grid's points folded into cells, the units of work.

One all-exit pass gives the predictions of an early-exit model at every threshold; images are routed
through the gates for real only to measure latency or power.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, product
from pathlib import Path
from typing import Any

import storage
from jobs.common.yaml_document import Document
from jobs.grid.datasets import Dataset
from jobs.grid.grid import INT8, SHARD_IMAGES, Grid
from jobs.grid.models import Model
from jobs.grid.reader import read_grid
from jobs.plan.arrivals import Arrivals
from jobs.plan.cell import Cell, Later, Setting, comparison_key, find_added, is_compared

HELD_BYTES = 256 * 1024 * 1024
"""Most memory of the prepared images that requests take in turn: 445 of them at 224 pixels."""

_FLOAT_BYTES = 4


@dataclass(frozen=True)
class Plan:
    """A grid and the cells that measure it.

    Attributes:
        grid: the grid.
        points: number of combinations that the grid asks for.
        cells: each once, in the order of the grid.
        later: additions that are timed after the rest, one after the other.
    """

    grid: Grid
    points: int
    cells: tuple[Cell, ...]
    later: tuple[Later, ...] = ()

    @cached_property
    def late_cells(self) -> Mapping[str, str]:
        """When each timed cell was added that took no turns with those it is compared with."""
        found: dict[str, str] = {}
        compared = sorted(filter(is_compared, self.cells), key=comparison_key)
        for _, cells in groupby(compared, comparison_key):
            found |= find_added(tuple(cells), self.later)
        starts = {
            cell_id for each in self.later for cell_id in each.rounds if not each.rounds[cell_id][0]
        }
        return {cell_id: added_at for cell_id, added_at in found.items() if cell_id in starts}

    @cached_property
    def runnable(self) -> tuple[Cell, ...]:
        """The cells to run: all except those that are known to be skipped."""
        return tuple(cell for cell in self.cells if not cell.skipped)

    def count(self, kind: str) -> int:
        """The number of cells of a kind."""
        return sum(cell.kind == kind for cell in self.cells)


def make_plan(grid: Grid) -> Plan:
    """Fold a grid's points into cells."""
    cells: dict[str, Cell] = {}
    points = 0
    for model, dataset, setting in _combinations(grid):
        if setting.device in grid.devices:
            points += sum(threshold.holds(model) for threshold in grid.thresholds)
        for cell in _cells(grid, model, dataset, setting):
            cells.setdefault(cell.cell_id, cell)
    return Plan(grid, points, tuple(cells.values()))


def _combinations(grid: Grid) -> Iterator[tuple[Model, Dataset, Setting]]:
    """Every model, data set and setting that is not excluded; the lender's last, if it is added."""
    axes = product(
        grid.models, grid.datasets, _devices(grid), grid.runtimes, grid.precisions, grid.threads
    )
    for model, dataset, device, runtime, precision, threads in axes:
        setting = Setting(device, runtime, precision, threads)
        names = {
            "model": model.name,
            "dataset": dataset.label,
            **{axis: str(value) for axis, value in vars(setting).items()},
        }
        # A lender that is none of the grid's devices is there for those that are.
        asked = [device] if device in grid.devices else grid.devices
        if not all(grid.excludes({**names, "device": each}) for each in asked):
            yield model, dataset, setting


def _devices(grid: Grid) -> tuple[str, ...]:
    """The devices of a grid, and the lender of their accuracy."""
    lender = (grid.borrowing.lender,) if grid.borrowing else ()
    return tuple(dict.fromkeys((*grid.devices, *lender)))


def _cells(grid: Grid, model: Model, dataset: Dataset, setting: Setting) -> Iterator[Cell]:
    """The cells of each kind that the grid asks for, in the order of `storage.KINDS`.

    An all-exit pass takes all images once, or a sample if the device borrows its accuracy; timed
    cells take the first of them in rounds. A static model is routed once, one with gates once per
    threshold that is written out. A lender that is none of the grid's devices only answers.
    """
    borrowing = grid.borrowing
    is_borrower = borrowing is not None and setting.device != borrowing.lender
    answered = min(borrowing.sample, dataset.count) if borrowing and is_borrower else dataset.count
    images = min(dataset.count, grid.latency.images)
    untimed = {
        "batch_size": min(grid.accuracy_batch, answered),
        "images": answered,
        "rounds": 1,
        "warmup_images": 0,
    }
    timed = _timed_in(min(grid.latency_batch, images), images, grid, model)
    in_one_task = timed | {"images": min(images, SHARD_IMAGES), "rounds": 1}
    energy = grid.energy if "energy" in grid.measure else None
    is_quantised = setting.precision == INT8 and model.graph_precision is None
    written = [each.of(model) for each in grid.thresholds if each.is_written and each.holds(model)]
    for kind in storage.KINDS.values():
        if not set(kind.measures) & set(grid.measure) or (kind.needs_gates and not model.gates):
            continue
        if kind.is_timed and setting.device not in grid.devices:
            continue
        lender = borrowing.lender if borrowing and answered < dataset.count else None
        numbers = in_one_task if kind.is_by_part else timed if kind.is_timed else untimed
        loads = _loads(kind, images, grid, model) or [numbers]
        routes = written if kind.is_routed and model.gates else [()]
        until = grid.latency.until if kind.table in storage.TIMED_COLUMNS else None
        ends = {"until": until, "rounds": until.most} if until else {}
        for thresholds, load in product(routes, loads):
            yield Cell(
                kind=kind.name,
                model=model,
                dataset=dataset,
                setting=setting,
                thresholds=thresholds,
                energy=energy if kind.has_energy else None,
                calibration=grid.calibration if is_quantised else None,
                borrowed_from=None if kind.is_timed else lender,
                **(load | ends),
            )


def _timed_in(batch_size: int, images: int, grid: Grid, model: Model) -> dict[str, Any]:
    """The numbers of a timed cell.

    Whole batches warm it up, at least one per exit, so that the path to every exit is warm.
    """
    warmups = max(math.ceil(grid.latency.warmup_images / batch_size), model.gates + 1)
    return {
        "batch_size": batch_size,
        "images": images,
        "rounds": grid.latency.given_rounds,
        "warmup_images": warmups * batch_size,
    }


def _loads(kind: storage.Kind, images: int, grid: Grid, model: Model) -> list[dict[str, Any]]:
    """The numbers of each cell of a kind that has one per batch size, or per rate of arrivals.

    A round is one task: its batches are whole, and its requests form one queue.
    """
    in_task = min(images, SHARD_IMAGES)
    if kind.is_by_batch:
        sizes = dict.fromkeys(min(size, in_task) for size in grid.throughput_batches)
        return [_timed_in(size, in_task // size * size, grid, model) for size in sizes]
    if kind.is_by_request:
        numbers = _timed_in(1, min(in_task, _held_images(model)), grid, model)
        protocol = grid.serving
        return [
            numbers | {"arrivals": Arrivals(rate, protocol.seconds)} for rate in protocol.arrivals
        ]
    return []


def _held_images(model: Model) -> int:
    """How many prepared images fit into HELD_BYTES: (3, crop, crop) of float32 each."""
    return max(HELD_BYTES // (3 * model.metadata.preprocessing.crop**2 * _FLOAT_BYTES), 1)


def plan_document(
    document: Document,
    base: Path,
    devices: Sequence[str] | None,
    *,
    may_download: bool = True,
) -> Plan:
    """Read, check and plan a grid.

    Args:
        document: the file.
        base: the folder that relative paths start from.
        devices: the names that `devices` may use; None: any that a node could have.
        may_download: whether a data set that is not on this machine is downloaded.

    Raises:
        BadInputError: the grid has problems, or excludes every combination.
    """
    plan = make_plan(read_grid(document, devices, base, may_download=may_download))
    if not plan.cells:
        root = document.root()
        root.problem("`exclude` leaves nothing to run", "a grid of at least one combination")
        document.check()
    return plan
