"""A night judged: what is told, what is measured again, what is known, what is no verdict."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import storage
from jobs.analysis.regressions.judge import NightVerdict, Remeasure, judge
from jobs.analysis.regressions.settings import Settings
from jobs.analysis.regressions.view import describe_judgements
from jobs.common.errors import JobsError, UsageError
from jobs.common.formatting import Row

from .conftest import Nights

OURS, CONTROL = "dynn", "flat"
CONTROLLED = Settings(control=CONTROL)
Quiet = Callable[..., np.random.Generator]


def add(nights: Nights, generator: np.random.Generator, factor: float = 1.0) -> str:
    """A night that scatters by 1 %, which cell and control share, and 0.2 % of the cell's own.

    The cell is slower by a factor.
    """
    machine, own = scatter(generator)
    return nights.add({OURS: 2 * machine * own * factor, CONTROL: machine})


def scatter(generator: np.random.Generator) -> tuple[float, float]:
    """Of a night: the machine's, and the cell's own."""
    return float(np.exp(generator.normal(0, 0.01))), float(np.exp(generator.normal(0, 0.002)))


@pytest.fixture(scope="module")
def twelve(tmp_path_factory: pytest.TempPathFactory) -> Nights:
    """As many quiet nights, to copy: writing them takes as long as judging one."""
    nights, generator = Nights(tmp_path_factory.mktemp("quiet")), np.random.default_rng(1)
    for _ in range(12):
        add(nights, generator)
    return nights


@pytest.fixture
def quiet(nights: Nights, twelve: Nights) -> Quiet:
    """Begin with some quiet nights; the generator that gave them is returned."""

    def copy(count: int = 12) -> np.random.Generator:
        generator = np.random.default_rng(1)
        for run_id in twelve.written[:count]:
            shutil.copytree(twelve.root / "runs" / run_id, nights.root / "runs" / run_id)
            nights.written.append(run_id)
            scatter(generator)
        return generator

    return copy


def remeasure(nights: Nights, factor: float) -> Remeasure:
    """Measure again, on a machine that is 3 % slower by then."""

    def again(run_id: str, cells: Sequence[Row], control: str | None) -> str:
        asked = {row["model"] for row in cells} | {control}
        levels = {OURS: 2 * 1.03 * factor, CONTROL: 1.03}
        return nights.add(
            {model: levels[model] for model in levels if model in asked},
            run_id=f"{run_id}-again",
            name="nightly-again",
        )

    return again


def of(verdict: NightVerdict, model: str, metric: str) -> storage.RegressionRow:
    """The row of one cell and metric."""
    (row,) = [row for row in verdict.rows if (row.model, row.metric) == (model, metric)]
    return row


def never(_run: str, _cells: Sequence[Row], _control: str | None) -> str:
    """Measure nothing again: there is no suspect."""
    raise AssertionError


def test_a_quiet_night_is_ok(nights: Nights, quiet: Quiet) -> None:
    """Nothing is measured again, and the rows are in SQL."""
    quiet()
    verdict = judge(nights.root, nights.written[-1], CONTROLLED, never)
    assert {row.verdict for row in verdict.rows} == {"ok"}
    assert not verdict.is_regression
    assert verdict.state == "ok"
    rows = storage.query(nights.root, "FROM regressions").to_pylist()
    assert len(rows) == len(verdict.rows) == 4
    assert of(verdict, OURS, "latency").control == CONTROL
    assert "the control itself" in (of(verdict, CONTROL, "latency").note or "")


def test_a_slowdown_is_told_once_it_is_found_again(nights: Nights, quiet: Quiet) -> None:
    """5 % slower twice; the machine's own 3 % in the second measurement is divided out."""
    generator = quiet()
    run_id = add(nights, generator, 1.05)
    verdict = judge(nights.root, run_id, CONTROLLED, remeasure(nights, 1.05))
    row = of(verdict, OURS, "latency")
    assert (row.verdict, row.kind, row.confirmed_run_id) == (
        "regression",
        "step",
        f"{run_id}-again",
    )
    assert row.effect_pct == pytest.approx(5, abs=1.5)
    assert row.low is not None
    assert row.high is not None
    assert 0 < row.low < row.effect_pct < row.high
    assert verdict.is_regression
    text = describe_judgements(verdict)
    assert text.startswith(f"{run_id}: 1 regression")
    assert f"measured again in {run_id}-again" in text.replace("\n  ", " ")
    assert max(map(len, text.splitlines())) <= 80


