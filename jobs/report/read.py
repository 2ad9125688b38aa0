"""Reads everything a run's report needs; each query runs once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

import storage
from jobs.analysis.curve import LISTED_POINTS
from jobs.analysis.latency_intervals import Means, mean_latencies
from jobs.analysis.serving.served import has_load, read_served
from jobs.analysis.thresholds.bands import MOST_POINTS, Band, bands
from jobs.analysis.thresholds.choose import read_exit_answers, read_exit_ms
from jobs.analysis.thresholds.exit_answers import ExitAnswers
from jobs.analysis.thresholds.exit_rules import RuleComparison, read_rules
from jobs.analysis.thresholds.latency_mixture import Rounds
from jobs.common.errors import UsageError
from jobs.common.formatting import SETTING, Row, format_float32

CURVE_POINTS = MOST_POINTS - LISTED_POINTS
"""Points per pass in addition to the undominated ones: bands take at most MOST_POINTS at once."""

SHOWN_IMAGES = 6
"""How many of the easiest and of the hardest images are shown, per exit, right and wrong."""

_FIGURES = ("summary", "judged", "unusable_cells", "machines", "inputs")
"""Queries about each run that is shown."""

_DEFAULT_THRESHOLD = 0.5

Setting = tuple[Any, ...]
"""The values of SETTING: rows with the same values are comparable."""


@dataclass(frozen=True, eq=False)
class PassClasses:
    """What every exit took every image of a pass for.

    Attributes:
        image_ids: (N,) in the order of `ExitAnswers`.
        labels: (N,) the class of each image.
        predictions: (E, N) by exit.
        names: of the classes that have one, by label.
    """

    image_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    names: Mapping[int, str]


@dataclass(frozen=True)
class AllExitPass:
    """One all-exit pass of a model with gates.

    Attributes:
        cell: its row of `choosable`.
        answers: predictions of every exit; None if they cannot be shown, for the reason `problem`.
        exit_ms: exit costs, from which latency is composed, by round; empty if not measured.
        thresholds: the page's initial thresholds, one per gate: the first that the model was
            routed with, else 0.5.
        images: rows of `exit_images` at these thresholds.
        bands: per point of its curve, the confidence band of the accuracy drop.
        rules: its exit rules side by side; None as `read_rules`.
        classes: its labels and predictions; None if there are no `answers`.
    """

    cell: Row
    answers: ExitAnswers | None
    problem: str | None
    exit_ms: Rounds
    thresholds: tuple[float, ...]
    images: Sequence[Row]
    bands: Sequence[Band] = ()
    rules: RuleComparison | None = None
    classes: PassClasses | None = None


@dataclass(frozen=True)
class Report:
    """Rows of a run by query; a sequence is empty if the run has no data for it.

    What follows `is_whole` takes most of the time and space, and is left out of most of a site.

    Attributes:
        run: row of `run_progress`.
        details: the run as submitted, with its grid and versions.
        ladder: rows of `summary`.
        judged: rows of `judged`: verdicts on this run compared with earlier nights.
        unusable, machines, inputs: rows of the queries of these names.
        is_whole: whether what follows was read.
        means: intervals of the ladder's mean latencies; None if they were not computed.
        curve: rows of `curve`, at most CURVE_POINTS per pass.
        histogram, latencies: rows of `exit_histogram`, `exit_latencies`.
        calibration: rows of `gate_calibration`.
        passes: all-exit passes of models with gates.
        throughputs: rows of `throughputs_in`.
        served: figures of the serving cells, as measured and simulated.
        told: rows of `told`: regressions and improvements of earlier nights.
        history: rows of `history`, for all models of the ladder.
    """

    run: Row
    details: storage.RunRow
    ladder: Sequence[Row]
    judged: Sequence[Row]
    unusable: Sequence[Row]
    machines: Sequence[Row]
    inputs: Sequence[Row]
    is_whole: bool = False
    means: Means | None = None
    curve: Sequence[Row] = ()
    histogram: Sequence[Row] = ()
    latencies: Sequence[Row] = ()
    calibration: Sequence[Row] = ()
    passes: Sequence[AllExitPass] = ()
    throughputs: Sequence[Row] = ()
    served: Sequence[Row] = ()
    told: Sequence[Row] = ()
    history: Sequence[Row] = ()

    @property
    def settings(self) -> list[Setting]:
        """All settings that have rows, in the order of the ladder."""
        rows = (*self.ladder, *self.curve, *self.latencies, *self.throughputs, *self.served)
        return list(dict.fromkeys(setting_key(row) for row in rows))

    @cached_property
    def models(self) -> list[str]:
        """All models, in the order that gives them their colours."""
        return list_models(self.inputs)


def list_models(inputs: Sequence[Row]) -> list[str]:
    """Returns the models of a run by name, from its rows of `inputs`: some have no figure yet."""
    return list(dict.fromkeys(row["name"] for row in inputs if row["kind"] == "checkpoint"))


def setting_key(row: Row) -> Setting:
    """Returns the setting in which a row was measured."""
    return tuple(row[name] for name in SETTING)


def select_setting(rows: Sequence[Row], setting: Setting) -> list[Row]:
    """Returns the rows of a setting."""
    return [row for row in rows if setting_key(row) == setting]


def read_report(root: storage.Root, run_id: str) -> Report:
    """Run all queries of the report for one run."""
    with storage.one_moment():
        (run,) = storage.named_query(root, "run_progress", run_ids=[run_id]).to_pylist()
        details = storage.find_run(root, run_id)
        answers = {name: table.to_pylist() for name, table in ask_figures(root, [run_id]).items()}
        report = complete_report(root, make_report(run, details, answers))
    told = storage.named_query(root, "told", run_id=run_id).to_pylist()
    return replace(report, told=told, history=list(_history(root, run_id, report.ladder)))


def ask_figures(root: storage.Root, run_ids: Sequence[str]) -> dict[str, Any]:
    """Ask what `make_report` needs of some runs: Arrow tables by question, in order of run.

    Raises:
        DamagedError: a run cannot be read.
    """
    return {name: storage.named_query(root, name, run_ids=run_ids) for name in _FIGURES}


def make_report(run: Row, details: storage.RunRow, answers: Mapping[str, Sequence[Row]]) -> Report:
    """Make the report of a run without what takes long, of its rows of `ask_figures`."""
    return Report(
        run=run,
        details=details,
        ladder=answers["summary"],
        judged=answers["judged"],
        unusable=answers["unusable_cells"],
        machines=answers["machines"],
        inputs=answers["inputs"],
    )


def complete_report(root: storage.Root, report: Report) -> Report:
    """Read what takes long: all that `is_whole` stands for, but not other nights."""
    with storage.one_moment():
        return _complete_report(root, report)


def _complete_report(root: storage.Root, report: Report) -> Report:
    run_id = report.details.run_id

    def ask(name: str, **parameters: object) -> list[Row]:
        table = storage.named_query(root, name, run_ids=[run_id], run_id=run_id, **parameters)
        rows: list[Row] = table.to_pylist()
        return rows

    curve = ask("curve", most=CURVE_POINTS, undominated=LISTED_POINTS)
    passes = []
    for cell in ask("choosable"):
        thresholds = first_thresholds(report.ladder, cell)
        images = ask(
            "exit_images",
            cell_id=cell["source_id"],
            thresholds=list(thresholds),
            most=SHOWN_IMAGES,
        )
        points = [row for row in curve if row["cell_id"] == cell["cell_id"]]
        passes.append(
            _read_pass(root, run_id, cell, thresholds=thresholds, images=images, points=points)
        )
    is_loaded = has_load(root, run_id)
    return replace(
        report,
        is_whole=True,
        means=mean_latencies(root, run_id),
        curve=curve,
        histogram=ask("exit_histogram"),
        latencies=ask("exit_latencies"),
        calibration=ask("gate_calibration"),
        passes=passes,
        throughputs=ask("throughputs_in") if is_loaded else (),
        served=[cell.figures() for cell in read_served(root, run_id)] if is_loaded else (),
    )


def first_thresholds(ladder: Sequence[Row], cell: Row) -> tuple[float, ...]:
    """Returns the first thresholds that the pass's model was routed with, one per gate, or 0.5."""
    gates = len(cell["gates"])
    routed = (
        row["thresholds"] or [row["threshold"]] * gates
        for row in select_setting(ladder, setting_key(cell))
        if row["model"] == cell["model"] and (row["thresholds"] or row["threshold"] is not None)
    )
    first = next((each for each in routed if len(each) == gates), [_DEFAULT_THRESHOLD] * gates)
    # As they were written, not the 17 digits of their float32.
    return tuple(float(format_float32(threshold)) for threshold in first)


