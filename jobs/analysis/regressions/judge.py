"""Judges every cell of one night, measures suspects again, and writes the rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import storage
from jobs.analysis.comparison.comparable import IDENTITY, explain_no_times, make_identity
from jobs.analysis.regressions.accuracy import Drop, Judged
from jobs.analysis.regressions.history import UNITS, MeasuredNight, NightHistory
from jobs.analysis.regressions.latency import Finding, Nights, Pair, find_change
from jobs.analysis.regressions.settings import LEAST_NIGHTS, Settings
from jobs.common.clock import now
from jobs.common.errors import JobsError
from jobs.common.formatting import Row, format_counted

Remeasure = Callable[[str, Sequence[Row], "str | None"], str]
"""Measures cells of a run (rows of `measured`) again, in turns with the control of that name.
Returns the ID of the new run; raises JobsError if it cannot."""

WORST_FIRST: tuple[storage.Judgement, ...] = (
    "regression",
    "suspect",
    "invalid",
    "learning",
    "levels",
    "improvement",
    "ok",
)


@dataclass(frozen=True)
class NightVerdict:
    """The verdict on a night.

    Attributes:
        run_id: the night.
        rows: one per cell and metric.
        confirmed_run_id: the run in which suspects were measured again.
    """

    run_id: str
    rows: tuple[storage.RegressionRow, ...]
    confirmed_run_id: str | None = None

    @property
    def is_regression(self) -> bool:
        """Whether there is a regression to report: one that was not reported before."""
        return any(row.verdict == "regression" and row.known_since is None for row in self.rows)

    @property
    def state(self) -> storage.Judgement:
        """The worst verdict of all rows; `invalid` if there are none."""
        found = {row.verdict for row in self.rows}
        return next((verdict for verdict in WORST_FIRST if verdict in found), "invalid")


@dataclass(frozen=True)
class _Open:
    """A row that a second measurement may change, and the data behind it."""

    cell: Row
    row: storage.RegressionRow
    allowed: float
    nights: Nights | None = None
    drop: Drop | None = None


def judge(
    root: storage.Root, run_id: str, settings: Settings, remeasure: Remeasure | None = None
) -> NightVerdict:
    """Judge a night against the earlier runs of the same name, and write its rows.

    Args:
        root: the results root.
        run_id: the night.
        settings: what counts as a regression.
        remeasure: measures suspects again; None: they are judged by the run in which they were
            measured again before, if there is one, and stay suspects otherwise.

    Raises:
        UsageError: the run has nothing to judge, or the baseline is not such a run.
    """
    history = NightHistory.read(root, run_id, settings)
    judged = Judged(root, history)
    opened = _first(history, judged)
    suspects = {
        make_identity(each.cell): each.cell for each in opened if each.row.verdict == "suspect"
    }
    confirmed = _measured_before(root, run_id) if suspects and not remeasure else None
    if suspects and remeasure:
        try:
            confirmed = remeasure(run_id, list(suspects.values()), settings.control)
        except (JobsError, storage.StorageError) as err:
            opened = [_noted(each, f"could not be measured again: {err}") for each in opened]
    if confirmed:
        rows = storage.named_query(root, "measured_in", run_ids=[confirmed], run_id=confirmed)
        again = MeasuredNight(confirmed, rows.to_pylist())
        opened = [_again(each, again, history, judged) for each in opened]
    rows_now = tuple(_known(each.row, history.told.get(_key(each.row), ())) for each in opened)
    storage.save_regressions(root, run_id, rows_now)
    return NightVerdict(run_id, rows_now, confirmed)


def _measured_before(root: storage.Root, run_id: str) -> str | None:
    """Return the run in which suspects of a night were measured again when it was judged before."""
    rows = storage.named_query(root, "judged", run_ids=[run_id]).to_pylist()
    there = {run.run_id for run in storage.list_runs(root)}
    named = [row["confirmed_run_id"] for row in rows if row["confirmed_run_id"] in there]
    return named[0] if named else None


def _first(history: NightHistory, judged: Judged) -> list[_Open]:
    """Judge every cell and metric by its first measurement."""
    cells = history.tonight.rows
    timed: list[tuple[Row, storage.Metric]] = [
        (cell, metric)
        for cell in cells
        for metric in ("latency", "energy")
        if cell["kind"] == "latency" and (metric == "latency" or _has_net_power(cell))
    ]
    series = Counter((cell["device"], cell["node"]) for cell, _ in timed)
    opened = []
    for cell in cells:
        allowed = history.settings.false_alarms / max(series[cell["device"], cell["node"]], 1)
        if not cell.get("accuracy_from"):  # else judged in the cells of the device that answered
            opened.append(_accuracy(cell, judged, allowed))
        opened += [_timing(cell, m, history, allowed) for each, m in timed if each is cell]
    return opened


def _accuracy(cell: Row, judged: Judged, allowed: float) -> _Open:
    row = _blank(cell, "accuracy", "accuracy")
    if cell["acc1"] is None:
        # A model that had an accuracy and now gives no finite logits has lost all of it.
        is_lost = _is_not_finite(cell) and judged.is_known(cell)
        verdict: storage.Judgement = "suspect" if is_lost else "invalid"
        row = replace(row, verdict=verdict, note=cell["note"] or "no answers")
        return _Open(cell, row, allowed)
    drop = judged.find(cell, allowed)
    if drop is None:
        note = "no earlier night has predictions on the same images"
        return _Open(cell, replace(row, verdict="learning", value=cell["acc1"], note=note), allowed)
    points = drop.points
    row = replace(
        row,
        verdict=drop.verdict,
        value=cell["acc1"],
        expected=drop.expected,
        effect_pct=points.value,
        low=points.low,
        high=points.high,
        nights=1,
        note=drop.note,
    )
    return _Open(cell, row, allowed, drop=drop)


def _timing(cell: Row, metric: storage.Metric, history: NightHistory, allowed: float) -> _Open:
    row = _blank(cell, metric, "step")
    if metric == "energy":
        said = filter(None, (cell["energy_note"], cell["energy_source"]))
        row = replace(row, note="; ".join(said) or None)
    pair = history.pair(history.tonight, cell, metric)
    if cell["is_valid"] is False or pair is None:
        row = replace(row, verdict="invalid", value=cell[UNITS[metric]], note=cell["note"])
        return _Open(cell, row, allowed)
    nights = history.comparable(cell, metric)
    if not nights.are_enough:
        seen = sum(night.same(cell) is not None for night in history.earlier)
        before = format_counted(seen, "night before it is", "nights before it are")
        note = f"{len(nights.window)} of {before} comparable; {LEAST_NIGHTS} are needed"
        row = replace(row, verdict="learning", value=pair.value, nights=len(nights.window))
        return _Open(cell, _with_note(row, note), allowed)
    finding = find_change(nights, pair, history.settings, allowed)
    row = _found(row, nights, pair, finding, history.settings)
    if row.verdict != "ok":
        row = _with_note(row, _levels(nights, metric))
    if history.settings.control is None:
        row = _with_note(row, "no control: a drift of the machine is not divided out")
    elif cell["model"] == history.settings.control:
        row = _with_note(row, "the control itself")
    elif not nights.is_controlled:
        row = _with_note(row, f"the control {history.settings.control} was not timed with it")
    return _Open(cell, row, allowed, nights)


def _has_net_power(cell: Row) -> bool:
    """Whether its energy was measured, even if that gave none: the row is then invalid."""
    return None not in (cell["power_w"], cell["idle_w"])


def _found(
    row: storage.RegressionRow, nights: Nights, pair: Pair, finding: Finding, settings: Settings
) -> storage.RegressionRow:
    """Fill in a row with the finding of a measurement; a drift was found in the latest nights."""
    reference = nights.reference()
    value, control = pair.logs
    difference = finding.difference
    cleaned = reference.cleaned(value, control if nights.is_controlled else None)
    if finding.kind == "drift":
        cleaned = difference.expected + difference.effect
    return replace(
        row,
        kind=finding.kind,
        verdict=finding.verdict,
        value=math.exp(cleaned),
        expected=math.exp(difference.expected),
        effect_pct=100 * math.expm1(difference.effect),
        low=100 * math.expm1(difference.low),
        high=100 * math.expm1(difference.high),
        nights=len(reference.past),
        control=settings.control if nights.is_controlled else None,
        control_share=reference.share if nights.is_controlled else None,
    )


def _levels(nights: Nights, metric: storage.Metric) -> str | None:
    """Describe the levels that the machine returns to; None if there is one at a time."""
    several = nights.reference().recurring
    if several is None:
        return None
    unit = UNITS[metric].rpartition("_")[2].replace("mj", "mJ")
    named = ", ".join(f"{math.exp(mean):.4g}" for mean in several.means)
    slowest = math.exp(several.means[several.slowest])
    return (
        f"the machine returns to several levels: {named} {unit}, {several.changes} changes in"
        f" {len(several.of_night)} nights; compared with {slowest:.4g} {unit}"
    )


def _again(each: _Open, again: MeasuredNight, history: NightHistory, judged: Judged) -> _Open:
    """Judge a suspect only by its second measurement: the first was selected for being bad."""
    if each.row.verdict != "suspect":
        return each
    row = replace(each.row, confirmed_run_id=again.run_id)
    cell = again.same(each.cell)
    if cell is None:
        return replace(each, row=_with_note(row, "was not measured again"))
    metric = each.row.metric
    if metric == "accuracy":
        return replace(each, row=_accuracy_again(each, row, cell, judged))
    first = f"{each.row.effect_pct:+.1f} %"
    pair = history.pair(again, cell, metric)
    why = explain_no_times(each.cell, cell)
    if (
        pair is None
        or why
        or each.nights is None
        or (each.nights.is_controlled and not pair.control)
    ):
        why = why or "no figure for it or for its control"
        return replace(each, row=_with_note(row, f"measured again, not comparable: {why}"))
    finding = find_change(each.nights, pair, history.settings, each.allowed, is_again=True)
    row = _found(row, each.nights, pair, finding, history.settings)
    if finding.verdict != "regression":
        return replace(each, row=_with_note(row, f"{first} at first, not found again"))
    row = _with_note(row, f"{first} at first")
    if each.cell["model"] == history.settings.control:
        # The control has no control: a change of the machine and of all models look the same.
        row = _with_note(
            replace(row, verdict="suspect"), "the machine, or what all models share, is slower"
        )
    return replace(each, row=row)


def _accuracy_again(
    each: _Open, row: storage.RegressionRow, cell: Row, judged: Judged
) -> storage.RegressionRow:
    """Judge a suspected accuracy by its second measurement."""
    if cell["acc1"] is None:
        said = f"measured again, no accuracy: {cell['note'] or 'no answers'}"
        return _with_note(
            replace(row, verdict="regression" if _is_not_finite(cell) else "suspect"), said
        )
    is_again = each.drop is not None and judged.is_again(cell, each.drop)
    said = "found again" if is_again else f"{cell['acc1']:.2f} % when measured again"
    return _with_note(replace(row, verdict="regression" if is_again else "ok"), said)


def _is_not_finite(cell: Row) -> bool:
    """Whether the note of a cell says that it has no accuracy because of non-finite logits."""
    return "logits that are not finite" in (cell["note"] or "")


def _known(row: storage.RegressionRow, told: Sequence[Row]) -> storage.RegressionRow:
    """Set since when a regression is known: reported before, not better since, no worse now."""
    if row.verdict != "regression" or row.value is None:
        return row
    since = None
    for before in told:
        if before["verdict"] == "improvement":
            since = None
        else:
            is_accuracy = row.metric == "accuracy"
            worse = before["value"] - row.value if is_accuracy else row.value - before["value"]
            least = _least_worse(row, before["value"])
            since = None if worse > least else (since or before["known_since"] or before["run_id"])
    return replace(row, known_since=since)


def _least_worse(row: storage.RegressionRow, before: float) -> float:
    """Return the worsening beyond which a regression is a new one: half of the present effect."""
    effect = abs(row.effect_pct or 0.0) / 2
    return effect if row.metric == "accuracy" else before * effect / 100


def _blank(cell: Row, metric: storage.Metric, kind: storage.FindingKind) -> storage.RegressionRow:
    identity: dict[str, Any] = dict(zip(IDENTITY, make_identity(cell), strict=True))
    return storage.RegressionRow(
        run_id=cell["run_id"],
        metric=metric,
        kind=kind,
        verdict="ok",
        judged_at=now(),
        **identity,
    )


def _key(row: storage.RegressionRow) -> tuple[object, ...]:
    return (*(getattr(row, column) for column in IDENTITY), row.metric)


def _with_note(row: storage.RegressionRow, note: str | None) -> storage.RegressionRow:
    return replace(row, note="; ".join(filter(None, (row.note, note))))


def _noted(each: _Open, note: str) -> _Open:
    if each.row.verdict != "suspect":
        return each
    return replace(each, row=_with_note(each.row, note))
