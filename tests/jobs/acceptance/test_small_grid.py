"""The small grid: judged by its ladder and its certificate, with planted rows."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.acceptance.check_result import FAIL, OK, SKIP
from jobs.acceptance.small_grid import (
    MODELS,
    judge_flips,
    judge_millijoules,
    judge_milliseconds,
    judge_run,
)

ROW: dict[str, Any] = {
    "acc1": 98.0,
    "forward_ms": 1.5,
    "energy_mj": 30.0,
    "energy_gross_mj": 90.0,
    "note": None,
}


def ladder(**change: Any) -> list[dict[str, Any]]:
    """A row of each model; the last one changed."""
    rows = [ROW | {"model": name} for name in MODELS]
    return [*rows[:-1], rows[-1] | change]


def test_a_run_is_done_and_right() -> None:
    """Every model, with the accuracy of its checkpoint."""
    assert judge_run([], ladder(), is_done=True).verdict == OK
    assert judge_run([], ladder(acc1=11.0), is_done=True).verdict == FAIL
    assert judge_run([], ladder(acc1=None), is_done=True).verdict == FAIL
    assert judge_run([], ladder()[:1], is_done=True).verdict == FAIL
    result = judge_run(["Traceback\n  lines\nRuntimeError: no kernel"], [], is_done=False)
    assert result.verdict == FAIL
    assert "no kernel" in (result.found or "")


@pytest.mark.parametrize(("forward_ms", "verdict"), [(1.5, OK), (0.0, FAIL), (None, FAIL)])
def test_milliseconds_are_there(forward_ms: float | None, verdict: str) -> None:
    """Of every row; no rows are none."""
    assert judge_milliseconds(ladder(forward_ms=forward_ms)).verdict == verdict
    assert judge_milliseconds([]).verdict == FAIL


@pytest.mark.parametrize(
    ("change", "why_no_source", "is_gpu", "verdict"),
    [
        ({}, "", True, OK),
        ({"energy_mj": None, "note": "not above idle"}, "", True, FAIL),
        ({"energy_gross_mj": 0.0}, "", True, FAIL),
        ({}, "power: no source", False, FAIL),  # a figure that nothing has measured
    ],
)
def test_millijoules_are_there(
    change: dict[str, Any], why_no_source: str, is_gpu: bool, verdict: str
) -> None:
    """Of every row, if power is read; else none at all."""
    result = judge_millijoules(ladder(**change), why_no_source, is_gpu=is_gpu)
    assert result.verdict == verdict


@pytest.mark.parametrize(("is_gpu", "verdict"), [(True, SKIP), (False, OK)])
def test_without_a_source_millijoules_are_null(is_gpu: bool, verdict: str) -> None:
    """With the reason: on a processor as expected, on a GPU not shown."""
    rows = [row | {"energy_mj": None, "energy_gross_mj": None} for row in ladder()]
    result = judge_millijoules(rows, "power: no source", is_gpu=is_gpu)
    assert result.verdict == verdict
    assert "power: no source" in (result.found or result.reason or "")


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, OK),
        ({"flips": 2, "exit_flips": 2, "max_gate_distance": 5e-6}, OK),  # rounding
        ({"flips": 3, "exit_flips": 3, "max_gate_distance": 5e-6}, FAIL),  # of 200: too many
        ({"flips": 1, "exit_flips": 1, "max_gate_distance": 0.01}, FAIL),  # no rounding
        ({"routes": 0}, FAIL),
    ],
)
def test_flips_are_counted(change: dict[str, Any], verdict: str) -> None:
    """A few by rounding pass; many, or far ones, do not; nor does nothing to compare."""
    row = {"routes": 200, "flips": 0, "exit_flips": 0, "max_gate_distance": None}
    result = judge_flips([row | change])
    assert result.verdict == verdict
    assert result.figures["flips"] == (row | change)["flips"]
