"""Estimates how long a plan takes from the speed of earlier runs under the same results root."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

import storage
from jobs.machine.devices import ANY
from jobs.plan.cell import Cell, comparison_key
from jobs.plan.foreseen_rounds import foresee_rounds
from jobs.plan.plan import Plan


@dataclass(frozen=True)
class Estimate:
    """An estimate of device time.

    Attributes:
        seconds: device time of all cells to run that an earlier run has timed under the same
            settings, or whose time the grid says.
        known, unknown: number of cells to run whose time is known and unknown.
        rounds: the most rounds that cells will need until their figures are known, by how rounds
            differed in earlier runs; None if none tells, or if their number is given.
    """

    seconds: float
    known: int
    unknown: int
    rounds: int | None = None


def estimate(plan: Plan, root: storage.Root) -> Estimate:
    """Estimate a plan's device time from each cell's speed in earlier runs."""
    speeds, foreseen = _speeds(root), foresee_rounds(plan, root)
    needed: dict[tuple[str, str], int] = {}  # of cells that are compared, which run as many
    for cell in plan.runnable:
        key = comparison_key(cell)
        needed[key] = max(needed.get(key, 0), foreseen.get(cell.cell_id, 0))
    cells = [
        replace(cell, rounds=needed[comparison_key(cell)] or cell.rounds) if cell.until else cell
        for cell in plan.runnable
    ]
    seconds = [_seconds(cell, speeds) for cell in cells]
    known = [value for value in seconds if value is not None]
    rounds = max(needed.values(), default=0) or None
    return Estimate(sum(known), len(known), len(seconds) - len(known), rounds)


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
