"""A comparison on paper: 80 columns, whatever the figures are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jobs.analysis.comparison.accuracy import Compared
from jobs.analysis.comparison.compare import Comparison
from jobs.analysis.comparison.run_data import Side
from jobs.analysis.comparison.view import describe_comparison

ROW = Compared(
    model="digits-gfnet-dynn",
    threshold=None,
    thresholds=(0.55, 0.65, 0.75),
    second_model="digits-gfnet-dynn",
    second_threshold=None,
    second_thresholds=(0.55, 0.65, 0.8),
    dataset="digits",
    device="cpu",
    node="host",
    runtime="torch",
    precision="float32",
    threads=1,
    batch_size=1,
    figure="latency",
)


def table(*rows: Compared) -> str:
    """What is printed of them."""
    return describe_comparison(Comparison(Side("a"), Side("b"), rows))


def test_wide_figures_fit_80_columns() -> None:
    """Lists of thresholds, an interval of two rounds, a small p, many images."""
    accuracy = replace(ROW, figure="accuracy", first=91, second=90, change=-1, p_holm=1e-9)
    text = table(
        replace(ROW, first=1063.183, second=5040.2, change=374.1, low=-99.7, high=380088.7),
        replace(ROW, figure="energy", first=12, second=11, change=-8, low=-9, high=-7, p_holm=2e-4),
        replace(ROW, figure="exits", first=9.4, second=9.6, change=0.2, moved=1234, images=10_000),
        replace(accuracy, low=-12.34, high=-10.99, lost=1234, won=1134),
    )
    assert max(map(len, text.splitlines())) <= 80
    for said in ("1063.18", "+374.1 %", "-99.7", ">+1,000", "0.0002", "<0.0001", "+1134"):
        assert said in text
    assert "380088" not in text


@pytest.mark.parametrize(
    ("p", "said"), [(1, "1"), (0.034, "0.034"), (0.0096, "0.0096"), (0.00012, "0.0001")]
)
def test_p_has_two_digits_and_at_most_four_decimals(p: float, said: str) -> None:
    """Its column is the last."""
    (line,) = [
        line for line in table(replace(ROW, change=1.0, p_holm=p)).splitlines() if " ms " in line
    ]
    assert line.split()[-1] == said


def test_a_setting_has_one_table() -> None:
    """Also if its rows do not stand together."""
    other = replace(ROW, device="cuda", change=2.0)
    text = table(replace(ROW, change=1.0), other, replace(ROW, change=3.0))
    assert text.count("digits on cpu of host") == 1
    assert text.index("+1.0 %") < text.index("+3.0 %") < text.index("+2.0 %")


def test_the_change_of_times_is_said_to_be_a_geometric_mean() -> None:
    """Next to means whose ratio may be another; not if only accuracy is compared."""
    said = "need not be the ratio of the means in the columns first and second"
    accuracy = replace(ROW, figure="accuracy", change=0.0, images=100)
    for row in (ROW, replace(ROW, figure="energy")):
        text = table(accuracy, replace(row, first=2, second=3, change=48.0))
        assert said in " ".join(text.split())
        assert "the geometric mean of the ratios" in " ".join(text.split())
        assert max(map(len, text.splitlines())) <= 80
    assert said not in " ".join(table(accuracy, replace(ROW, reason="throttled")).split())


def test_images_that_did_not_change_are_counted() -> None:
    """Asked for and none: not the same as not asked for; nor as not compared."""
    accuracy = replace(ROW, figure="accuracy", change=0.0, images=100)
    for rows, said in (
        ([accuracy, accuracy], "images whose prediction changed: none of 200 in 2 pairs of cells"),
        ([replace(accuracy, images=None, reason="other images")], "unknown, no pair has"),
    ):
        comparison = Comparison(Side("a"), Side("b"), rows, changed=[])
        assert said in describe_comparison(comparison)
    assert "images whose" not in table(accuracy)


def test_the_runs_are_named_as_the_columns_are() -> None:
    """`first` and `second`."""
    assert table(replace(ROW, change=1.0)).startswith("first:  a\nsecond: b\n")
