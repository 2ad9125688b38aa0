"""Runs compared: against figures worked out from the rows, and what is refused with its reason."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, cauchy

import storage
from jobs.analysis.comparison import accuracy as by_image
from jobs.analysis.comparison.accuracy import Compared
from jobs.analysis.comparison.comparable import CLOCK_TOLERANCE
from jobs.analysis.comparison.compare import Comparison, compare
from jobs.analysis.comparison.run_data import Side
from jobs.analysis.comparison.view import describe_comparison, encode_comparison
from jobs.common.errors import UsageError
from jobs.statistics.autocorrelation import CORRELATIONS
from tests.jobs.analysis.regressions.conftest import Nights

A, B = Side("a"), Side("b")


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    """Runs that were never run."""
    return Nights(tmp_path / "results", rounds=3)


def of(comparison: Comparison, figure: str, model: str = "dynn") -> Compared:
    """One figure of one model."""
    (row,) = [row for row in comparison.rows if (row.figure, row.model) == (figure, model)]
    return row


@pytest.fixture(scope="module")
def slower(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Of 200 images 6 are lost and 1 is won; each takes 10 % longer, in every round alike."""
    nights = Nights(tmp_path_factory.mktemp("slower") / "results", rounds=3)
    nights.add({"dynn": 2.0}, wrong=[3], run_id="a")
    nights.add({"dynn": 2.2}, wrong=[10, 11, 12, 13, 14, 15], run_id="b")
    return compare(nights.root, A, B, with_images=True)


def test_both_figures_from_the_rows(slower: Comparison) -> None:
    """By hand."""
    comparison = slower
    accuracy, latency = of(comparison, "accuracy"), of(comparison, "latency")
    assert (accuracy.first, accuracy.second, accuracy.change) == (99.5, 97, -2.5)
    assert (accuracy.lost, accuracy.won, accuracy.images) == (6, 1, 200)
    assert (accuracy.both_right, accuracy.both_wrong) == (193, 0)
    assert accuracy.p == pytest.approx(binomtest(1, 7, 0.5).pvalue)
    assert latency.change == pytest.approx(10)
    assert (latency.low, latency.p) == (None, None)
    assert "agree to the last digit" in (latency.p_reason or "")
    changed = comparison.changed or ()
    assert [image["image_id"] for image in changed] == [3, *range(10, 16)]
    assert changed[0]["first"] == 2
    assert [image["outcome"] for image in changed] == ["won", *["lost"] * 6]
    assert changed[0]["first_name"] is None  # no images were kept that would name it
    (pair,) = comparison.pairs
    assert (pair.figures, pair.changed) == (comparison.rows, changed)
    assert (pair.first["run_id"], pair.second["run_id"]) == ("a", "b")
    assert "--control MODEL" not in " ".join(comparison.notes)


def test_a_control_is_divided_out(nights: Nights) -> None:
    """The machine is 20 % slower, the cell 26 %: 5 % of its own; and who has no control says so."""
    nights.add({"dynn": 2.0, "flat": 1.0}, run_id="a")
    nights.add({"dynn": 2.0 * 1.26, "flat": 1.2}, run_id="b")
    row = of(compare(nights.root, A, B, "flat"), "latency")
    assert row.change == pytest.approx(5)
    assert "relative to that of the control flat" in (row.note or "")
    within = compare(nights.root, Side("a", "flat"), Side("a", "dynn"), "flat")
    assert within.notes == ("both sides are of one run: the control flat is not divided out",)


def test_a_control_that_a_run_lacks_is_refused(nights: Nights) -> None:
    """A typo does not give undivided figures; a control of another setting says so."""
    nights.add({"dynn": 2.0, "flat": 1.0}, run_id="a")
    nights.add({"dynn": 2.0, "new": 1.0}, run_id="b")
    nights.add({"dynn": 2.0, "flat": 1.0}, run_id="c", of_model={"flat": {"threads": 2}})
    with pytest.raises(UsageError, match=r"control flta is not .* of a or b; available: dynn$"):
        compare(nights.root, A, B, "flta")
    with pytest.raises(UsageError, match="control flat is not a timed model of b"):
        compare(nights.root, A, B, "flat")
    other = of(compare(nights.root, A, Side("c"), "flat"), "latency")
    assert "no control flat with the same setting in c" in (other.note or "")