def test_a_control_that_no_night_has_is_refused(nights: Nights, quiet: Quiet) -> None:
    """A typo would leave the machine's drift in every figure."""
    quiet(2)
    with pytest.raises(UsageError, match=r"flta is not a model of run night-01.*dynn, flat"):
        judge(nights.root, nights.written[-1], Settings(control="flta"))


def test_more_energy_in_the_same_time_is_told(nights: Nights) -> None:
    """Tonight the cell takes 10 % more above idle, and no millisecond more."""
    generator = np.random.default_rng(3)

    def night(factor: float, **named: str) -> str:
        above_w = 4 * float(np.exp(generator.normal(0, 0.002))) * factor
        power_w = {OURS: 5 + above_w, CONTROL: 9.0}
        return nights.add({OURS: 2.0, CONTROL: 1.0}, power_w=power_w, **named)

    def again(run_id: str, _cells: Sequence[Row], _control: str | None) -> str:
        return night(1.1, run_id=f"{run_id}-again", name="nightly-again")

    for _ in range(12):
        night(1.0)
    verdict = judge(nights.root, night(1.1), CONTROLLED, again)
    row = of(verdict, OURS, "energy")
    assert row.verdict == "regression"
    assert row.effect_pct == pytest.approx(10, abs=1)
    assert row.expected == pytest.approx(8 * np.mean(1 + 0.2 * np.sin(np.arange(200))), rel=0.01)
    assert of(verdict, OURS, "latency").verdict == "ok"
    assert "mJ" in describe_judgements(verdict)


def test_a_suspect_is_measured_again(nights: Nights, quiet: Quiet) -> None:
    """It stays one where nobody can, with the reason; not found again it is ok, told to nobody."""
    run_id = add(nights, quiet(), 1.08)

    def cannot(_run: str, _cells: Sequence[Row], _control: str | None) -> str:
        raise JobsError("the node is gone")

    verdict = judge(nights.root, run_id, CONTROLLED, cannot)
    row = of(verdict, OURS, "latency")
    assert (row.verdict, verdict.is_regression, verdict.state) == ("suspect", False, "suspect")
    assert "could not be measured again: the node is gone" in (row.note or "")
    verdict = judge(nights.root, run_id, CONTROLLED, remeasure(nights, 1.0))
    row = of(verdict, OURS, "latency")
    assert (row.verdict, verdict.is_regression) == ("ok", False)
    assert "at first, not found again" in (row.note or "")


def test_a_slow_night_of_a_machine_with_two_states_is_no_regression(nights: Nights) -> None:
    """It is `levels`: the levels are named, nobody is told; a night slower than both is suspect.

    The slow nights before it lie before the window of 8 nights: levels are remembered for two.
    """
    generator = np.random.default_rng(5)

    def night(level: float) -> str:
        return nights.add({OURS: level * float(np.exp(generator.normal(0, 0.002)))})

    for is_slow in map(int, "0010100000000"):
        night(2.2 if is_slow else 2.0)
    slow = night(2.2)
    verdict = judge(nights.root, slow, Settings(window=8), never)
    row = of(verdict, OURS, "latency")
    assert (row.verdict, row.kind, row.nights) == ("levels", "step", 13)
    assert (verdict.state, verdict.is_regression) == ("levels", False)
    assert row.effect_pct == pytest.approx(10, abs=1)
    assert row.expected == pytest.approx(2 * np.mean(1 + 0.2 * np.sin(np.arange(200))), rel=0.01)
    note = row.note or ""
    assert note.startswith("the machine returns to several levels: 2.0")
    assert "4 changes in 13 nights; compared with 2.2" in note
    text = describe_judgements(verdict)
    assert text.startswith(f"{slow}: 1 levels, 1 ok\n")
    assert max(map(len, text.splitlines())) <= 80
    rows = storage.query(nights.root, "FROM regressions WHERE verdict = 'levels'")
    assert rows.num_rows == 1
    worse = judge(nights.root, night(2.4), Settings(window=8))
    row = of(worse, OURS, "latency")
    assert row.verdict == "suspect"
    assert row.effect_pct == pytest.approx(9, abs=1)
    assert "several levels" in (row.note or "")


