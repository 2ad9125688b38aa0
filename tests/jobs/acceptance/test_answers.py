"""Answers against the truth: what passes, and that planted errors do not."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import gfnet
from gfnet.config import FAMILIES
from jobs.acceptance import answers
from jobs.acceptance.answers import judge_float32, judge_half, judge_switches, judge_tf32
from jobs.acceptance.bench import Bench
from jobs.acceptance.check_result import FAIL, OK, SKIP
from jobs.acceptance.errors import (
    Answers,
    Errors,
    exits_at,
    find_clear,
    measure_errors,
    threshold_between,
)
from jobs.machine.devices import use_device

GOOD = Errors(logits=2e-7, scores=3e-7, clear=16, images=16)
CPU = Errors(logits=1e-7, scores=2e-6, clear=16, images=16)
HALF = Errors(logits=0.006, scores=0.01, clear=8, images=16)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """A runtime sets the threads of its process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def bench() -> Bench:
    """The processor, with eager torch."""
    return Bench(use_device("cpu"), ("torch",))


def test_every_family_and_every_rule_is_checked(bench: Bench) -> None:
    """Those that can have exits with gates and without; the student by every other rule."""
    models = dict(bench.families())
    assert {model.config.family for model in models.values()} == set(FAMILIES)
    gated = {name for name, model in models.items() if model.config.exit_blocks} - {
        name for name, model in models.items() if not model.config.has_gates
    }
    assert gated == {"gfnet-dynn", "gfnet-h", "gfnet-distil-dynn"}
    assert set(models) == set(FAMILIES) | {f"{name} without gates" for name in gated}
    rules = {model.exit_rule for _, model in bench.rules()} | {bench.student.exit_rule}
    assert rules == set(gfnet.EXIT_RULES)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, OK),
        ({"logits": 0.9e-6}, OK),  # within the floor, which is above 8 times 1e-7
        ({"logits": 1.1e-6}, FAIL),
        ({"logits": float("inf")}, FAIL),  # not a number
        ({"scores": 1.5e-5}, OK),  # 8 times 2e-6
        ({"scores": 1.7e-5}, FAIL),
        ({"exits": 1}, FAIL),
        ({"clear": 4}, OK),
        ({"clear": 3}, FAIL),  # too few have shown anything
        ({"flips": 3}, OK),  # ties: told, and not failed
    ],
)
def test_float32_is_judged_by_the_processors(change: dict[str, Any], verdict: str) -> None:
    """Eight times its error from float64, and every exit that rounding does not decide."""
    found = judge_float32("x", replace(GOOD, **change), CPU)
    assert found.verdict == verdict
    assert found.figures["cpu_logits_error"] == 1e-7


@pytest.mark.parametrize(
    ("precision", "change", "verdict"),
    [
        ("bfloat16", {}, OK),
        ("bfloat16", {"logits": 1e-7}, FAIL),  # it is float32
        ("bfloat16", {"logits": 0.05}, FAIL),
        ("bfloat16", {"scores": 0.1}, FAIL),
        ("bfloat16", {"exits": 1}, FAIL),
        ("float16", {}, FAIL),  # it is bfloat16
        ("float16", {"logits": 0.0008}, OK),
    ],
)
def test_half_precision_is_near_and_is_half(
    precision: str, change: dict[str, Any], verdict: str
) -> None:
    """Neither too far from float64 nor nearer than its bits allow."""
    assert judge_half("x", precision, replace(HALF, **change)).verdict == verdict


def test_tf32_must_be_off_and_worse() -> None:
    """Where it is on already, switching it on changes nothing."""
    assert judge_tf32(2e-7, 4e-4).verdict == OK
    assert judge_tf32(4e-4, 4e-4).verdict == FAIL
    assert judge_switches([]).verdict == OK
    assert judge_switches(["convolutions"]).verdict == FAIL