def test_energy_by_window(nights: Nights) -> None:
    """9 W above 5 W idle for 2 ms, then 9.4 W: 10 % more, of which the control has 4."""
    took = {"dynn": 2.0, "flat": 1.0}
    nights.add(took, run_id="a", power_w={"dynn": 9.0, "flat": 10.0})
    nights.add(took, run_id="b", power_w={"dynn": 9.4, "flat": 10.2})
    comparison = compare(nights.root, A, B)
    row = of(comparison, "energy")
    mean_ms = 2 * np.mean(1 + 0.2 * np.sin(np.arange(200)))
    assert (row.first, row.second) == (pytest.approx(4 * mean_ms), pytest.approx(4.4 * mean_ms))
    assert row.change == pytest.approx(10)
    assert of(comparison, "latency").change == pytest.approx(0)
    controlled = of(compare(nights.root, A, B, "flat"), "energy")
    assert controlled.change == pytest.approx(100 * (1.1 / 1.04 - 1))


def test_energy_that_one_night_lacks_is_not_compared(nights: Nights) -> None:
    """Idle as it ran, or without a sensor: the reason stands there."""
    took = {"dynn": 2.0, "flat": 1.0}
    nights.add(took, run_id="a", power_w={"dynn": 9.0, "flat": 9.0})
    nights.add(took, run_id="b", power_w={"flat": 4.0})
    comparison = compare(nights.root, A, B)
    reasons = {
        "dynn": "no power, or none above idle, in some of its rounds",
        "flat": "power while running was not above idle: 4.0 W against 5.0 W",
    }
    for model, reason in reasons.items():
        row = of(comparison, "energy", model)
        assert row.change is None
        assert row.reason == reason


def test_what_is_not_alike_is_not_compared(nights: Nights) -> None:
    """The reason stands in the row, and in the table."""
    changes: dict[str, dict[str, object]] = {
        "protocol": {"protocol": 2},
        "warm": {"warmup_images": 50},
        "content": {"dataset_sha256": "d1"},
        "hot": {"is_valid": False, "note": "hot"},
    }
    for run_id, of_model in (("a", {}), ("b", changes)):
        nights.add(dict.fromkeys(changes, 2.0), run_id=run_id, of_model=of_model)
    comparison = compare(nights.root, A, B)
    for model, figure, reason in (
        ("protocol", "latency", "protocol version: 1, then 2"),
        ("warm", "latency", "warm-up images: 10, then 50"),
        ("content", "accuracy", "the data set has other content"),
        ("content", "latency", "the data set has other content"),
        ("hot", "latency", "the second is invalid (hot"),
    ):
        row = of(comparison, figure, model)
        assert row.change is None
        assert reason in (row.reason or "")
    assert of(comparison, "accuracy", "warm").change == 0
    assert describe_comparison(comparison).count("not compared") >= len(changes)


def test_within_one_run(nights: Nights) -> None:
    """Two models of one run, in rounds that took turns; static ones have no threshold."""
    nights.add({"dynn": 2.0, "flat": 1.0}, run_id="a")
    comparison = compare(nights.root, Side("a", "flat"), Side("a", "dynn"))
    row = of(comparison, "latency", "flat")
    assert (row.second_model, row.change) == ("dynn", pytest.approx(100))
    with pytest.raises(UsageError, match="both sides are run a"):
        compare(nights.root, A, A)
    with pytest.raises(UsageError, match="run a has no cells of model flta; it has dynn, flat"):
        compare(nights.root, A, Side("a", "flta"))


