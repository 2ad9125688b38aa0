"""Student's t against scipy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as student

import storage
from jobs.statistics import student_t as module
from jobs.statistics.student_t import mixed_quantile, mixed_tail, quantile, upper_tail


@pytest.mark.parametrize("freedom", [1, 3, 12, 28, 400])
@pytest.mark.parametrize("value", [-2.5, 0.0, 0.3, 2.0, 7.0])
def test_tail(value: float, freedom: int) -> None:
    """Far into the tail, where Holm and many cells lead."""
    assert upper_tail(value, freedom) == pytest.approx(student.sf(value, freedom), rel=1e-9)


@pytest.mark.parametrize("freedom", [2, 7, 28])
@pytest.mark.parametrize("upper", [0.025, 0.0025, 1e-5])
def test_quantile(upper: float, freedom: int) -> None:
    """The inverse."""
    assert quantile(upper, freedom) == pytest.approx(student.isf(upper, freedom), rel=1e-8)


def test_arrays_are_as_each_alone() -> None:
    """Degrees of freedom that are no whole numbers, close to 0 and far out."""
    values = np.array([-30.0, -1.0, 0.0, 1e-9, 0.4, 3.0, 1e4])
    freedom = np.array([[1.0], [1.7], [6.3], [3000.0]])
    found = upper_tail(np.broadcast_to(values, (4, 7)), freedom)
    assert found == pytest.approx(student.sf(values, freedom), rel=1e-9, abs=1e-300)


def test_one_degree_is_cauchys() -> None:
    """tan(0.475 pi)."""
    assert quantile(0.025, 1) == pytest.approx(np.tan(0.475 * np.pi))


def test_a_mixture_by_its_parts() -> None:
    """A quarter with scale 1, the rest with scale 3; the quantile is where the tail is so large."""
    scales, freedom, weights = np.array([1.0, 3.0]), np.array([2.0, 5.0]), np.array([0.25, 0.75])
    tail = mixed_tail(np.array(4.0), scales, freedom, weights)
    assert tail == pytest.approx(0.25 * student.sf(4, 2) + 0.75 * student.sf(4 / 3, 5))
    assert mixed_quantile(float(tail), scales, freedom, weights) == pytest.approx(4)


def test_mixtures_broadcast() -> None:
    """Scales, degrees of freedom and weights of other shapes: each is as it is alone."""
    generator = np.random.default_rng(2)
    scales = generator.uniform(0.1, 5, (3, 1, 2))
    freedom = generator.uniform(1, 30, (4, 2))
    weights = np.array([0.3, 0.7])
    found = mixed_quantile(0.01, scales, freedom, weights)
    assert found.shape == (3, 4)
    assert mixed_tail(found, scales, freedom, weights) == pytest.approx(0.01, rel=1e-11)
    for row, column in np.ndindex(3, 4):
        alone = mixed_quantile(0.01, scales[row, 0], freedom[column], weights)
        assert alone.shape == ()
        assert found[row, column] == pytest.approx(alone, rel=1e-12)
        tail = weights @ student.sf(alone / scales[row, 0], freedom[column])
        assert tail == pytest.approx(0.01)


@pytest.mark.parametrize("widest", range(3))
def test_any_of_the_three_gives_the_shape(widest: int) -> None:
    """Whichever has the most axes."""
    parts = [np.full((3, 2) if place == widest else (2,), 0.5) for place in range(3)]
    assert mixed_quantile(0.1, *parts).shape == (3,)


@pytest.mark.parametrize("freedom", [1, 7, 28])
def test_a_quantile_takes_few_steps(freedom: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By Newton's, each doubles the digits: 16 of them are enough."""
    monkeypatch.setattr(module, "_STEPS", 16)
    one = np.ones(1)
    found = float(mixed_quantile(0.025, one, freedom * one, one))
    assert found == pytest.approx(student.isf(0.025, freedom), rel=1e-11)


def test_the_quantile_of_sql(tmp_path: Path) -> None:
    """Its table and its expansion are this one to three digits, at every number of rounds."""
    found = storage.query(tmp_path, "select student_t(unnest(range(2, 200))) as t").to_pylist()
    expected = [quantile(0.025, number - 1) for number in range(2, 200)]
    assert [row["t"] for row in found] == pytest.approx(expected, abs=1e-3)