def test_a_threshold_lies_where_no_score_is() -> None:
    """In the widest gap of the middle half; where all are equal, above them."""
    assert threshold_between(np.array([0.9, 0.0, 0.1, 0.2, 0.5, 0.6, 0.61, 0.62])) == 0.35
    assert threshold_between(np.ones(4)) == 1.5


def test_exits_are_the_first_that_let_an_image_go() -> None:
    """By hand: the first image at once, the second at the second exit, the last at the end."""
    scores = np.array([[0.7, 0.2, 0.2], [0.1, 0.6, 0.5]])
    assert exits_at(scores, [0.5, 0.55]).tolist() == [0, 1, 2]
    found = scores + np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.03]])
    # An error of 0.03 at the second exit: nearer than 0.06 to 0.55 nothing is decided.
    assert find_clear(found, scores, [0.5, 0.55]).tolist() == [True, False, False]


class _Planted:
    """An engine with one thing wrong."""

    def __init__(self, model: gfnet.GFNet, wrong: str) -> None:
        self._model, self._wrong = model, wrong

    def forward_exits(self, images: Any) -> gfnet.ExitOutputs:
        """As the model, but for what is wrong."""
        outputs = self._model.forward_exits(images)
        logits, scores = outputs.logits.clone(), outputs.gate_scores.clone()
        if self._wrong == "one logit":
            logits[0, 3, 1] += 0.01
        if self._wrong == "not a number":
            logits[-1, 0, 0] = torch.nan
        if self._wrong == "scores":
            scores[0] += 0.02
        return outputs._replace(logits=logits, gate_scores=scores)

    def route(self, images: Any, threshold: Any) -> gfnet.RoutedOutputs:
        """As the model, but for what is wrong."""
        if self._wrong == "all stay" and len(images) > 1:
            threshold = [np.inf] * len(threshold)
        routed = self._model.route(images, threshold)
        if self._wrong == "another image's" and len(images) > 1:
            return routed._replace(logits=routed.logits.roll(1, 0))
        if self._wrong == "a single image" and len(images) == 1:
            return routed._replace(logits=routed.logits + 0.5)
        return routed


@pytest.mark.parametrize(
    "wrong",
    ["", "one logit", "not a number", "scores", "all stay", "another image's", "a single image"],
)
def test_what_is_planted_is_found(bench: Bench, wrong: str) -> None:
    """Nothing wrong passes; each wrong thing alone does not."""
    model = dict(bench.families())["gfnet-distil-dynn"]
    images = bench.images(12, model)
    with torch.inference_mode():
        truth = Answers.of(copy.deepcopy(model).double().forward_exits(images.double()))
    cpu = measure_errors(model, model, truth, images)
    found = measure_errors(_Planted(model, wrong), model, truth, images)
    assert judge_float32("x", found, cpu).verdict == (FAIL if wrong else OK)


def test_what_an_engine_lacks_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package, a precision, or the processor's arithmetic, found while it is built."""
    result = answers._engine("onnx", "float16", bench, 0.0)
    why = "runtime onnx supports float32 and int8 on a cpu device, not float16"
    assert (result.verdict, result.reason) == (SKIP, why)

    def lacking(*_arguments: Any, **_settings: Any) -> Any:
        raise gfnet.UnavailableError("no bfloat16 on this CPU")

    monkeypatch.setattr(gfnet, "runtime", lacking)
    result = answers._engine("torch", "bfloat16", bench, 0.0)
    assert (result.verdict, result.reason) == (SKIP, "no bfloat16 on this CPU")


def test_an_engine_that_builds_for_long_is_checked_in_one_precision(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others would take the time of other engines; which, and why, is said."""
    clock = itertools.count(step=40.0)
    monkeypatch.setattr(answers.time, "monotonic", lambda: next(clock))
    results = {result.name: result for result in answers.check_engines(bench)}
    assert results["torch float32: the student"].verdict == OK
    bfloat16 = results["torch bfloat16: the student"]
    assert (bfloat16.verdict, bfloat16.reason) == (SKIP, "another precision took 40 s to build")