def test_no_cell_is_compared_with_itself(nights: Nights) -> None:
    """A model without gates is at both thresholds: left out before p is adjusted, and named."""
    took = {"dynn@0.5": 2.0, "dynn@0.25": 2.2, "flat": 1.0, "list": 3.0}
    rounds = {"dynn@0.5": [1.0, 1.01, 0.99]}
    several = {"list": {"thresholds": (0.5, 0.25)}}
    nights.add(took, run_id="a", factors=rounds, of_model=several)
    sides = Side("a", threshold=0.5), Side("a", threshold=0.25)
    comparison = compare(nights.root, *sides)
    assert {row.model for row in comparison.rows} == {"dynn"}
    latency = of(comparison, "latency")
    assert latency.p is not None
    assert latency.p_holm == pytest.approx(min(1, 2 * latency.p))  # and the accuracy's, of p 1
    assert comparison.alone == []
    (left_out,) = (note for note in comparison.notes if "flat" in note)
    assert left_out == "the same on both sides, so not compared: flat"
    assert left_out in " ".join(describe_comparison(comparison).split())
    for models, *same in (
        ("dynn, flat", Side("a", threshold=0.5), Side("a", threshold=0.5 + 1e-12)),
        ("flat", Side("a", "flat", 0.5), Side("a", "flat", 0.25)),
    ):
        with pytest.raises(UsageError, match=f"the same cells of run a, of {models}: name two"):
            compare(nights.root, *same)


