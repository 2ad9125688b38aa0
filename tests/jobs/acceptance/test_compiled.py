"""torch.compile: a compilation or a recording under the clock is seen, and fails."""

from __future__ import annotations

import pytest
import torch

from jobs.acceptance.check_result import FAIL, OK
from jobs.acceptance.compiled import Compilations, judge_compilations, judge_equal

BEFORE = Compilations(6, 3, 0)


@pytest.mark.parametrize(
    ("after", "is_gpu", "verdict"),
    [
        (Compilations(6, None, 0), False, OK),
        (Compilations(7, None, 0), False, FAIL),
        (Compilations(6, 3, 0), True, OK),
        (Compilations(6, 4, 0), True, FAIL),  # a CUDA graph was recorded
        (Compilations(6, 3, 1), True, FAIL),  # Inductor gave a CUDA graph up
        (Compilations(6, None, 0), True, OK),  # a torch that does not show its CUDA graphs
    ],
)
def test_nothing_is_made_while_the_clock_runs(
    after: Compilations, is_gpu: bool, verdict: str
) -> None:
    """Neither compiled nor recorded."""
    result = judge_compilations(BEFORE, after, is_gpu=is_gpu)
    assert result.verdict == verdict
    if after.recorded is None:
        assert result.figures["recorded_graphs"] is None, "not known is not 0"


def test_single_images_must_run_as_cuda_graphs() -> None:
    """None recorded at all: they were launched one kernel at a time."""
    none = Compilations(6, 0, 0)
    assert judge_compilations(none, none, is_gpu=True).verdict == FAIL


def test_torchs_own_compilations_are_counted() -> None:
    """A new function counts, and one that meets a new size; a call of what is there does not."""
    double = torch.compile(lambda images: images * 2, backend="eager", dynamic=False)
    counts = [Compilations.count(is_gpu=False).graphs]
    for size in (2, 2, 3):
        double(torch.ones(size))
        counts.append(Compilations.count(is_gpu=False).graphs)
    first, made, again, other = counts
    assert (made - first, again - made, other - again) == (1, 0, 1)


def test_answers_that_were_written_over_are_found() -> None:
    """By their logits or their exits."""
    assert judge_equal(1, 3e-6, 0).verdict == OK
    assert judge_equal(1, 0.3, 0).verdict == FAIL
    assert judge_equal(64, 3e-6, 1).verdict == FAIL
