"""What is asked of thresholds: counts of images, limits on several costs, words."""

from __future__ import annotations

import math

import numpy as np
import pytest

from jobs.analysis.thresholds.constraints import Constraints, CostLimit
from jobs.analysis.thresholds.exit_answers import ExitAnswers


def make(images: int, right_early: int, right_late: int) -> ExitAnswers:
    """Two exits that answer so many of the images correctly; all scores are 0.5."""
    places = np.arange(images)
    return ExitAnswers(
        np.full((1, images), 0.5, np.float32),
        np.stack([places < right_early, places < right_late]),
        (3, 7),
        np.array([4.0, 8.0]),
        "blocks",
    )


@pytest.mark.parametrize(
    ("constraints", "required"),
    [
        (Constraints(), 0),
        (Constraints(max_cost=5.0), 0),
        (Constraints(max_drop=0.0), 9_230),
        (Constraints(max_drop=0.5), 9_180),
        (Constraints(max_drop=0.505), 9_180),
        (Constraints(max_drop=-0.1), 9_240),
        (Constraints(max_drop=99.0), 0),
        (Constraints(min_accuracy_pct=92.3), 9_230),
        (Constraints(min_accuracy_pct=92.301), 9_231),
        (Constraints(max_drop=0.5, min_accuracy_pct=92.0), 9_200),
    ],
)
def test_accuracy_is_a_number_of_images(constraints: Constraints, required: int) -> None:
    """The stricter limit counts; rounding neither asks for an image more nor for one less."""
    assert constraints.required_correct(make(10_000, 9_000, 9_230)) == required


def test_what_is_sought() -> None:
    """The least cost once accuracy is limited, else the highest accuracy."""
    assert Constraints(max_drop=1.0, max_cost=5.0).limits_accuracy
    assert Constraints(min_accuracy_pct=90.0).limits_accuracy
    assert not Constraints(max_cost=5.0).limits_accuracy


def test_limits_on_several_costs_come_in_one_form() -> None:
    """The limit on the cost itself first, then the others, each with its costs by exit."""
    answers, energy = make(10, 5, 8), CostLimit("energy_mj", 30.0, (20.0, 50.0))
    limits = Constraints(max_cost=6.0, cost_limits=(energy,)).all_cost_limits(answers)
    assert limits == (CostLimit("blocks", 6.0, (4.0, 8.0)), energy)
    assert Constraints(max_drop=1.0).all_cost_limits(answers) == ()


def test_a_cost_for_each_exit() -> None:
    """A limit made for another model is refused."""
    limit = CostLimit("forward_ms", 3.0, (1.0, 2.0, 3.0))
    with pytest.raises(ValueError, match=r"3 costs for the limit on forward_ms; .*\[3, 7\]"):
        Constraints(cost_limits=(limit,)).all_cost_limits(make(10, 5, 8))


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_limits_are_finite(number: float) -> None:
    """NaN and infinity are refused in every place."""
    for build in (
        lambda: Constraints(max_drop=number),
        lambda: Constraints(min_accuracy_pct=number),
        lambda: Constraints(max_cost=number),
        lambda: Constraints(cost_limits=(CostLimit("energy_mj", number, (1.0, 2.0)),)),
    ):
        with pytest.raises(ValueError, match="give finite numbers"):
            build()


def test_what_a_point_misses() -> None:
    """One sentence for accuracy and one for each cost, with what was found and what was asked."""
    answers = make(10, 5, 8)
    energy = CostLimit("energy_mj", 19.0, (20.0, 50.0))
    asked = Constraints(max_drop=10.0, max_cost=3.5, cost_limits=(energy,))
    assert asked.missed(answers, answers.point((0.5,))) == (
        "accuracy is 50.00 %, below 70.00 % (at full depth 80.00 %)",
        "mean blocks is 4, above 3.5",
        "mean energy_mj is 20, above 19",
    )
    assert Constraints(max_drop=0.0, max_cost=8.0).missed(answers, answers.point((math.inf,))) == ()


def test_a_mean_allows_itself() -> None:
    """A limit copied from a mean that has no short decimal form is not missed by it."""
    answers = ExitAnswers(
        np.array([[0.9, 0.1, 0.1]], np.float32),
        np.ones((2, 3), np.bool_),
        (3, 7),
        np.array([0.1, 0.7]),
        "forward_ms",
    )
    point = answers.point((0.5,))
    assert Constraints(max_cost=point.cost).missed(answers, point) == ()


def test_in_words() -> None:
    """Everything asked stands in one line."""
    answers = make(10, 5, 8)
    limit = CostLimit("energy_mj", 30.0, (20.0, 50.0))
    asked = Constraints(max_drop=0.5, min_accuracy_pct=92.0, max_cost=6.0, cost_limits=(limit,))
    assert asked.describe(answers) == (
        "a drop of at most 0.5 points and an accuracy of at least 92 % and mean blocks of at most"
        " 6 and mean energy_mj of at most 30"
    )
    assert Constraints(max_drop=1.0).describe(answers) == "a drop of at most 1 point"
    assert Constraints().describe(answers) == "the highest accuracy"
