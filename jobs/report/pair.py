"""Reads everything the page of a comparison needs: its figures, what differs, both frontiers."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import storage
from jobs.analysis.comparison.compare import Comparison, compare_runs, read_runs
from jobs.analysis.comparison.run_data import MeasuredRun, Side
from jobs.common.formatting import Row, list_some
from jobs.common.tables import format_value
from jobs.report.read import list_models

_DIGEST = 12  # digits of a digest, as many as `git` and the ladder show
_NOT_THERE = "not there"
_MACHINE = (
    "host",
    "architecture",
    "accelerator",
    "python",
    "torch",
    "ray",
    "power_source",
)
"""Columns of `machines` that are properties of a node; its state is in the rows of `measured`."""

_STATE: Mapping[str, tuple[str, Callable[[Any], str]]] = {
    "max_clock_mhz": ("highest clock", lambda value: f"{value:,.0f} MHz"),
    "are_clocks_locked": ("clocks", lambda value: "locked" if value else "floating"),
    "power_mode": ("power mode", str),
    "governor": ("governor", str),
    "protocol": ("protocol version", str),
    "warmup_images": ("warm-up images", str),
    "images": ("timed images", str),
    "rounds": ("rounds", str),
}
"""Columns of `measured` in which timed cells may differ, and how a value is shown."""


@dataclass(frozen=True)
class RunDifference:
    """One thing that differs between two runs: what it is, and its text in both."""

    what: str
    first: str
    second: str


@dataclass(frozen=True)
class SideReport:
    """What the page shows of one side besides the comparison.

    Attributes:
        side: the run, and its model or threshold if it is limited to one.
        details: the run as submitted.
        measured: its rows of `measured`.
        frontier: its rows of `undominated`.
    """

    side: Side
    details: storage.RunRow
    measured: Sequence[Row]
    frontier: Sequence[Row]


@dataclass(frozen=True)
class PairReport:
    """Everything the page shows.

    Attributes:
        comparison: what `gfjobs compare` computes, with the images that changed.
        first, second: the sides.
        models: all of both runs, in the order that gives them their colours: the first's lead.
        differences: what differs between the runs, the most important first.
        same: what does not, as text.
        grid_changes: lines of a unified diff of the two grids; empty if they are equal.
    """

    comparison: Comparison
    first: SideReport
    second: SideReport
    models: Sequence[str]
    differences: Sequence[RunDifference]
    same: Sequence[str]
    grid_changes: Sequence[str]

    @property
    def sides(self) -> tuple[SideReport, SideReport]:
        """Both."""
        return self.first, self.second

    @property
    def is_one_run(self) -> bool:
        """Whether both sides are of one run."""
        return self.first.side.run_id == self.second.side.run_id


def read_pair(
    root: storage.Root, first: Side, second: Side, control: str | None = None
) -> PairReport:
    """Compare two sides and read what else their page shows.

    Raises: UsageError: as `compare`.
    """
    runs = read_runs(root, first, second)
    comparison = compare_runs(runs, control, with_images=True)
    run_ids = list(dict.fromkeys((first.run_id, second.run_id)))
    known = {each.run_id: each for each in storage.list_runs(root)}
    frontiers = {run_id: _read_frontier(root, run_id) for run_id in run_ids}
    inputs, machines = (_read_by_run(root, name, run_ids) for name in ("inputs", "machines"))
    sides, facts = [], []
    for run in runs:
        run_id = run.side.run_id
        frontier = [row for row in frontiers[run_id] if run.side.model in (None, row["model"])]
        sides.append(SideReport(run.side, known[run_id], run.rows, frontier))
        of_run = {} if len(run_ids) == 1 else _of_run(known[run_id], machines[run_id])
        facts.append({**dict(_inputs(run, inputs[run_id])), **of_run, **dict(_states(run.rows))})
    names = list(dict.fromkeys(name for each in facts for name in each))
    differences = [
        RunDifference(name, *(each.get(name, _NOT_THERE) for each in facts)) for name in names
    ]
    return PairReport(
        comparison,
        sides[0],
        sides[1],
        list(dict.fromkeys(name for run_id in run_ids for name in list_models(inputs[run_id]))),
        [each for each in differences if each.first != each.second],
        [f"{each.what}: {each.first}" for each in differences if each.first == each.second],
        list(_grid_changes(*sides)),
    )


def _read_frontier(root: storage.Root, run_id: str) -> Sequence[Row]:
    table = storage.named_query(root, "undominated", run_ids=[run_id], run_id=run_id)
    rows: list[Row] = table.to_pylist()
    return rows


def _read_by_run(root: storage.Root, name: str, run_ids: Sequence[str]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {run_id: [] for run_id in run_ids}
    for row in storage.named_query(root, name, run_ids=run_ids).to_pylist():
        found[row["run_id"]].append(row)
    return found


def _inputs(run: MeasuredRun, inputs: Sequence[Row]) -> Iterator[tuple[str, str]]:
    """Yield the digests of checkpoints and images; of checkpoints, of the side's own models."""
    models = {row["model"] for row in run.rows}
    for row in inputs:
        is_checkpoint = row["kind"] == "checkpoint"
        if row["sha256"] is None or (is_checkpoint and row["name"] not in models):
            continue
        digest = row["sha256"][:_DIGEST]
        if is_checkpoint and run.side.model is not None:
            yield "checkpoint", f"{row['name']} {digest}"
        else:
            yield f"{row['kind']} {row['name']}", digest


def _of_run(details: storage.RunRow, machines: Sequence[Row]) -> dict[str, str]:
    values = {
        "gfjobs": details.gfjobs_version,
        "git revision": details.git_revision and details.git_revision[:_DIGEST],
        "grid": details.name,
        "submitted, UTC": details.submitted_at,
    }
    known = {name: format_value(value) for name, value in values.items() if value is not None}
    return {**known, **_machines(machines)}


def _machines(machines: Sequence[Row]) -> dict[str, str]:
    """What the nodes are; each property with its node if there are several."""
    facts = {"nodes": list_some([f"{row['node']} ({row['device']})" for row in machines])}
    for name in _MACHINE:
        values = {row["node"]: row[name] for row in machines if row[name] is not None}
        if len(machines) == 1:
            facts |= {name.replace("_", " "): str(value) for value in values.values()}
        else:
            facts |= {f"{name.replace('_', ' ')} of {node}": str(v) for node, v in values.items()}
    return {name: text for name, text in facts.items() if text}


def _states(cells: Sequence[Row]) -> Iterator[tuple[str, str]]:
    """Yield the state of the machine, and how was measured, over all timed cells of a side."""
    timed = [row for row in cells if row["forward_ms"] is not None]
    for column, (name, show) in _STATE.items():
        values = sorted({row[column] for row in timed if row[column] is not None})
        if values:
            yield name, list_some([show(value) for value in values])


def _grid_changes(first: SideReport, second: SideReport) -> Iterator[str]:
    one, other = ((side.details.grid or "").splitlines() for side in (first, second))
    names = first.side.run_id, second.side.run_id
    yield from difflib.unified_diff(one, other, *names, lineterm="", n=1)
