"""What the overview says: the newest figures of each model, and what needs a look."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from jobs.analysis.regressions.judge import WORST_FIRST
from jobs.common.formatting import (
    Row,
    format_accuracy,
    format_counted,
    format_fixed,
    format_model,
    format_threshold,
)
from jobs.report.site.series import METRICS, RunOrder, SeriesGroup, changes

SPARK_NIGHTS = 30
"""Nights of a spark line."""

_SPARK_WIDTH, _SPARK_HEIGHT = 120.0, 24.0
_DIGITS = {"acc1": 2, "forward_ms": 3, "energy_mj": 3}
_UNITS = {"acc1": "%", "forward_ms": "ms", "energy_mj": "mJ"}
_BAD = ("failed", "interrupted", "damaged")


class MissedNight(NamedTuple):
    """A night that a schedule did not run."""

    schedule: str
    due_at: datetime
    why: str | None


class Change(NamedTuple):
    """A change as text, and its number to sort by."""

    text: str
    value: float | None


@dataclass(frozen=True)
class Spark:
    """A spark line.

    Attributes:
        points: of an SVG polyline, in a box of `width` by `height`.
        alternative: what it shows, in words.
    """

    points: str
    alternative: str
    width: float = _SPARK_WIDTH
    height: float = _SPARK_HEIGHT


class Share(NamedTuple):
    """The part of the images that leave at an exit: from `left` on, in percent of all."""

    block: int
    left: float
    width: float


@dataclass(frozen=True)
class Newest:
    """The newest figures of a model in one setting, at the first thresholds of its grid.

    Attributes:
        group: the model and setting.
        threshold: as text.
        run_id: the run that they are of.
        figures: acc1, forward_ms and energy_mj as text.
        changes: of these, since the last valid figure before.
        mean_blocks: as text.
        shares: where its images leave, and that in words.
        spark: of the latency, or of the accuracy if nothing was timed; None for a single night.
        is_valid: whether the figures are valid.
        others: how many more thresholds there are.
    """

    group: SeriesGroup
    threshold: str
    run_id: str
    figures: Mapping[str, str]
    changes: Mapping[str, Change]
    mean_blocks: str
    shares: Sequence[Share]
    exits: str
    spark: Spark | None
    is_valid: bool
    others: int


class Concern(NamedTuple):
    """Something that needs a look: how bad, what, and the run that it is about, if any."""

    kind: str
    text: str
    run_id: str | None


def newest_figures(groups: Sequence[SeriesGroup], order: RunOrder) -> Iterator[Newest]:
    """Yields one line per model and setting."""
    for group in groups:
        newest = max((row["run_id"][-1] for row in group.rows), key=order)
        row = next(each for each in group.rows if each["run_id"][-1] == newest)
        yield Newest(
            group=group,
            threshold=format_threshold(row),
            run_id=newest,
            figures={
                **{name: format_fixed(row[name][-1], _DIGITS[name]) for name in METRICS},
                **({"acc1": format_accuracy(row["borrowed"])} if row.get("borrowed") else {}),
            },
            changes={name: _change(row, name) for name in METRICS},
            mean_blocks=format_fixed(row["mean_blocks"][-1], 2),
            shares=list(_shares(row["exit_counts"])),
            exits="; ".join(
                f"{share.width:.1f} % after block {share.block}"
                for share in _shares(row["exit_counts"])
            ),
            spark=_spark(row, "forward_ms") or _spark(row, "acc1"),
            is_valid=bool(row["is_valid"][-1]),
            others=len(group.rows) - 1,
        )


def find_concerns(
    progress: Sequence[Row],
    findings: Mapping[str, Sequence[Row]],
    newest: Sequence[Newest],
    missed: Sequence[MissedNight],
) -> Iterator[Concern]:
    """Yields what needs a look: of the newest run of each name, and of the newest figures.

    Args:
        progress: rows of `run_progress`, newest first.
        findings: verdicts that say something, by run.
        newest: the newest figures.
        missed: nights that were not run.
    """
    seen = set()
    for run in progress:
        name = run["name"] or run["run_id"]
        if name in seen or run["status"] == "running":
            continue
        seen.add(name)
        if run["status"] in _BAD:
            yield Concern(run["status"], f"{name}: the run is {run['status']}", run["run_id"])
        if run["failed"]:
            cells = format_counted(run["failed"], "cell", "cells")
            yield Concern("failed", f"{name}: {cells} failed", run["run_id"])
        found = sorted(findings.get(run["run_id"], ()), key=_severity)
        for row in found:
            if row["verdict"] != "improvement":
                yield Concern(row["verdict"], _verdict(row), run["run_id"])
    for line in newest:
        if not line.is_valid:
            what = f"{format_model(line.group.model, line.threshold)}, {line.group.setting}"
            yield Concern("invalid", f"{what}: the newest figures are not valid", line.run_id)
    for night in missed:
        why = f": {night.why}" if night.why else ""
        text = f"{night.schedule}: the night of {night.due_at:%Y-%m-%d %H:%M} UTC was missed{why}"
        yield Concern("missed", text, None)


def _severity(row: Row) -> int:
    return WORST_FIRST.index(row["verdict"])


def _verdict(row: Row) -> str:
    effect = ""
    if row["effect_pct"] is not None:
        effect = f", {row['effect_pct']:+.1f} {'points' if row['metric'] == 'accuracy' else '%'}"
    model = format_model(row["model"], format_threshold(row))
    return f"{model} on {row['device']}: {row['metric']} {row['verdict']}{effect}"


def _change(row: Row, metric: str) -> Change:
    *_, value = changes(row, metric)
    if value is None:
        return Change("–", None)
    return Change(f"{value:+.2f}" if metric == "acc1" else f"{value:+.1f} %", value)


def _shares(counts: Sequence[int] | None) -> Iterator[Share]:
    total, left = sum(counts or ()), 0.0
    for block, count in enumerate(counts or ()):
        if count:
            width = 100 * count / total
            yield Share(block, left, width)
            left += width


def _spark(row: Row, metric: str) -> Spark | None:
    """Draws the newest valid figures of a series; None if there are not two."""
    known: list[Any] = [
        value
        for value, is_valid in zip(row[metric], row["is_valid"], strict=True)
        if value is not None and is_valid
    ][-SPARK_NIGHTS:]
    if len(known) < 2:  # noqa: PLR2004 (a line has two ends)
        return None
    low, high = min(known), max(known)
    step = _SPARK_WIDTH / (len(known) - 1)
    margin, inner = 2.0, _SPARK_HEIGHT - 4.0
    points = " ".join(
        f"{place * step:.1f},{margin + inner * (high - value) / ((high - low) or 1):.1f}"
        for place, value in enumerate(known)
    )
    digits, unit = _DIGITS[metric], _UNITS[metric]
    return Spark(
        points,
        f"the last {len(known)} nights: {low:.{digits}f} to {high:.{digits}f} {unit}, now"
        f" {known[-1]:.{digits}f} {unit}",
    )
