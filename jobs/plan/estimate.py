"""Estimates how long a plan takes from the speed of earlier runs under the same results root."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import storage
from jobs.machine.devices import ANY
from jobs.plan.cell import Cell
from jobs.plan.plan import Plan


@dataclass(frozen=True)
class Estimate:
    """An estimate of device time.

    Attributes:
        seconds: device time of all cells to run that an earlier run has timed under the same
            settings, or whose time the grid says.
        known, unknown: number of cells to run whose time is known and unknown.
    """

    seconds: float
    known: int
    unknown: int


def estimate(plan: Plan, root: storage.Root) -> Estimate:
    """Estimate a plan's device time from each cell's speed in earlier runs."""
    speeds = _speeds(root)
    seconds = [_seconds(cell, speeds) for cell in plan.runnable]
    known = [value for value in seconds if value is not None]
    return Estimate(sum(known), len(known), len(seconds) - len(known))


Speeds = dict[tuple[object, ...], list[tuple[str, float]]]
"""Pairs of device and seconds per image, by the other settings that determine speed."""


def _speeds(root: storage.Root) -> Speeds:
    """The speeds of earlier runs, by kind, checkpoint, runtime, precision, threads and batch."""
    speeds: Speeds = defaultdict(list)
    if not storage.has_results(root):
        return speeds
    keys = ("kind", "checkpoint_sha256", "runtime", "precision", "threads", "batch_size")
    for row in storage.named_query(root, "speed").to_pylist():
        alike = tuple(row[key] for key in keys)
        speeds[alike].append((row["device"], row["seconds_per_image"]))
    return speeds


def _seconds(cell: Cell, speeds: Speeds) -> float | None:
    """Seconds of a cell, with its power windows; for device `any`, on the slowest device seen.

    A served cell takes as long as requests arrive.
    """
    if cell.arrivals:
        return cell.arrivals.seconds * cell.rounds
    setting = cell.setting
    alike = (cell.kind, cell.model.sha256, setting.runtime, setting.precision, setting.threads)
    known = speeds.get((*alike, cell.batch_size), [])
    same = [speed for device, speed in known if setting.device in (ANY, device)]
    if not same:
        return None
    seconds = max(same) * cell.images * cell.rounds
    if not cell.energy:
        return seconds
    exits = cell.model.gates + 1 if storage.KINDS[cell.kind].is_by_exit else 0
    tasks = cell.rounds * len(cell.shards)
    return seconds + tasks * cell.energy.added_s(exits, seconds / tasks)