def _read_pass(
    root: storage.Root,
    run_id: str,
    cell: Row,
    *,
    thresholds: tuple[float, ...],
    images: Sequence[Row],
    points: Sequence[Row],
) -> AllExitPass:
    try:
        answers = read_exit_answers(root, run_id, cell)
    except UsageError as err:
        return AllExitPass(cell, None, str(err), (), thresholds, images)
    exit_ms = read_exit_ms(root, run_id, cell)
    rules = read_rules(root, run_id, cell)
    classes = _read_classes(root, run_id, cell, len(answers.exit_blocks))
    read = AllExitPass(
        cell, answers, None, exit_ms, thresholds, images, rules=rules, classes=classes
    )
    vectors = [(row["threshold"],) * answers.gates for row in points]
    return replace(read, bands=bands(answers, vectors)) if vectors else read


def _read_classes(root: storage.Root, run_id: str, cell: Row, exits: int) -> PassClasses:
    rows = storage.named_query(
        root, "exit_predictions", run_ids=[run_id], run_id=run_id, cell_id=cell["source_id"]
    )
    names = storage.named_query(
        root, "class_names", run_ids=[run_id], dataset_sha256=cell["dataset_sha256"]
    ).to_pylist()
    ids, labels, predictions = (
        np.asarray(rows.column(name), np.int64).reshape(exits, -1)
        for name in ("image_id", "label", "prediction")
    )
    return PassClasses(
        ids[0], labels[0], predictions, {row["label"]: row["class_name"] for row in names}
    )


def _history(root: storage.Root, run_id: str, ladder: Sequence[Row]) -> Iterator[Row]:
    for model in dict.fromkeys(row["model"] for row in ladder):
        rows: list[Row] = storage.named_query(
            root, "history", run_id=run_id, model=model
        ).to_pylist()
        yield from rows
