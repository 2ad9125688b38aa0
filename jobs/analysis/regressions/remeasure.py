"""Measures suspects again: a small run, linked to the night, of suspects and control in turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

import storage
from jobs.analysis.regressions.judge import Remeasure
from jobs.common.errors import JobsError, UsageError
from jobs.common.formatting import Row, format_counted
from jobs.common.text import ShowText
from jobs.common.yaml_document import Document
from jobs.grid.grid import Grid
from jobs.grid.reader import read_grid
from jobs.runs.saved_submission import read_grid_folders
from jobs.runs.submit import submit_document
from jobs.runs.target import Target

SUFFIX = "-again"
"""Suffix of the names of the run and its grid, so that the run does not count as a night."""

LEAST_ROUNDS = 6
"""Even, so that each cell runs as often before another as after it; twice a night's, if more."""


def make_remeasure(root: storage.Root, target: Target, narrate: ShowText) -> Remeasure:
    """Return a function that measures cells of a run again, in this root and on this target."""

    def remeasure(run_id: str, cells: Sequence[Row], control: str | None) -> str:
        (run,) = [run for run in storage.list_runs(root) if run.run_id == run_id]
        submission = storage.read_submission(root, run_id)
        path, base = read_grid_folders(run_id, submission)
        document = Document(path, run.grid or "")
        grid = read_grid(document, target.devices(), base)
        text = narrow_grid(grid, cells, control)
        begun = _begun(root, run_id, text)
        suspects = format_counted(len(cells), "suspect", "suspects")
        narrate(f"measuring {suspects} of {run_id} again")
        again = Document(path, text)
        stem = _again(run_id)
        ended = submit_document(again, base, root, target, narrate, run_id=begun, stem=stem)
        if not ended.is_done:
            raise JobsError(f"run {ended.run_id} failed; see gfjobs status {ended.run_id}")
        return ended.run_id

    return remeasure


def narrow_grid(grid: Grid, cells: Sequence[Row], control: str | None) -> str:
    """Return a grid of only the suspects and the control, as text.

    Args:
        grid: the night's.
        cells: rows of `measured`.
        control: its name; left out if the grid has no such model.

    Raises:
        UsageError: the grid no longer has any of the suspects.
    """
    asked: dict[str, Any] = yaml.safe_load(grid.text)
    models = {cell["model"] for cell in cells} | {control}
    labels = {cell["dataset"] for cell in cells}
    wanted = [model for model in grid.models if model.name in models]
    listed = dict.fromkeys(model.name_in_grid for model in grid.models)
    kept = [name in {model.name_in_grid for model in wanted} for name in listed]
    if not wanted:
        raise UsageError(
            f"the grid has none of the models {', '.join(sorted(filter(None, models)))}"
        )
    asked["name"] = f"{grid.name}{SUFFIX}"
    asked["models"] = _chosen(asked["models"], kept)
    rules = {model.exit_rule for model in wanted if model.gates}
    if "exit_rules" in asked:
        asked["exit_rules"] = sorted(rules)
    if isinstance(asked.get("thresholds"), dict):
        asked["thresholds"] = {r: v for r, v in asked["thresholds"].items() if r in rules}
    for key in ("exit_rules", "thresholds"):
        if not asked.get(key, True):  # only static models are left
            del asked[key]
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
    timing = {key: value for key, value in (asked.get("latency") or {}).items() if key != "until"}
    asked["latency"] = {**timing, "rounds": _rounds(grid, cells)}
    asked["measure"] = [
        measure for measure in grid.measure if measure in ("accuracy", "latency", "energy")
    ]
    if asked.get("baseline") not in models:
        asked.pop("baseline", None)
    asked.pop("exclude", None)
    return yaml.safe_dump(asked, sort_keys=False, allow_unicode=True)


def _rounds(grid: Grid, cells: Sequence[Row]) -> int:
    """Twice the night's; of rounds that ended when a figure was known, twice those that ran."""
    rounds = grid.latency.rounds
    if grid.latency.until:
        rounds = max((cell["rounds"] or 0 for cell in cells), default=0)
    return max(LEAST_ROUNDS, 2 * rounds)


def _chosen(values: Any, kept: Sequence[bool]) -> list[Any]:
    """Select values of an axis; a single value may be given without a list."""
    listed = values if isinstance(values, list) else [values]
    return [value for value, is_kept in zip(listed, kept, strict=True) if is_kept]


def _begun(root: storage.Root, run_id: str, text: str) -> str | None:
    """Find the same measurement, if a killed process has left it unfinished."""
    for run in storage.list_runs(root):
        is_it = run.run_id.startswith(_again(run_id)) and run.grid == text
        if is_it and run.status == "interrupted":
            return run.run_id
    return None


def _again(run_id: str) -> str:
    """Start of the name of a run that measures another one again."""
    return f"{run_id[:80]}{SUFFIX}"
