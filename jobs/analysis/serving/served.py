"""The serving cells of a run: responses as measured, and as simulated from exit costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

import numpy as np

import storage
from jobs.analysis.serving.service_times import ServiceTimes, read_service_times
from jobs.analysis.serving.simulation import (
    PERCENTILES,
    Requests,
    SimulatedResponses,
    simulate,
)
from jobs.common.formatting import SETTING, Row
from jobs.plan.arrivals import Arrivals

NO_TIMES = "simulation: exit costs were not measured at batch 1 (measure: [exit_costs])"
NO_STATIC_TIMES = "simulation: its latency was not measured at batch 1 (measure: [latency])"


@dataclass(frozen=True)
class ServedCell:
    """A serving cell.

    Attributes:
        row: of `served_in`.
        simulated: the same arrivals and images in a simulated queue; None if it has no requests
            yet, or if its times are not known.
        timed: how many times of each exit the simulation draws from; None if there is none.
    """

    row: Row
    simulated: SimulatedResponses | None
    timed: int | None = None

    @property
    def is_valid(self) -> bool:
        """Whether its figures may be used."""
        return self.row["is_valid"] is not False

    def simulated_ms(self, percentile: int) -> float | None:
        """Return a simulated percentile of the response; None where there is none."""
        return self.simulated.percentiles_ms.get(percentile) if self.simulated else None

    def error_pct(self, percentile: int) -> float | None:
        """Return how far the simulated percentile is above the measured one, in percent of it."""
        measured, simulated = self.row[f"p{percentile}_ms"], self.simulated_ms(percentile)
        if measured is None or simulated is None or not self.is_valid:
            return None
        return 100 * (simulated / float(measured) - 1)

    def figures(self) -> dict[str, Any]:
        """Return all figures by name: those of the row, and those of the simulation."""
        found = self.simulated
        simulated: dict[str, Any] = {
            "is_simulated_overloaded": found.is_overloaded if found else None,
            "simulated_busy_pct": found.busy_pct if found else None,
            "simulated_pause_ratio": found.pause_ratio if found else None,
        }
        for percentile in PERCENTILES:
            simulated[f"simulated_p{percentile}_ms"] = self.simulated_ms(percentile)
            simulated[f"p{percentile}_error_pct"] = self.error_pct(percentile)
        return {**self.row, **simulated}


def has_load(root: storage.Root, run_id: str) -> bool:
    """Whether a run has cells of throughput or serving; quicker than reading them."""
    table = storage.named_query(root, "status", run_ids=[run_id], run_id=run_id)
    known = (storage.KINDS.get(kind) for kind in set(table.column("kind").to_pylist()))
    return any(kind is not None and kind.number_column for kind in known)


def read_served(root: storage.Root, run_id: str) -> list[ServedCell]:
    """Read the serving cells of a run in the order of its grid, and simulate each."""
    rows = storage.named_query(root, "served_in", run_ids=[run_id], run_id=run_id).to_pylist()

    @cache
    def times_of(model: str, *setting: Any) -> ServiceTimes | None:
        row = next(each for each in rows if _of_model(each) == (model, *setting))
        return read_service_times(root, run_id, row["cell_id"])

    cells = []
    for row in rows:
        times = times_of(*_of_model(row))
        simulated = _simulate_cell(root, run_id, row, times)
        cells.append(ServedCell(row, simulated, times.timed if times and simulated else None))
    return cells


def _of_model(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("model", *SETTING))


def _simulate_cell(
    root: storage.Root, run_id: str, row: Row, times: ServiceTimes | None
) -> SimulatedResponses | None:
    """Simulate the requests of a cell, each with the exit that its image took."""
    if times is None or not row["answered"]:
        return None
    found = storage.named_query(
        root, "requests", run_ids=[run_id], run_id=run_id, cell_id=row["cell_id"]
    ).to_pylist()
    numbers = {block: number for number, block in enumerate(times.exit_blocks)}
    exits = {
        each["image_id"]: numbers[each["exit_block"]]
        for each in found
        if each["exit_block"] in numbers
    }
    rounds = [_requests([*group], exits) for _, group in groupby(found, lambda each: each["round"])]
    arrivals = Arrivals(row["arrivals_per_s"], row["arrivals_s"])
    return simulate(times, rounds, 1000 * arrivals.longest_wait_s) if exits else None


def _requests(rows: Sequence[Row], exits: Mapping[int, int]) -> Requests:
    """The requests of a round; an image without any answer takes the exit of another."""
    known = [*exits.values()]
    return Requests(
        np.array([row["arrived_ms"] for row in rows], np.float64),
        np.array([row["image_id"] for row in rows], np.int64),
        np.array(
            [
                exits.get(row["image_id"], known[place % len(known)])
                for place, row in enumerate(rows)
            ],
            np.int64,
        ),
    )
