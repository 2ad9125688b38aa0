"""How many rounds cells will need until their figures are known, by how rounds differed before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

import storage
from jobs.grid.grid import Until
from jobs.grid.rounds import find_baseline
from jobs.machine.devices import ANY, CUDA
from jobs.plan.cell import Cell
from jobs.plan.plan import Plan
from jobs.statistics.sequential import FIRST_LOOK, half_width, looks

_Means = dict[int, float]  # of rounds, ms
_Series = dict[tuple[object, ...], dict[str, dict[str, _Means]]]
"""Means of earlier rounds: by what cells have in common, then device, then run, newest first."""


def foresee_rounds(plan: Plan, root: storage.Root) -> Mapping[str, int]:
    """Return the rounds that each routed cell with `until` will need by itself, where that is told.

    A cell that was timed before, in this setting and with as many images, tells.
    """
    asked = [cell for cell in plan.runnable if cell.until and cell.kind == "latency"]
    if not asked or not storage.has_results(root):
        return {}
    series = _earlier(root, sorted({cell.model.sha256 for cell in asked}))
    baseline = find_baseline(plan.grid)
    static = {
        (cell.setting, cell.dataset.label, cell.batch_size): cell
        for cell in asked
        if cell.model.name == baseline
    }
    found = {}
    for cell in asked:
        assert cell.until is not None
        to = static.get((cell.setting, cell.dataset.label, cell.batch_size))
        if cell.until.of == "ratio" and cell is to:
            found[cell.cell_id] = cell.until.fewest
            continue
        rounds = _needed(series, cell, to if cell.until.of == "ratio" else None, cell.until)
        if rounds is not None:
            found[cell.cell_id] = rounds
    return found


def _needed(series: _Series, cell: Cell, to: Cell | None, until: Until) -> int | None:
    """The first look by which an interval is narrow, if rounds differ as before; None: not told."""
    for device, runs in series.get(_key(cell), {}).items():
        if cell.setting.device not in (ANY, CUDA, device):
            continue
        for run_id, means in runs.items():
            beside = series.get(_key(to), {}).get(device, {}).get(run_id, {}) if to else None
            numbers = sorted(means if beside is None else means.keys() & beside.keys())
            if len(numbers) < FIRST_LOOK:
                continue
            values = np.array([means[number] for number in numbers])
            if beside is not None:
                values = np.log(values / [beside[number] for number in numbers])
                values += 1 - values.mean()  # differences of logarithms are relative already
            for look in looks(until.fewest, until.most):
                if 100 * half_width(values, look, look) <= until.pct * values.mean():
                    return look
            return until.most
    return None


def _earlier(root: storage.Root, checkpoints: list[str]) -> _Series:
    runs = storage.named_query(root, "timed_before", checkpoints=checkpoints).to_pylist()
    series: _Series = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    if not runs:
        return series
    run_ids = [row["run_id"] for row in runs]
    for row in storage.named_query(root, "round_means", run_ids=run_ids).to_pylist():
        key = (
            row["checkpoint_sha256"], row["dataset_sha256"], row["runtime"], row["precision"],
            row["threads"], row["batch_size"], row["images"], tuple(row["thresholds"] or ()),
        )  # fmt: skip
        series[key][row["device"]][row["run_id"]][row["round"]] = row["mean_ms"]
    return series


def _key(cell: Cell) -> tuple[object, ...]:
    setting = cell.setting
    return (
        cell.model.sha256, cell.dataset.images.sha256, setting.runtime, setting.precision,
        setting.threads, cell.batch_size, cell.images, cell.thresholds,
    )  # fmt: skip
