"""The plan: a grid's points folded into cells, the units of work.

Every threshold of an early-exit model is answered by one all-exit pass; only what needs a clock or
a power meter is routed through the gates for real.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from itertools import groupby, product

import storage
from jobs.grid.datasets import Dataset
from jobs.grid.grid import SHARD_IMAGES, Grid
from jobs.grid.models import Model
from jobs.machine.power.protocol import EnergyProtocol
from jobs.plan.task import Shard, common_threshold, is_timed, shards
from jobs.plan.unsupported import why_skipped

_SORTED = json.JSONEncoder(sort_keys=True)

PROTOCOL_VERSION = 1
"""Raised whenever the same cell would be measured in another way."""


@dataclass(frozen=True)
class Setting:
    """Where and how a model runs: the axes beside model, data set and threshold."""

    device: str
    runtime: str
    precision: str
    threads: int


@dataclass(frozen=True)
class Cell:
    """One unit of work.

    Attributes:
        kind: `exits`, an all-exit pass; `latency`, routed under the clock; `exit_costs`, sent
            out at every exit under the clock; or `profile`, a clock around each part.
        thresholds: one float32 number a gate, for routed cells of models with gates; else empty.
        batch_size: images in a batch.
        images: images of one round.
        rounds: passes over them.
        warmup_images: routed before each task without being recorded; 0 for all-exit passes.
        energy: the windows that its power is taken in; None where no energy is asked for.
    """

    kind: storage.CellKind
    model: Model
    dataset: Dataset
    setting: Setting
    thresholds: tuple[float, ...]
    batch_size: int
    images: int
    rounds: int
    warmup_images: int
    energy: EnergyProtocol | None = None

    @cached_property
    def cell_id(self) -> str:
        """Digest of all that determines the result; rounds are not in it, so more can be added."""
        identity = {
            "kind": self.kind,
            "model": self.model.name,
            "checkpoint": self.model.sha256,
            "exit_blocks": self.model.config.exit_blocks,
            "preprocessing": self.model.preprocessing,
            "dataset": self.dataset.label,
            "content": self.dataset.images.sha256,
            "limit": self.dataset.limit,
            "images": self.images,
            "setting": vars(self.setting),  # as `asdict`, whose copies take most of a plan's time
            "thresholds": self.thresholds,
            "batch_size": self.batch_size,
            "warmup_images": self.warmup_images,
            "protocol": PROTOCOL_VERSION,
            # Nothing where there is none: cells without energy are what they were before it.
            **({"energy": asdict(self.energy)} if self.energy else {}),
        }
        text = _SORTED.encode(identity)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def threshold(self) -> float | None:
        """As `jobs.plan.task.common_threshold`."""
        return common_threshold(self.thresholds)

    @property
    def is_timed(self) -> bool:
        """As `jobs.plan.task.is_timed`."""
        return is_timed(self.kind)

    @cached_property
    def skipped(self) -> str | None:
        """Why it is skipped, where that is known before anything runs."""
        setting = self.setting
        return why_skipped(self.kind, setting.runtime, setting.precision, setting.device)

    @property
    def shards(self) -> tuple[Shard, ...]:
        """The pieces of one round, at most 1,000 images each."""
        return shards(self.images)

    def task_keys(self) -> Iterator[tuple[tuple[str, int, int], int]]:
        """What each of its tasks is committed as (cell_id, round, shard), and its images."""
        cell_id = self.cell_id
        for number in range(self.rounds):
            for shard in self.shards:
                yield (cell_id, number, shard.number), shard.stop - shard.start


@dataclass(frozen=True)
class Later:
    """What was added to a run whose compared cells had been timed already.

    Attributes:
        added_at: when, naive UTC, to the second.
        rounds: by timed cell the first round that was added, and the end of them: a cell that was
            not there before begins at 0.
    """

    added_at: str
    rounds: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Plan:
    """What a grid asks for, and the cells that answer it.

    Attributes:
        grid: the grid.
        points: combinations that the grid asks for.
        cells: each once, in the order of the grid.
        later: what is timed after the rest, one after the other.
    """

    grid: Grid
    points: int
    cells: tuple[Cell, ...]
    later: tuple[Later, ...] = ()

    @cached_property
    def late_cells(self) -> Mapping[str, str]:
        """Timed cells that had no turn beside those they are compared with, and since when."""
        found: dict[str, str] = {}
        compared = sorted(filter(is_compared, self.cells), key=compared_as)
        for _, cells in groupby(compared, compared_as):
            found |= added_to(tuple(cells), self.later)
        starts = {
            cell_id for each in self.later for cell_id in each.rounds if not each.rounds[cell_id][0]
        }
        return {cell_id: added_at for cell_id, added_at in found.items() if cell_id in starts}

    @cached_property
    def runnable(self) -> tuple[Cell, ...]:
        """The cells that go to workers: all but those that are skipped already."""
        return tuple(cell for cell in self.cells if not cell.skipped)

    def count(self, kind: str) -> int:
        """How many cells are of one kind."""
        return sum(cell.kind == kind for cell in self.cells)


def is_compared(cell: Cell) -> bool:
    """Whether a cell takes turns with others under the clock."""
    return cell.is_timed and not cell.skipped


def compared_as(cell: Cell) -> tuple[str, str]:
    """What cells have in common that are compared by the clock: device and data set."""
    return cell.setting.device, cell.dataset.label


def new_in(later: Iterable[Later]) -> set[str]:
    """The cells that were not there at first."""
    return {cell_id for each in later for cell_id, (start, _) in each.rounds.items() if not start}


def added_to(cells: Collection[Cell], later: Iterable[Later]) -> Mapping[str, str]:
    """Which of some compared cells were added, or got more rounds, after some had been timed.

    Returns: when, by cell.
    """
    ids = {cell.cell_id for cell in cells}
    there = ids - new_in(later)
    found: dict[str, str] = {}
    for each in later:
        ours = ids & each.rounds.keys()
        if there:
            found = dict.fromkeys(ours, each.added_at) | found  # the first counts
        there |= ours
    return found


def make_plan(grid: Grid) -> Plan:
    """Fold a grid's points into cells."""
    cells: dict[str, Cell] = {}
    points = 0
    for model, dataset, setting in _combinations(grid):
        points += len(grid.thresholds)
        for cell in _cells(grid, model, dataset, setting):
            cells.setdefault(cell.cell_id, cell)
    return Plan(grid, points, tuple(cells.values()))


