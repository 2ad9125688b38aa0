"""A resolved grid: axes resolved, models verified, data sets opened."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import storage
from jobs.grid.calibration import CalibrationSet
from jobs.grid.datasets import Dataset
from jobs.grid.models import Model
from jobs.grid.threshold_axis import Threshold
from jobs.machine.power.protocol import EnergyProtocol

SHARD_IMAGES = 1000
"""Most images of one task."""

MAX_BATCH = SHARD_IMAGES  # a task holds no more
LATENCY_BATCH = 1
THROUGHPUT_BATCHES = (1, 8, 32)
ACCURACY_BATCH = 256
MEASURES = tuple(measure for kind in storage.KINDS.values() for measure in kind.measures)
DEFAULT_MEASURES = ("accuracy", "latency")

FEWEST_UNTIL, MOST_UNTIL = 3, 40
"""Rounds of a grid with `until` that names none: the fewest and the most."""

INT8 = "int8"
"""The precision whose graphs are made from calibration images."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")

NAME_RULE = "letters, digits, '.', '_' and '-', at most 80, the first a letter or digit"

_MAX_NAME = 80


def grid_name(text: str) -> str:
    """Make the name of a grid of a text, such as the name of its file."""
    plain = re.sub(r"[^A-Za-z0-9._-]+|\.\.+", "-", text).strip("-._")
    return plain[:_MAX_NAME] or "grid"


@dataclass(frozen=True)
class Until:
    """When rounds end: as soon as the figures of all cells that are compared are known so well.

    Attributes:
        pct: how far the 95 % interval of a figure may reach to either side, percent of the figure.
        of: which figures: the mean time of each cell, or its ratio to that of the baseline.
        fewest, most: rounds.
    """

    pct: float
    of: storage.UntilOf = "mean"
    fewest: int = FEWEST_UNTIL
    most: int = MOST_UNTIL


@dataclass(frozen=True)
class LatencyProtocol:
    """How routed cells are timed.

    Attributes:
        rounds: full passes over the images; with `until`, the most.
        warmup_images: routed before each round without being recorded.
        images: timed in each round, the first of the fixed shuffle.
        until: when rounds end before that; None: all are run.
    """

    rounds: int = 3
    warmup_images: int = 100
    images: int = 10_000
    until: Until | None = None

    @property
    def given_rounds(self) -> int:
        """Rounds of cells that have no mean time per round, and so nothing that `until` is of."""
        return self.until.fewest if self.until else self.rounds


@dataclass(frozen=True)
class ServingProtocol:
    """How models are served.

    Attributes:
        arrivals: the rates at which requests arrive, in requests per second; a cell for each.
        seconds: how long requests arrive in each round.
    """

    arrivals: tuple[float, ...] = ()
    seconds: float = 60.0


@dataclass(frozen=True)
class Borrowing:
    """Accuracy that the devices of a grid borrow from one of them, or from another.

    Attributes:
        lender: the device whose all-exit passes answer all images.
        sample: images that each other device answers, the first of the fixed shuffle.
    """

    lender: str
    sample: int = 500


@dataclass(frozen=True)
class Grid:
    """A grid file, resolved: every model verified, every data set opened.

    Attributes:
        text: the content of the file.
        base: the folder that relative paths start from.
        measure: some of MEASURES.
        energy: the windows of power, if energy is measured.
        latency_batch, accuracy_batch: images per batch of routed and of all-exit passes.
        throughput_batches: images per batch of throughput cells, a cell for each.
        serving: the arrivals, if models are served.
        calibration: the images that the ranges of int8 are taken from; None if nothing is int8.
        borrowing: None: every device answers all images.
        baseline: name of the model that savings are relative to; None: the first static one.
        exclude: excluded combinations, each from axis name to value.
    """

    name: str
    text: str
    base: Path
    models: tuple[Model, ...]
    datasets: tuple[Dataset, ...]
    thresholds: tuple[Threshold, ...]
    devices: tuple[str, ...]
    runtimes: tuple[str, ...]
    precisions: tuple[str, ...]
    threads: tuple[int, ...]
    latency_batch: int
    accuracy_batch: int
    throughput_batches: tuple[int, ...]
    measure: tuple[str, ...]
    latency: LatencyProtocol
    serving: ServingProtocol
    energy: EnergyProtocol
    calibration: CalibrationSet | None
    borrowing: Borrowing | None
    baseline: str | None
    exclude: tuple[Mapping[str, str], ...]

    def excludes(self, names: Mapping[str, str]) -> bool:
        """Whether a combination, or a part of one, is left out, given its names by axis."""
        return any(excluded.items() <= names.items() for excluded in self.exclude)
