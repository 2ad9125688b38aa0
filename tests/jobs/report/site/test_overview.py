"""The overview: which figures are the newest, and what needs a look."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from jobs.report.site.overview import MissedNight, Newest, find_concerns, newest_figures
from jobs.report.site.series import group_series
from tests.jobs.report.site.test_series import RUNS, series


def newest(*rows: dict[str, Any]) -> list[Newest]:
    """The lines of an overview of these series."""
    return list(newest_figures(group_series(rows), RUNS.index))


def test_a_model_is_shown_at_the_first_thresholds_of_its_newest_run() -> None:
    """Not at those that only an earlier run had."""
    gone = series(threshold=0.1, position=0, run_id=["mon", "tue", "tue", "wed"])
    (line,) = newest(gone, series(threshold=0.7, position=2), series(threshold=0.5, position=1))
    assert (line.threshold, line.run_id, line.others) == ("0.5", "thu", 2)
    assert line.figures == {"acc1": "89.50", "forward_ms": "2.000", "energy_mj": "–"}
    assert [line.changes[name].text for name in line.figures] == ["-1.50", "-20.0 %", "–"]
    assert line.exits == "75.0 % after block 1; 25.0 % after block 3"
    assert [(share.left, share.width) for share in line.shares] == [(0, 75), (75, 25)]


def test_a_spark_line_has_the_valid_nights_from_lowest_to_highest() -> None:
    """Of the accuracy, if nothing was timed; there is none of a single night."""
    (line,) = newest(series())
    assert line.spark
    assert line.spark.points == "0.0,22.0 60.0,2.0 120.0,22.0"
    assert line.spark.alternative == "the last 3 nights: 2.000 to 2.500 ms, now 2.000 ms"
    (line,) = newest(series(forward_ms=[None] * 4))
    assert line.spark
    assert line.spark.alternative == "the last 3 nights: 89.50 to 91.00 %, now 89.50 %"
    (line,) = newest(series(is_valid=[True, False, False, False]))
    assert line.spark is None


RUN = {"run_id": "thu", "name": "nightly", "status": "done", "failed": 0}
VERDICT = {
    "verdict": "regression",
    "model": "early",
    "threshold": 0.5,
    "thresholds": None,
    "device": "cpu",
    "metric": "latency",
    "effect_pct": 12.34,
}


def concerns(*runs: dict[str, Any], **findings: list[dict[str, Any]]) -> list[str]:
    """What needs a look, as text."""
    return [each.text for each in find_concerns([RUN | run for run in runs], findings, [], [])]


@pytest.mark.parametrize("status", ["failed", "interrupted", "damaged"])
def test_a_run_that_did_not_end_well_needs_a_look(status: str) -> None:
    """The newest of its name alone."""
    assert concerns({"status": status}) == [f"nightly: the run is {status}"]
    assert concerns({}, {"status": status, "run_id": "wed"}) == []
    other = {"status": status, "run_id": "wed", "name": "weekly"}
    assert concerns({}, other) == [f"weekly: the run is {status}"]


def test_failed_cells_and_verdicts_need_a_look() -> None:
    """The worst first; an improvement does not, nor what an earlier night was judged."""
    better = VERDICT | {"verdict": "improvement"}
    worse = VERDICT | {"verdict": "suspect", "metric": "accuracy", "effect_pct": -1.5}
    found = concerns({"failed": 1}, thu=[better, worse, VERDICT], wed=[VERDICT])
    assert found == [
        "nightly: 1 cell failed",
        "early at 0.5 on cpu: latency regression, +12.3 %",
        "early at 0.5 on cpu: accuracy suspect, -1.5 points",
    ]


def test_what_runs_is_not_judged_by_its_state() -> None:
    """The run before it is the newest that has ended."""
    before = {"run_id": "wed", "status": "failed"}
    assert concerns({"status": "running", "failed": 2}, before) == ["nightly: the run is failed"]


def test_invalid_figures_and_missed_nights_need_a_look() -> None:
    """The newest figures; a night is named by when it was due."""
    lines = newest(series(is_valid=[True, True, True, False]), series(model="other"))
    missed = [MissedNight("nightly", datetime(2026, 5, 1, 22), "the machine was off")]  # noqa: DTZ001
    found = list(find_concerns([], {}, lines, missed))
    assert [(each.kind, each.run_id) for each in found] == [("invalid", "thu"), ("missed", None)]
    assert found[0].text.endswith("1 thread, 4 images: the newest figures are not valid")
    assert found[1].text == (
        "nightly: the night of 2026-05-01 22:00 UTC was missed: the machine was off"
    )