def test_what_is_told_is_not_told_again(nights: Nights, quiet: Quiet) -> None:
    """The next night is as slow: known since the night before; twice as bad is told anew."""
    generator = quiet()
    first = add(nights, generator, 1.1)
    assert judge(nights.root, first, CONTROLLED, remeasure(nights, 1.1)).is_regression
    second = add(nights, generator, 1.1)
    verdict = judge(nights.root, second, CONTROLLED, remeasure(nights, 1.1))
    row = of(verdict, OURS, "latency")
    assert (row.verdict, row.known_since, verdict.is_regression) == ("regression", first, False)
    third = add(nights, generator, 1.4)
    assert judge(nights.root, third, CONTROLLED, remeasure(nights, 1.4)).is_regression


def test_what_was_measured_again_counts_when_a_night_is_judged_again(
    nights: Nights, quiet: Quiet
) -> None:
    """Also if nothing may be measured now: a confirmed regression does not become a suspect."""
    generator = quiet()
    run_id = add(nights, generator, 1.05)
    assert not judge(nights.root, run_id, CONTROLLED).is_regression
    first = judge(nights.root, run_id, CONTROLLED, remeasure(nights, 1.05))
    second = judge(nights.root, run_id, CONTROLLED)
    row = of(second, OURS, "latency")
    assert (row.verdict, row.confirmed_run_id) == ("regression", f"{run_id}-again")
    before = of(first, OURS, "latency")
    assert (row.value, row.effect_pct) == pytest.approx((before.value, before.effect_pct))


def test_a_slow_drift_adds_up(nights: Nights) -> None:
    """0.4 % a night shows against the pinned baseline, and is called a drift."""
    generator = np.random.default_rng(8)
    for night in range(40):
        nights.add({OURS: 2 * float(np.exp(0.0025 * night + generator.normal(0, 0.01)))})

    def slower(run_id: str, _cells: Sequence[Row], _control: str | None) -> str:
        return nights.add({OURS: 2 * 1.105}, run_id=f"{run_id}-again", name="nightly-again")

    pinned = Settings(baseline=nights.written[0])
    verdict = judge(nights.root, nights.written[39], pinned, slower)
    row = of(verdict, OURS, "latency")
    assert (row.verdict, row.kind) == ("regression", "drift")
    assert row.effect_pct == pytest.approx(8, abs=2.5)
    assert row.value is not None
    assert row.expected is not None
    assert row.value == pytest.approx(row.expected * (1 + row.effect_pct / 100))
    (line,) = [line for line in describe_judgements(verdict).splitlines() if " ms drift " in line]
    assert [f"{row.expected:.3f}", f"{row.value:.3f}"] == line.split()[5:7]
    assert "no control" in (row.note or "")


def test_half_a_point_is_found_the_same_night(nights: Nights, quiet: Quiet) -> None:
    """One image of 200, answered wrongly twice: told; not wrong when asked again: not."""
    quiet(2)
    levels = {OURS: 2.0, CONTROL: 1.0}
    run_id = nights.add(levels, wrong=[7])

    def answers(wrong: Sequence[int], name: str) -> Remeasure:
        return lambda *_: nights.add(levels, wrong, run_id=name, name="nightly-again")

    verdict = judge(nights.root, run_id, CONTROLLED, answers([7], "again-1"))
    row = of(verdict, OURS, "accuracy")
    assert (row.verdict, row.kind, row.effect_pct) == ("regression", "accuracy", -0.5)
    assert (row.expected, row.value) == (100, 99.5)
    assert "1 images lost and 0 won" in (row.note or "")
    other = judge(nights.root, run_id, CONTROLLED, answers([], "again-2"))
    assert of(other, OURS, "accuracy").verdict == "ok"


def test_a_model_whose_logits_are_lost_is_a_regression(nights: Nights, quiet: Quiet) -> None:
    """It answered the same images before; also if only the second measurement has none."""
    quiet(2)
    levels = {OURS: 2.0, CONTROL: 1.0}
    run_id = nights.add(levels, lost=[OURS])

    def again(name: str, **night: Any) -> Remeasure:
        return lambda *_: nights.add(levels, run_id=name, name="nightly-again", **night)

    verdict = judge(nights.root, run_id, CONTROLLED, again("again-1", lost=[OURS]))
    row = of(verdict, OURS, "accuracy")
    assert (row.verdict, row.value, verdict.is_regression) == ("regression", None, True)
    assert "images with logits that are not finite: 200" in (row.note or "")
    assert describe_judgements(verdict).startswith(f"{run_id}: 1 regression")
    row = of(judge(nights.root, run_id, CONTROLLED, again("again-2")), OURS, "accuracy")
    assert row.verdict == "ok"
    dropped = nights.add(levels, wrong=[7])
    verdict = judge(nights.root, dropped, CONTROLLED, again("again-3", lost=[OURS]))
    assert of(verdict, OURS, "accuracy").verdict == "regression"


