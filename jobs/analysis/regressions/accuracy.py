"""Judges accuracy of one cell: tonight's predictions against earlier ones on the same images."""

from __future__ import annotations

from dataclasses import dataclass

import storage
from jobs.analysis.comparison.comparable import explain_no_accuracy
from jobs.analysis.comparison.run_data import RunAnswers, read_run_answers
from jobs.analysis.regressions.history import MeasuredNight, NightHistory
from jobs.analysis.regressions.settings import Settings
from jobs.common.formatting import Row
from jobs.statistics.bootstrap import IntervalEstimate
from jobs.statistics.mcnemar import AnswerChanges, interval, p_value

_ROUNDING = 1e-9  # of a percentage


@dataclass(frozen=True)
class Drop:
    """Tonight's predictions compared with those of an earlier night.

    Attributes:
        since: the earlier night.
        expected: its accuracy, percent.
        points: the change of accuracy in percentage points, with the interval for such images.
        verdict: `suspect`, `improvement` or `ok`.
        note: the change as text.
    """

    since: MeasuredNight
    expected: float
    points: IntervalEstimate
    verdict: storage.Judgement
    note: str


def judge_accuracy(changes: AnswerChanges, settings: Settings, allowed: float) -> storage.Judgement:
    """Judge changed predictions: a drop is suspect if it is large, or unlikely by chance.

    Args:
        changes: from an earlier night.
        settings: what counts as a regression.
        allowed: accepted false alarms for a smaller drop.
    """
    told = settings.accuracy_points - _ROUNDING
    is_unlikely = p_value(changes) / 2 < allowed
    if -changes.points >= told or (changes.points < 0 and is_unlikely):
        return "suspect"
    return "improvement" if changes.points >= told else "ok"


class Judged:
    """Judges the accuracy of cells, reading the predictions of each run once."""

    def __init__(self, root: storage.Root, history: NightHistory) -> None:
        self._root, self._history = root, history
        self._answers: dict[str, dict[str, RunAnswers]] = {}

    def find(self, row: Row, allowed: float) -> Drop | None:
        """Compare one of tonight's cells with the night before, and with the baseline.

        Args:
            row: of `measured`.
            allowed: accepted false alarms for a drop smaller than one that is always reported.

        Returns: the larger drop; None if no earlier night has predictions on the same images.
        """
        earlier = [night for night in self._history.earlier if self._is_alike(night, row)]
        if not earlier:
            return None
        pinned = [night for night in self._history.since_baseline if night in earlier]
        references = [earlier[-1], *pinned[:1]]
        drops = [self._drop(night, row, allowed) for night in references]
        return min(drops, key=lambda drop: (drop.verdict != "suspect", drop.points.value))

    def is_known(self, row: Row) -> bool:
        """Whether an earlier night has an accuracy on the same images."""
        earlier = [then for night in self._history.earlier if (then := night.same(row))]
        return any(
            then["acc1"] is not None and then["dataset_sha256"] == row["dataset_sha256"]
            for then in earlier
        )

    def is_again(self, row: Row, drop: Drop) -> bool:
        """Whether a second measurement finds an accuracy at least as low."""
        return bool(row["acc1"] - drop.expected <= drop.points.value + _ROUNDING)

    @staticmethod
    def _is_alike(night: MeasuredNight, row: Row) -> bool:
        then = night.same(row)
        return then is not None and explain_no_accuracy(then, row) is None

    def _drop(self, night: MeasuredNight, row: Row, allowed: float) -> Drop:
        then = night.same(row)
        assert then is not None  # it is alike
        first = self._of(night)[then["cell_id"]]
        second = self._of(self._history.tonight)[row["cell_id"]]
        changes = AnswerChanges.between(first.is_correct, second.is_correct)
        points = interval(changes)
        changed = f"{changes.lost} images lost and {changes.won} won since {night.run_id}"
        if then["checkpoint_sha256"] != row["checkpoint_sha256"]:
            changed += "; another checkpoint"
        verdict = judge_accuracy(changes, self._history.settings, allowed)
        return Drop(night, then["acc1"], points, verdict, changed)

    def _of(self, night: MeasuredNight) -> dict[str, RunAnswers]:
        if night.run_id not in self._answers:
            self._answers[night.run_id] = read_run_answers(self._root, night.run_id)
        return self._answers[night.run_id]