def test_blocks_are_compared_at_one_threshold_or_several(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only of two static models there is nothing to compare."""
    monkeypatch.setattr(by_image, "_same_answers", lambda *_: "not asked")
    static = {"model": "flat", "threshold": None, "thresholds": None, "mean_blocks": 3.0}
    static |= dict.fromkeys(by_image.PLACE)
    shared, several = static | {"threshold": 0.5}, static | {"thresholds": [0.6, 0.5]}
    runs: Any = None
    assert by_image.exits(runs, static, static) is None
    for pair in ((shared, shared), (several, several), (static, several), (several, static)):
        row = by_image.exits(runs, *pair)
        assert row is not None
        assert (row.figure, row.reason) == ("exits", "not asked")


def test_two_paired_rounds_have_one_degree_of_freedom(nights: Nights) -> None:
    """Gains of 0 and 0.2: Cauchy's distribution, whatever the correlation of rounds is."""
    nights.rounds = 2
    gains = {"dynn": [1.0, np.exp(0.2)]}
    nights.add({"flat": 2.0, "dynn": 2.0}, run_id="a", factors=gains)
    row = of(compare(nights.root, Side("a", "flat"), Side("a", "dynn")), "latency", "flat")
    errors = 0.1 * np.sqrt((1 + CORRELATIONS) / (1 - CORRELATIONS))
    assert row.change == pytest.approx(100 * np.expm1(0.1))
    assert row.p == pytest.approx(2 * cauchy.sf(0.1 / errors).mean())
    assert row.p_reason is None
    assert row.low is not None
    assert row.high is not None
    assert np.log1p(np.array([row.low, row.high]) / 100).mean() == pytest.approx(0.1)


def test_one_round_has_no_p(nights: Nights) -> None:
    """Nor an interval: null with the reason for programs, a dash and a remark in the table."""
    for run_id, rounds, power_w in (("a", 3, 9.0), ("b", 1, 9.4)):
        nights.rounds = rounds
        nights.add({"dynn": 2.0}, run_id=run_id, power_w={"dynn": power_w}, is_valid=True)
    comparison = compare(nights.root, A, B)
    for each in json.loads(encode_comparison(comparison, "json")):
        assert (each["p"] is None) == (each["p_reason"] is not None)
    text = describe_comparison(comparison)
    lines = list(csv.DictReader(io.StringIO(encode_comparison(comparison, "csv").decode())))
    reason = "one unthrottled round in the second: how rounds differ is unknown"
    assert f"no p: {reason}" in " ".join(text.split())
    for figure, unit in {"latency": " ms ", "energy": " mJ "}.items():
        row = of(comparison, figure)
        assert row.change is not None
        assert (row.low, row.high, row.p, row.p_holm) == (None,) * 4
        assert (row.p_reason or "").startswith(reason)
        (line,) = [line for line in lines if line["figure"] == figure]
        assert (line["p"], line["p_holm"], line["low"]) == ("", "", "")
        assert line["p_reason"] == row.p_reason
        (shown,) = [line for line in text.splitlines() if unit in line]
        assert shown.split()[-2:] == ["–", "–"]


def test_fewer_rounds_than_the_first_look_have_no_p(tmp_path: Path) -> None:
    """A run that still adds rounds until figures are known may not stop there."""
    nights = Nights(tmp_path / "results", rounds=2)
    for run_id, slower in (("a", 1.0), ("b", 1.1)):
        nights.add({"dynn": slower}, run_id=run_id, factors={"dynn": [1.0, 1.01]}, until_pct=1.0)
    row = of(compare(nights.root, A, B), "latency")
    assert row.change == pytest.approx(10)
    assert (row.low, row.high, row.p) == (None,) * 3
    assert (row.p_reason or "").startswith("fewer than 3 rounds of those that end when")


def test_what_has_no_counterpart_is_listed(nights: Nights) -> None:
    """Not dropped; and two runs without a common cell are an error."""
    nights.add({"dynn": 2.0, "flat": 1.0}, run_id="a")
    nights.add({"dynn": 2.0}, run_id="b")
    nights.add({"distil": 2.0}, run_id="c")
    assert "only in a: flat" in compare(nights.root, A, B).alone[0]
    with pytest.raises(UsageError, match="no model and threshold in common") as refused:
        compare(nights.root, A, Side("c"))
    assert "dynn, flat in a, distil in c" in str(refused.value)


def test_runs_without_a_common_cell_say_where_they_differ(nights: Nights) -> None:
    """The axis with its values of both, and cells of both, with how many more there are."""
    models = {f"m{number}": 1.0 for number in range(6)}
    nights.add(models, run_id="a", threads=1)
    nights.add(models, run_id="b", threads=0)
    with pytest.raises(UsageError) as refused:
        compare(nights.root, A, B)
    text = str(refused.value)
    assert "no number of threads in common: 1 thread in a, all threads in b" in text
    assert text.count(" in common") == 2
    assert "cells of a: m0 on " in text
    assert "cells of b: m0 on " in text
    assert text.count("and 2 more") == 2


def test_other_programs_get_all_rows(slower: Comparison) -> None:
    """As JSON and CSV; the table fits a terminal."""
    comparison = replace(slower, changed=None)
    rows = json.loads(encode_comparison(comparison, "json"))
    assert [row["figure"] for row in rows] == ["accuracy", "latency"]
    header, *lines = encode_comparison(comparison, "csv").decode().splitlines()
    assert header.split(",") == [field.name for field in fields(Compared)]
    assert len(lines) == 2
    assert max(map(len, describe_comparison(comparison).splitlines())) <= 80


def test_answers_are_those_of_the_ladder(nights: Nights) -> None:
    """The mean of the answers that are compared is acc1."""
    nights.add({"dynn": 2.0, "flat": 1.0}, wrong=range(30), run_id="a")
    rows = storage.query(
        nights.root,
        "SELECT acc1, 100 * avg(is_correct::INT) AS mean FROM ladder"
        " JOIN image_answers('a') USING (run_id, cell_id) GROUP BY cell_id, acc1",
    ).to_pylist()
    assert [(row["acc1"], row["mean"]) for row in rows] == [(85, 85)] * 2
    assert np.isfinite(rows[0]["mean"])


def test_a_clock_may_be_as_far_off_as_in_sql() -> None:
    """The share that conditions.sql allows between cells is allowed between runs."""
    share = f"{1 - CLOCK_TOLERANCE:g} * highest_clock_mhz"
    queries = Path(storage.__file__).with_name("queries")
    assert share in (queries / "conditions" / "conditions.sql").read_text()
