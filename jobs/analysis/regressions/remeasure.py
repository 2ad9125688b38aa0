"""Measures suspects again: a small run of them and the control in turns, linked to the night."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

import storage
from jobs.analysis.regressions.judge import Remeasure
from jobs.common.errors import JobsError, UsageError
from jobs.common.formatting import Row
from jobs.common.text import ShowText
from jobs.common.yaml_document import Document
from jobs.grid.grid import Grid
from jobs.grid.reader import read_grid
from jobs.runs.submit import submit_document
from jobs.runs.target import Target

SUFFIX = "-again"
"""Of the run's and its grid's name, so that it is no night itself."""

LEAST_ROUNDS = 6
"""Even: each cell stands as often before another as after it. Twice a night's where more."""


def make_remeasure(root: storage.Root, target: Target, narrate: ShowText) -> Remeasure:
    """Give a function that measures cells of a run again, in this root and there."""

    def remeasure(run_id: str, cells: Sequence[Row], control: str | None) -> str:
        (run,) = [run for run in storage.list_runs(root) if run.run_id == run_id]
        submission = storage.read_submission(root, run_id)
        base = Path(submission["base"])
        document = Document(Path(submission["grid_path"]), run.grid or "")
        grid = read_grid(document, target.devices(), base)
        text = narrow_grid(grid, cells, control)
        name = _begun(root, run_id, text) or _free_name(root, run_id)
        narrate(f"measuring {len(cells)} suspects of {run_id} again, as run {name}")
        again = Document(Path(submission["grid_path"]), text)
        ended = submit_document(again, base, root, target, narrate, run_id=name)
        if not ended.is_done:
            raise JobsError(f"run {name} failed; see gfjobs status {name}")
        return name

    return remeasure


def narrow_grid(grid: Grid, cells: Sequence[Row], control: str | None) -> str:
    """A grid of the suspects and the control alone, as text.

    Args:
        grid: the night's.
        cells: rows of `measured`.
        control: its name; left out where the grid has no such model.

    Raises:
        UsageError: the grid has none of the suspects any more.
    """
    asked: dict[str, Any] = yaml.safe_load(grid.text)
    models = {cell["model"] for cell in cells} | {control}
    labels = {cell["dataset"] for cell in cells}
    kept = [model.name in models for model in grid.models]
    if not any(kept):
        raise UsageError(
            f"the grid has none of the models {', '.join(sorted(filter(None, models)))}"
        )
    asked["name"] = f"{grid.name}{SUFFIX}"
    asked["models"] = _chosen(asked["models"], kept)
    asked["datasets"] = _chosen(
        asked["datasets"], [dataset.label in labels for dataset in grid.datasets]
    )
    for key, column in (
        ("runtimes", "runtime"),
        ("precisions", "precision"),
        ("threads", "threads"),
    ):
        found = {cell[column] for cell in cells}
        asked[key] = [value for value in getattr(grid, key) if value in found]
    devices = {cell["device"] for cell in cells}
    asked["devices"] = [name for name in grid.devices if name in devices] or list(grid.devices)
    asked["latency"] = {**(asked.get("latency") or {}), "rounds": _rounds(grid)}
    asked["measure"] = [
        measure for measure in grid.measure if measure in ("accuracy", "latency", "energy")
    ]
    if asked.get("baseline") not in models:
        asked.pop("baseline", None)
    asked.pop("exclude", None)
    return yaml.safe_dump(asked, sort_keys=False, allow_unicode=True)


def _rounds(grid: Grid) -> int:
    return max(LEAST_ROUNDS, 2 * grid.latency.rounds)


def _chosen(values: Any, kept: Sequence[bool]) -> list[Any]:
    """Some of the values of an axis; a single value may stand without a list."""
    listed = values if isinstance(values, list) else [values]
    return [value for value, is_kept in zip(listed, kept, strict=True) if is_kept]


def _begun(root: storage.Root, run_id: str, text: str) -> str | None:
    """The same measurement, where a process that was killed has left it unfinished."""
    for run in storage.list_runs(root):
        is_it = run.run_id.startswith(f"{run_id[:80]}{SUFFIX}") and run.grid == text
        if is_it and run.status == "interrupted":
            return run.run_id
    return None


def _free_name(root: storage.Root, run_id: str) -> str:
    taken = {run.run_id for run in storage.list_runs(root)}
    stem = f"{run_id[:80]}{SUFFIX}"
    names = [stem, *(f"{stem}-{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)
