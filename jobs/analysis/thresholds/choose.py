"""Reads one all-exit pass for `gfjobs choose`, and writes chosen thresholds."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

import gfnet
import storage
from gfnet.bundle.files import SUFFIX
from gfnet.bundle.writer import save_bundle_thresholds
from jobs.analysis.thresholds.constraints import Constraints, CostLimit
from jobs.analysis.thresholds.exit_answers import ExitAnswers, Vector
from jobs.analysis.thresholds.latency_mixture import Rounds, compose
from jobs.common.errors import UsageError
from jobs.common.formatting import SETTING, Row
from jobs.common.yaml_document import Document
from jobs.grid.keys import KEYS
from jobs.grid.models import Model, StagedModel, read_model
from jobs.runs.saved_submission import read_grid_folders
from jobs.statistics.bootstrap import IntervalEstimate

NARROWING = ("model", *SETTING)
"""Columns that distinguish one all-exit pass from another."""


@dataclass(frozen=True)
class Limits:
    """The user's limits; None: no limit.

    Attributes:
        max_drop: percentage points of accuracy below the last exit.
        min_acc1: percent.
        max_blocks, max_forward_ms, max_energy_mj: means over the images.
    """

    max_drop: float | None = None
    min_acc1: float | None = None
    max_blocks: float | None = None
    max_forward_ms: float | None = None
    max_energy_mj: float | None = None


@dataclass(frozen=True)
class Pass:
    """One all-exit pass of a model with gates.

    Attributes:
        cell: its row of `choosable`.
        answers: of every exit; `costs` are forward ms if they may be promised, otherwise blocks.
        constraints: the user's limits as constraints.
        exit_ms: the times that forward ms are composed from, by round; empty if not measured. If
            they may not be promised, `cell` says so, and `answers` has blocks.
    """

    cell: Row
    answers: ExitAnswers
    constraints: Constraints
    exit_ms: Rounds = ()

    def latency_of(self, counts: Sequence[int]) -> dict[str, IntervalEstimate]:
        """Return mean and percentiles of forward ms if `counts` images exit at each exit.

        Percentiles with too few samples are left out; empty if nothing was measured.
        """
        samples = sum(len(costs) for costs in self.exit_ms)
        if not samples:
            return {}
        known = [each for each, needed in self.percentile_samples.items() if samples >= needed]
        shares = [count / sum(counts) for count in counts]
        names = ["mean", *(f"p{percentile}" for percentile in known)]
        looked = self.cell["exit_forward_ms_looked"]
        return dict(zip(names, compose(self.exit_ms, shares, known, looked=looked), strict=True))

    @property
    def percentile_samples(self) -> dict[int, int]:
        """The number of samples that each percentile needs."""
        return dict(self.cell["samples_for"])


def _check_limits(limits: Limits) -> None:
    for name, value in asdict(limits).items():
        if value is not None and not math.isfinite(value):
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} {value:g}: give a finite number, or leave the limit out")


def read_pass(
    root: storage.Root, run_id: str, limits: Limits, narrowing: Mapping[str, str]
) -> Pass:
    """Read the one all-exit pass that matches.

    Args:
        root: the results root.
        run_id: the run.
        limits: the user's limits.
        narrowing: required values of some of NARROWING.

    Raises:
        UsageError: no pass or several match, nothing is limited, a limit is not finite, or a
            limited cost was not measured.
    """
    _check_limits(limits)
    cell = _only(
        storage.named_query(root, "choosable", run_ids=[run_id], run_id=run_id).to_pylist(),
        run_id,
        narrowing,
    )
    answers = read_exit_answers(root, run_id, cell)
    by_blocks = tuple(float(block + 1) for block in answers.exit_blocks)
    with as_usage_errors():
        constraints = _constraints(limits, by_blocks, cell)
    return Pass(cell, answers, constraints, read_exit_ms(root, run_id, cell))


def read_exit_answers(
    root: storage.Root, run_id: str, cell: Row, rule: str | None = None
) -> ExitAnswers:
    """Read the scores and predictions of one all-exit pass, its images in the order of image_id.

    Args:
        root: the results root.
        run_id: the run.
        cell: a row of `choosable`.
        rule: what is compared with the thresholds, one of gfnet.EXIT_RULES; None: the exit rule of
            the pass. Exits were timed under that: under another the costs are blocks.

    Raises:
        UsageError: rows are missing, logits are not finite, or a score is infinite.
    """
    rows = storage.named_query(
        root, "exit_answers", run_ids=[run_id], run_id=run_id, cell_id=cell["source_id"], rule=rule
    )
    blocks = (*cell["gates"], cell["depth"] - 1)
    images = rows.num_rows // len(blocks)
    if images * len(blocks) != rows.num_rows or not images:
        raise UsageError(
            f"run {run_id} has {rows.num_rows} rows of {cell['model']} on {cell['dataset']}, not"
            f" one for each of its {len(blocks)} exits and each image: resume it first"
        )
    if unanswered := rows.column("is_correct").null_count:
        raise UsageError(
            f"run {run_id} has {unanswered} of {rows.num_rows} answers of {cell['model']} on"
            f" {cell['dataset']} whose logits are not finite: no threshold has an accuracy; see"
            f" `gfjobs status {run_id}`, and run it in another precision or on another engine"
        )
    is_timed = cell["is_exit_forward_ms_promised"] and rule in (None, cell["exit_rule"])
    forward_ms = cell["exit_forward_ms"] if is_timed else None
    shape = (len(blocks), images)
    scores = np.asarray(rows.column("gate_score"), np.float32).reshape(shape)[:-1]
    with as_usage_errors():
        return ExitAnswers(
            gate_scores=scores,
            is_correct=np.asarray(rows.column("is_correct"), np.bool_).reshape(shape),
            exit_blocks=blocks,
            costs=np.array(forward_ms or [float(block + 1) for block in blocks], np.float64),
            cost_name="forward_ms" if forward_ms else "blocks",
        )


def read_bounds(root: storage.Root, run_id: str, cell: Row, thresholds: Vector) -> Row | None:
    """Return how far the device can be from its lender at some thresholds.

    Args:
        root: the results root.
        run_id: the run.
        cell: a row of `choosable`.
        thresholds: one per gate, chosen without looking at the sample.

    Returns: its row of `at_thresholds`; None if the answers are its own.
    """
    if not cell.get("accuracy_from"):
        return None
    rows: list[Row] = storage.named_query(
        root,
        "bounds_at",
        run_ids=[run_id],
        run_id=run_id,
        cell_id=cell["cell_id"],
        thresholds=list(thresholds),
    ).to_pylist()
    return rows[0]


def refuse_borrowed(chosen: Pass) -> None:
    """Refuse a promise on images that the device has not answered.

    Raises: UsageError: its answers are another device's.
    """
    lender = chosen.cell.get("accuracy_from")
    if lender:
        raise UsageError(
            f"--confidence: {chosen.cell['device']} borrows its accuracy from {lender}, and a"
            " guarantee needs answers of the device itself: give --device"
            f" {lender}, or submit a grid without `accuracy`"
        )


def read_points(root: storage.Root, run_id: str, cell: Row, most: int) -> list[Row]:
    """Return at most `most` evenly spread shared-threshold points of a pass, most costly first."""
    rows = storage.named_query(
        root, "curve", run_ids=[run_id], run_id=run_id, most=most, undominated=0
    )
    return [row for row in rows.to_pylist() if row["cell_id"] == cell["cell_id"]]


def read_exit_ms(root: storage.Root, run_id: str, cell: Row) -> Rounds:
    """Return image times at each exit of one all-exit pass, by round; empty if not measured."""
    rows = storage.named_query(
        root, "exit_times", run_ids=[run_id], run_id=run_id, cell_id=cell["cell_id"]
    ).to_pylist()
    return [
        np.array([row["exit_ms"] for row in group], np.float64)
        for _, group in groupby(rows, key=lambda row: row["round"])
    ]


@contextmanager
def as_usage_errors() -> Iterator[None]:
    """Turn a ValueError of the search, such as for a limit of NaN, into a UsageError."""
    try:
        yield
    except ValueError as err:
        raise UsageError(str(err)) from err


def _constraints(limits: Limits, by_blocks: tuple[float, ...], cell: Row) -> Constraints:
    if limits.min_acc1 is not None and 0 < limits.min_acc1 <= 1:
        raise UsageError(
            f"--min-acc1 {limits.min_acc1:g} is at most one percent: give percent, such as"
            f" {100 * limits.min_acc1:g} for a share of {limits.min_acc1:g}"
        )
    costs = []
    if limits.max_blocks is not None:
        costs.append(CostLimit("blocks", limits.max_blocks, by_blocks))
    if limits.max_forward_ms is not None:
        if not cell["is_exit_forward_ms_promised"]:
            raise UsageError(
                f"--max-forward-ms: no latency of {cell['model']} is promised:"
                f" {cell['exit_forward_ms_note']}; limit --max-blocks"
            )
        costs.append(CostLimit("forward_ms", limits.max_forward_ms, tuple(cell["exit_forward_ms"])))
    if limits.max_energy_mj is not None:
        energy_mj = cell["exit_energy_mj"]
        if energy_mj is None:
            is_within = cell["exit_forward_ms_verdict"] == "within"
            raise UsageError(
                f"--max-energy-mj: the energy of each exit of {cell['model']} is not known:"
                f" {cell['exit_energy_mj_note']};"
                f" limit {'--max-forward-ms or ' if is_within else ''}--max-blocks"
            )
        costs.append(CostLimit("energy_mj", limits.max_energy_mj, tuple(energy_mj)))
    constraints = Constraints(
        max_drop=limits.max_drop, min_accuracy_pct=limits.min_acc1, cost_limits=tuple(costs)
    )
    if not constraints.limits_accuracy and not costs:
        raise UsageError(
            "nothing is limited: give --max-drop or --min-acc1 to find the lowest cost, or"
            " --max-blocks, --max-forward-ms or --max-energy-mj to find the highest accuracy"
        )
    return constraints


def _only(cells: list[Row], run_id: str, narrowing: Mapping[str, str]) -> Row:
    meant = [c for c in cells if all(str(c[key]) == value for key, value in narrowing.items())]
    if len(meant) == 1:
        return meant[0]
    if not cells:
        raise UsageError(
            f"run {run_id} has no finished all-exit pass of a model with gates: there is nothing to"
            " choose (`measure: [accuracy]` makes such passes)"
        )
    listed = list_choices(meant) if meant else list_choices(cells, narrowing)
    problem = f"{len(meant)} all-exit passes{format_narrowing(narrowing)}"
    raise UsageError(f"run {run_id} has {problem}; choose one of:\n{listed}")


def format_narrowing(narrowing: Mapping[str, str]) -> str:
    """Format what was asked for: ` with --model dynn`; empty if nothing was."""
    asked = "".join(f" --{key} {value}" for key, value in narrowing.items())
    return asked and f" with{asked}"


def list_choices(cells: Sequence[Row], asked: Collection[str] = ()) -> str:
    """List the options that tell cells apart, and those that were asked, a line for each choice."""
    listed = [key for key in NARROWING if key in asked or len({str(c[key]) for c in cells}) > 1]
    keys = listed or ("model", "dataset")
    lines = ("  " + " ".join(f"--{key} {c[key]}" for key in keys) for c in cells)
    return "\n".join(dict.fromkeys(lines))


def storable(thresholds: Vector) -> Vector:
    """Replace -inf by 0, as a checkpoint or a grid requires: equal for scores from 0 to 1."""
    return tuple(0.0 if limit == -math.inf else limit for limit in thresholds)


def write_thresholds(
    root: storage.Root, run_id: str, cell: Row, thresholds: Vector, path: Path
) -> None:
    """Write the run's checkpoint to a file, with these default thresholds.

    Raises:
        UsageError: they are not of its own exit rule, the checkpoint is gone or changed or not
            recorded, or the file cannot be written.
    """
    rule = cell["exit_rule"]
    if cell["model"].endswith(f"@{rule}"):
        raise UsageError(
            f"--write: a checkpoint has thresholds for one exit rule, not for {rule}: write them"
            f" into a grid, as `thresholds: {{{rule}: [[...]]}}`"
        )
    source = _find_source(root, run_id, cell)
    exit_blocks, stored = source.config.exit_blocks, storable(thresholds)
    if not isinstance(source, StagedModel) and path.suffix == SUFFIX:
        raise UsageError(f"--write: {source.name} is a checkpoint: {path} must end in .safetensors")
    try:
        if not isinstance(source, StagedModel):
            gfnet.save_thresholds(source.path, path, stored, exit_blocks=exit_blocks)
        elif exit_blocks == source.manifest.exit_blocks:
            save_bundle_thresholds(source.path, path, stored)
        else:
            raise UsageError(
                f"--write: {source.name} has only some of its bundle's exits enabled, and a bundle"
                " has a threshold for each: write them into a grid, as `thresholds: [[...]]`"
            )
    except OSError as err:
        raise UsageError(f"{path} cannot be written: {err.strerror}") from err


def _find_source(root: storage.Root, run_id: str, cell: Row) -> Model:
    """Return the model of a cell, whose file must be the same as when the run was planned.

    Raises:
        UsageError: it is gone or was changed.
    """
    (run,) = [run for run in storage.list_runs(root) if run.run_id == run_id]
    grid_path, base = read_grid_folders(run_id, storage.read_submission(root, run_id))
    document = Document(grid_path, run.grid or "")
    values = document.root().mapping(KEYS)["models"].items()
    models = [model for value in values if (model := read_model(value, base))]
    name, digest = cell["model"], cell["checkpoint_sha256"]
    # Also by name: a grid may list one checkpoint twice, with different exits.
    called = [model for model in models if model.name == name]
    if source := next((model for model in called if model.sha256 == digest), None):
        return source
    if called:
        found = called[0]
        kind = "bundle" if isinstance(found, StagedModel) else "checkpoint"
        raise UsageError(
            f"--write: the {kind} of {name}, {found.path}, was changed since the run: its digest is"
            f" {found.sha256[:12]}, the run's {digest[:12]}; restore it, or submit a new run"
        )
    problems = "; ".join(f"{each.found}; allowed: {each.allowed}" for each in document.problems)
    raise UsageError(
        f"--write: the grid no longer names {name} with the digest {digest[:12]}:"
        f" {problems or 'no model of this name'}; restore its file, or submit a new run"
    )