def _combinations(grid: Grid) -> Iterator[tuple[Model, Dataset, Setting]]:
    """Every model, data set and setting that is not excluded."""
    axes = product(
        grid.models, grid.datasets, grid.devices, grid.runtimes, grid.precisions, grid.threads
    )
    for model, dataset, device, runtime, precision, threads in axes:
        setting = Setting(device, runtime, precision, threads)
        names = {
            "model": model.name,
            "dataset": dataset.label,
            **{axis: str(value) for axis, value in vars(setting).items()},
        }
        if not any(excluded.items() <= names.items() for excluded in grid.exclude):
            yield model, dataset, setting


def _cells(grid: Grid, model: Model, dataset: Dataset, setting: Setting) -> Iterator[Cell]:
    """The all-exit pass, then the timed cells.

    A static model is routed once, another once a threshold; only the latter has exits to choose
    between, whose costs are worth a cell. A profile is one task, since its rows are sums over all
    images.
    """
    if "accuracy" in grid.measure:
        yield Cell(
            kind="exits",
            model=model,
            dataset=dataset,
            setting=setting,
            thresholds=(),
            batch_size=min(grid.accuracy_batch, dataset.count),
            images=dataset.count,
            rounds=1,
            warmup_images=0,
        )
    images = min(dataset.count, grid.latency.images)
    batch_size = min(grid.latency_batch, images)
    # Whole batches, at least one for each exit's path, so that every path is warm.
    warmups = max(math.ceil(grid.latency.warmup_images / batch_size), model.gates + 1)
    timed = partial(
        Cell,
        model=model,
        dataset=dataset,
        setting=setting,
        batch_size=batch_size,
        images=images,
        rounds=grid.latency.rounds,
        warmup_images=warmups * batch_size,
    )
    energy = grid.energy if "energy" in grid.measure else None
    if {"latency", "energy"} & set(grid.measure):
        written = [threshold.of(model) for threshold in grid.thresholds if threshold.is_written]
        for thresholds in written if model.gates else [()]:
            yield timed(kind="latency", thresholds=thresholds, energy=energy)
    if "exit_costs" in grid.measure and model.gates:
        yield timed(kind="exit_costs", thresholds=(), energy=energy)
    if "profile" in grid.measure:
        images = min(images, SHARD_IMAGES)
        yield timed(kind="profile", thresholds=(), images=images, rounds=1)
