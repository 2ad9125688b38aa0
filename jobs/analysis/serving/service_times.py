"""How long a model takes for an image at an exit: samples, as they were timed without a queue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import storage

Numbers = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ServiceTimes:
    """Times of each image at each exit in several rounds.

    Attributes:
        image_ids: (N,) ascending.
        exit_blocks: the block of each of the E exits, ascending.
        ms: (R, N, E); an image that a round did not time has the mean of its exit.
        pause_ratios: (E,) how many times as long it takes after a pause; None if not measured.
    """

    image_ids: Indices
    exit_blocks: tuple[int, ...]
    ms: Numbers
    pause_ratios: Numbers | None = None

    @property
    def timed(self) -> int:
        """How many times of each exit there are."""
        return len(self.ms) * len(self.image_ids)

    def draw(self, image_ids: Indices, exits: Indices, random: np.random.Generator) -> Numbers:
        """Return a time of each image at its exit, from a round that is drawn for each.

        Args:
            image_ids: any shape; an image without times has those of a drawn one.
            exits: their exits, as indices of `exit_blocks`.
            random: draws the rounds.
        """
        rounds, images, _ = self.ms.shape
        places = np.minimum(np.searchsorted(self.image_ids, image_ids), images - 1)
        is_known = self.image_ids[places] == image_ids
        places = np.where(is_known, places, random.integers(images, size=places.shape))
        drawn: Numbers = self.ms[random.integers(rounds, size=places.shape), places, exits]
        return drawn


def read_service_times(root: storage.Root, run_id: str, cell_id: str) -> ServiceTimes | None:
    """Read the times of the model and setting of any cell; None if none were measured.

    Of a model with gates they are its exit costs, of a static one its latencies, both at batch 1.
    Serving cells have measured what a pause changes: the median of their rounds.
    """
    rows = storage.named_query(
        root, "service_times", run_ids=[run_id], run_id=run_id, cell_id=cell_id
    ).to_pylist()
    if not rows:
        return None
    image_ids = np.unique([row["image_id"] for row in rows])
    rounds = np.unique([row["round"] for row in rows])
    ms = np.full((len(rounds), len(image_ids), len(rows[0]["exit_ms"])), np.nan)
    places = np.searchsorted(rounds, [row["round"] for row in rows])
    ms[places, np.searchsorted(image_ids, [row["image_id"] for row in rows])] = [
        row["exit_ms"] for row in rows
    ]
    means = np.nanmean(ms, axis=(0, 1))
    ratios = storage.named_query(
        root, "pause_ratios", run_ids=[run_id], run_id=run_id, cell_id=cell_id
    ).to_pylist()
    return ServiceTimes(
        image_ids.astype(np.int64),
        tuple(rows[0]["exit_blocks"]),
        np.where(np.isnan(ms), means, ms),
        np.median([row["pause_ratios"] for row in ratios], axis=0) if ratios else None,
    )