def test_a_regression_that_was_mended_is_no_level_of_the_machine(
    nights: Nights, quiet: Quiet
) -> None:
    """Told, mended, and there again: told again."""
    generator = quiet()
    told = add(nights, generator, 1.10)
    assert judge(nights.root, told, CONTROLLED, remeasure(nights, 1.10)).is_regression
    for _ in range(6):
        add(nights, generator)
    again = add(nights, generator, 1.10)
    verdict = judge(nights.root, again, CONTROLLED, remeasure(nights, 1.10))
    assert of(verdict, OURS, "latency").verdict == "regression"


def test_too_few_nights_are_no_verdict(nights: Nights, quiet: Quiet) -> None:
    """Neither green nor red; nights of another power mode, protocol or number do not count."""
    quiet(8)
    assert judge(nights.root, nights.written[6], CONTROLLED).state == "learning"
    moved = nights.add({OURS: 3.0, CONTROL: 1.0}, warmup_images=50)
    row = of(judge(nights.root, moved, CONTROLLED), OURS, "latency")
    assert row.verdict == "learning"
    assert "0 of 8 nights before it are comparable" in (row.note or "")


def test_too_few_rounds_are_invalid(nights: Nights, quiet: Quiet) -> None:
    """One round of two is throttled: no verdict on its latency, and it is no night for others."""
    generator = quiet()
    run_id = nights.add({OURS: 2.0, CONTROL: 1.0}, throttled=1)
    verdict = judge(nights.root, run_id, CONTROLLED)
    assert of(verdict, OURS, "latency").verdict == "invalid"
    assert verdict.state == "invalid"
    following = add(nights, generator)
    assert of(judge(nights.root, following, CONTROLLED), OURS, "latency").nights == 12


def test_a_control_that_is_slower_itself_stays_a_suspect(nights: Nights, quiet: Quiet) -> None:
    """The machine, or what all models share: the cell is ok beside it, and the control says so."""
    quiet()
    run_id = nights.add({OURS: 2 * 1.3, CONTROL: 1.3})

    def slow(*_: object) -> str:
        return nights.add({OURS: 2 * 1.3, CONTROL: 1.3}, run_id="again", name="nightly-again")

    verdict = judge(nights.root, run_id, CONTROLLED, slow)
    assert of(verdict, OURS, "latency").verdict == "ok"
    row = of(verdict, CONTROL, "latency")
    assert row.verdict == "suspect"
    assert "what all models share" in (row.note or "")


def test_what_cannot_be_judged_is_said(nights: Nights, quiet: Quiet) -> None:
    """A baseline of another name, and numbers without sense."""
    quiet(2)
    nights.add({OURS: 1.0}, run_id="other", name="other")
    with pytest.raises(UsageError, match="baseline other is not a finished run of the same name"):
        judge(nights.root, nights.written[1], Settings(baseline="other"))
    with pytest.raises(ValueError, match="at least 8"):
        Settings(window=5)


def test_rows_go_with_their_run(nights: Nights, quiet: Quiet) -> None:
    """They lie in the run's folder: judged again replaced, removed with it gone."""
    quiet(2)
    for _ in range(2):
        judge(nights.root, nights.written[1], CONTROLLED)
    assert storage.query(nights.root, "FROM regressions").num_rows == 4
    storage.remove_run(nights.root, nights.written[1])
    assert storage.query(nights.root, "FROM regressions").num_rows == 0


def test_several_data_sets_have_a_table_each() -> None:
    """The one with the worst row first; one alone needs no title. No verdict is broken."""
    place = ("digits/train@50", "cpu", "host", "torch", "float32", 1, 1)
    values = (0.5, None, "accuracy", "step", "learning")
    row = storage.RegressionRow("n", "digits-distil", *place, *values, expected=99, value=99)
    row = replace(row, effect_pct=0.0, low=-3.7, high=3.7, thresholds=(0.6, 0.5), threshold=None)
    bad = replace(row, dataset="scans", verdict="suspect")
    alone = describe_judgements(NightVerdict("n", (row,), None)).splitlines()
    both = describe_judgements(NightVerdict("n", (row, bad), None)).splitlines()
    assert "digits/train@50" not in alone
    assert both.index("scans") < both.index("digits/train@50")
    assert max(map(len, both)) <= 80
    assert any(line.startswith(" learning ") for line in both)
