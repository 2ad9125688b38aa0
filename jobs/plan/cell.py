"""Cells, the units of work that a plan folds points into, and additions to a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property

import storage
from jobs.grid.calibration import CalibrationSet
from jobs.grid.datasets import Dataset
from jobs.grid.grid import Until
from jobs.grid.models import GATE, Model
from jobs.machine.power.protocol import EnergyProtocol
from jobs.plan.arrivals import Arrivals
from jobs.plan.task import Shard, common_threshold, cut_shards
from jobs.plan.unsupported import explain_skip

_SORTED = json.JSONEncoder(sort_keys=True)

PROTOCOL_VERSION = 1
"""Increased whenever the same cell would be measured in another way."""


@dataclass(frozen=True)
class Setting:
    """Where and how a model runs: the axes other than model, data set and threshold."""

    device: str
    runtime: str
    precision: str
    threads: int


@dataclass(frozen=True)
class Cell:
    """One unit of work.

    Attributes:
        kind: as `storage.KINDS`: `exits`, an all-exit pass; `latency`, routed and timed;
            `exit_costs`, forced out at every exit and timed; `profile`, each part timed;
            `throughput`, routed in batches and timed; or `serving`, routed as requests arrive.
        thresholds: one float32 number per gate, for routed cells of models with gates; else empty.
        batch_size: images per batch.
        images: images per round.
        rounds: passes over the images; with `until` the most, and once they have ended those run.
        warmup_images: images routed before each task without being recorded; 0 for all-exit passes.
        energy: the windows in which its power is measured; None if the grid asks for no energy.
        calibration: the images that its graphs are made from, if it is a checkpoint in int8.
        arrivals: when requests arrive, if it is served.
        borrowed_from: the device that answers all images, of which this pass answers a sample, the
            first of the fixed shuffle; None if it answers all that the grid asks for.
        until: what ends its rounds before the most are run; None: nothing does.
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
    calibration: CalibrationSet | None = None
    arrivals: Arrivals | None = None
    borrowed_from: str | None = None
    until: Until | None = None

    @cached_property
    def cell_id(self) -> str:
        """Digest of all that determines the result, but not of rounds, so more can be added."""
        used = self.calibration
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
            "setting": vars(self.setting),  # not `asdict`: its copies take most of a plan's time
            "thresholds": self.thresholds,
            "batch_size": self.batch_size,
            "warmup_images": self.warmup_images,
            "protocol": PROTOCOL_VERSION,
            # No key without energy, calibration, arrivals or a lender, or under the gate: such
            # cells keep the ids that they had before there was another choice.
            **({"exit_rule": self.model.exit_rule} if self.model.exit_rule != GATE else {}),
            **({"energy": asdict(self.energy)} if self.energy else {}),
            **({"calibration": (used.images.sha256, used.count)} if used else {}),
            **({"arrivals": asdict(self.arrivals)} if self.arrivals else {}),
            **({"borrowed_from": self.borrowed_from} if self.borrowed_from else {}),
        }
        text = _SORTED.encode(identity)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def threshold(self) -> float | None:
        """As `jobs.plan.task.common_threshold`."""
        return common_threshold(self.thresholds)

    @property
    def is_timed(self) -> bool:
        """As `storage.Kind.is_timed`."""
        return storage.KINDS[self.kind].is_timed

    @cached_property
    def skipped(self) -> str | None:
        """Why it is skipped, if that is known before anything runs; else None.

        So is a sample whose lender cannot run the same.
        """
        if reason := self._explain_skip(self.setting.device):
            return reason
        if self.borrowed_from and (reason := self._explain_skip(self.borrowed_from)):
            return f"its accuracy cannot be borrowed from {self.borrowed_from}: {reason}"
        return None

    def _explain_skip(self, device: str) -> str | None:
        setting, graph_precision = self.setting, self.model.graph_precision
        return explain_skip(self.kind, setting.runtime, setting.precision, device, graph_precision)

    @cached_property
    def remark(self) -> str | None:
        """Why its accuracy may mean nothing, if that is known before anything runs; else None."""
        if self.kind not in ("exits", "latency"):
            return None
        return explain_unshared_names(self.model, self.dataset)

    @property
    def shards(self) -> tuple[Shard, ...]:
        """The pieces of one round, at most 1,000 images each."""
        return cut_shards(self.images)

    @property
    def planned_rounds(self) -> int:
        """The most rounds that it may get, also once they have ended."""
        return self.until.most if self.until else self.rounds

    def task_keys(self) -> Iterator[tuple[tuple[str, int, int], int]]:
        """The commit key (cell_id, round, shard) of each of its tasks, and its number of images."""
        cell_id = self.cell_id
        for number in range(self.rounds):
            for shard in self.shards:
                yield (cell_id, number, shard.number), shard.stop - shard.start


@dataclass(frozen=True)
class Later:
    """An addition to a run whose compared cells had been timed already.

    Attributes:
        added_at: when it was added, naive UTC, to the second.
        rounds: the added rounds of each timed cell, as first and end (excluded); a new cell begins
            at 0.
    """

    added_at: str
    rounds: Mapping[str, tuple[int, int]]


def explain_unshared_names(model: Model, dataset: Dataset) -> str | None:
    """Say that a model and a data set have no class name in common; None if they have, or no names.

    Such a pair may be meant: names may be of two languages, or the numbers of labels.
    """
    names, known = dataset.images.class_names, model.metadata.class_names
    if not known or not names or not set(names).isdisjoint(known):
        return None
    return (
        f"accuracy: no class name of {dataset.label} ({names[0]}, ...) is one of {model.name}"
        f" ({known[0]}, ...): it is right only if both give their classes the same labels"
    )


def is_compared(cell: Cell) -> bool:
    """Whether a cell is timed in turns with others."""
    return cell.is_timed and not cell.skipped


def comparison_key(cell: Cell) -> tuple[str, str]:
    """What timed cells that are compared have in common: device and data set."""
    return cell.setting.device, cell.dataset.label


def find_new(later: Iterable[Later]) -> set[str]:
    """The cells that the run did not have at first."""
    return {cell_id for each in later for cell_id, (start, _) in each.rounds.items() if not start}


def find_added(cells: Collection[Cell], later: Iterable[Later]) -> Mapping[str, str]:
    """The compared cells that were added, or got more rounds, after others had been timed.

    Returns: when each was first added to, by cell.
    """
    ids = {cell.cell_id for cell in cells}
    there = ids - find_new(later)
    found: dict[str, str] = {}
    for each in later:
        ours = ids & each.rounds.keys()
        if there:
            found = dict.fromkeys(ours, each.added_at) | found  # the first addition counts
        there |= ours
    return found
