"""Looks and their shares: by hand, how often intervals hold, and what SQL has of them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import duckdb
import numpy as np
import pytest

from jobs.statistics.autocorrelation import mean_variances
from jobs.statistics.sequential import FIRST_LOOK, OUTSIDE, half_width, looks, spend
from jobs.statistics.student_t import quantile
from storage.sql.macros import EXPRESSIONS
from storage.sql.text import query_text


def test_looks_by_hand() -> None:
    """Powers of two and three times these, between the fewest and the most, which is the last."""
    assert looks(3, 40) == (3, 4, 6, 8, 12, 16, 24, 32, 40)
    assert looks(5, 12) == (6, 8, 12)
    assert looks(7, 7) == (7,)
    grown = looks(3, 10_000)
    assert all(later <= 1.5 * look for look, later in pairwise(grown[:-1]))


@pytest.mark.parametrize("most", [3, 7, 40, 64, 10_000])
def test_looks_spend_the_error_and_no_more(most: int) -> None:
    """Whatever the last is; what a look between two spends, the next one does not get more of."""
    shares = [spend(look) for look in looks(FIRST_LOOK, most)]
    assert all(share > 0 for share in shares)
    assert sum(shares) < OUTSIDE
    assert spend(5) < spend(6)
    assert sum(spend(look) for look in looks(FIRST_LOOK, 48)) == pytest.approx(
        OUTSIDE / (1 + (12 / 48) ** 1.5)
    )


def test_a_width_by_hand() -> None:
    """Of rounds that differ without any order: near Student's t at the share of the look."""
    rounds = np.tile([1.0, -1.0], 200) + 100
    by_hand = quantile(spend(400) / 2, 399) * rounds.std(ddof=1) / 20
    assert half_width(rounds, 400) == pytest.approx(by_hand, rel=0.1)
    assert half_width(np.full(5, 2.5), 6) == 0
    assert half_width(rounds[:8] * 3, 8) == pytest.approx(3 * half_width(rounds[:8], 8))


def test_a_forecast_is_of_the_same_spread() -> None:
    """As many rounds ahead say the same; of four times as many the interval is about half."""
    rounds = np.random.default_rng(0).normal(100, 1, 32)
    assert half_width(rounds, 32, 32) == pytest.approx(half_width(rounds, 32))
    assert mean_variances(4)[0] == 1 / 4
    assert 0.4 < half_width(rounds, 128, 128) / half_width(rounds, 32) < 0.8


@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_intervals_hold_where_rounds_ended(correlation: float) -> None:
    """As `benchmarks/until.py` has it at length."""
    generator, most = np.random.default_rng(1), 40
    drawn = generator.normal(size=(400, most))
    drawn[:, 1:] *= (1 - correlation**2) ** 0.5
    for number in range(1, most):
        drawn[:, number] += correlation * drawn[:, number - 1]
    drawn, holds, is_open = 100 + drawn / 2, np.zeros(400, bool), np.ones(400, bool)
    for look in looks(FIRST_LOOK, most):
        seen = drawn[:, :look]
        reach = half_width(seen, look)
        is_over = is_open & ((reach <= 1) | (look == most))
        holds[is_over] = (np.abs(seen.mean(axis=1) - 100) <= reach)[is_over]
        is_open &= ~is_over
    assert holds.mean() >= 1 - OUTSIDE


@pytest.fixture(scope="module")
def looked_margin() -> Callable[..., float | None]:
    """That of SQL."""
    connection = duckdb.connect()
    for name in ("student_t", "look_factor", "looked_margin"):
        text = "\n".join(line.split("--")[0] for line in query_text(name).splitlines())
        connection.execute(f"CREATE MACRO {name}({', '.join(EXPRESSIONS[name])}) AS ({text})")

    def ask(number: int, counted: int, *, is_looked_at: bool = True) -> float | None:
        given = [number, counted, is_looked_at]
        found: tuple[float | None] | None
        found = connection.execute("SELECT looked_margin($1, $2, $3)", given).fetchone()
        assert found is not None
        return found[0]

    return ask


def exact(number: int, counted: int) -> float:
    """Student's t at the share of the look over that of one look."""
    return float(quantile(spend(number) / 2, counted - 1) / quantile(OUTSIDE / 2, counted - 1))


def test_sql_widens_as_much(looked_margin: Callable[..., float | None]) -> None:
    """Of rounds with a value each; beyond the list at least that."""
    assert looked_margin(2, 2) is None
    for number in range(3, 65):
        assert looked_margin(number, number) == pytest.approx(exact(number, number), abs=0.006)
    for number in (65, 513, 8193, 10_000):
        margin = looked_margin(number, number)
        assert margin is not None
        assert margin >= exact(number, number)
    for number in (2, 8):
        assert looked_margin(number, 5, is_looked_at=False) == 1
    assert looked_margin(8, 10) == looked_margin(8, 8)  # several windows in a round


def test_sql_widens_more_for_rounds_without_a_value(
    looked_margin: Callable[..., float | None],
) -> None:
    """Never less than exact, but for what the list is rounded; little more if few are missing."""
    assert looked_margin(8, 2) is None
    for number in range(4, 65):
        for counted in range(3, number):
            margin, expected = looked_margin(number, counted), exact(number, counted)
            assert margin is not None
            assert margin >= expected * 0.996
            if counted >= 0.8 * number:
                assert margin <= expected * 1.031
