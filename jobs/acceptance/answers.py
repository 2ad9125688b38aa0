"""Answers: logits, scores and exits of every family, engine and precision against the truth.

The truth is the model in float64 on the CPU. How far the CPU's own float32 is from it is the
yardstick for float32 elsewhere: no tolerance has to be guessed for a model or a size.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gfnet
from gfnet.float32 import refuse_tf32, tf32_uses
from gfnet.runtimes import unavailable
from jobs.acceptance.bench import Bench
from jobs.acceptance.check_result import CheckResult

Numbers = NDArray[np.float64]

TIMES_CPU = 8.0
"""Times the CPU's own error that float32 may be wrong elsewhere: other orders of sums, other
approximations of exp and erf. TF32 would be wrong by thousands of times as much."""

FLOOR = {"logits": 1e-6, "scores": 1e-5}
"""Errors that pass whatever the CPU's is: of the largest logit, a few units in the last place; of
scores, which stretch logits by the weights of a gate."""

ROUNDING = {"bfloat16": 2**-8, "float16": 2**-11}
"""Largest relative error of one rounding: of 8 and 11 significant bits."""

ROUNDINGS = 12.0
"""How many roundings may add up in a logit, relative to the largest logit, and twice as many in a
score. A block rounds some ten times, with errors of both signs; 1 to 3 were measured in bfloat16 on
a CPU, with all families, sizes and engines here."""

LEAST_ROUNDING = 0.05
"""Share of one rounding below which an answer cannot be that of half precision."""

CLEAR_TIMES = 2.0
"""An image must exit where it should if each of its scores is farther from the threshold than this
many times the largest error at that exit, and than CLEAR_FLOOR."""

CLEAR_FLOOR = 1e-6

LEAST_CLEAR = 0.25
"""Share of routed images whose exits must be so decided; else the check has shown nothing."""

SLOW_BUILD_S = 30.0
"""Seconds for one precision of an engine, from which on the others are left out: all engines share
the time of the checks, and a small board compiles for minutes."""

SINGLES = 4
"""Images that are also routed one by one: engines have graphs of their own for one."""


@dataclass(frozen=True)
class Answers:
    """What a model or an engine answers to some images.

    Attributes:
        logits: (E, n, K) of an all-exit pass.
        scores: (E - 1, n).
    """

    logits: Numbers
    scores: Numbers

    @classmethod
    def of(cls, outputs: gfnet.ExitOutputs) -> Answers:
        """Copy an engine's outputs to the host, in float64."""
        return cls(
            outputs.logits.double().cpu().numpy(), outputs.gate_scores.double().cpu().numpy()
        )


@dataclass(frozen=True)
class Errors:
    """Distance of answers from the truth.

    Attributes:
        logits: the largest difference, relative to the largest logit.
        scores: the largest difference; 0 without exits.
        flips: predictions of another class, of images x exits; ties may flip.
        exits: images that exited elsewhere, though their scores are clear of the thresholds.
        clear: images whose scores are.
        images: all images that were routed.
    """

    logits: float
    scores: float
    flips: int = 0
    exits: int = 0
    clear: int = 0
    images: int = 0

    def text(self) -> str:
        """Return the figures as text."""
        flips = f", flips {self.flips}" if self.flips else ""
        return (
            f"logits {self.logits:.1e}, scores {self.scores:.1e}, exits"
            f" {self.clear - self.exits}/{self.clear}{flips}"
        )

    def figures(self) -> dict[str, float | None]:
        """Return the figures by name."""
        return {
            "logits_error": self.logits,
            "scores_error": self.scores,
            "prediction_flips": self.flips,
            "clear_images": self.clear,
            "exit_flips": self.exits,
            "images": self.images,
        }


def check_answers(bench: Bench) -> Iterator[CheckResult]:
    """Check every family and rule in eager torch, in every precision, and that TF32 is off."""
    halves = [each for each in ROUNDING if not unavailable("torch", each, bench.device.name)]
    for name, model in (*bench.families(), *bench.rules()):
        subject = _Subject(name, model, copy.deepcopy(model).to(bench.device.name))
        yield _float32("torch", subject, bench)
        for precision in halves if model.exit_rule == model.config.default_rule else ():
            yield _half("torch", precision, subject, bench)
    yield judge_switches(tf32_uses())
    yield _tf32_effect(bench)


def check_engines(bench: Bench) -> Iterator[CheckResult]:
    """Check every engine in every precision on one model."""
    for runtime in bench.runtimes:
        took_s = 0.0
        for precision in gfnet.PRECISIONS:
            began_s = time.monotonic()
            yield _engine(runtime, precision, bench, took_s)
            took_s = max(took_s, time.monotonic() - began_s)


def measure_errors(
    runtime: gfnet.Runtime, model: gfnet.GFNet, truth: Answers, images: Any
) -> Errors:
    """Compare an engine with the truth: an all-exit pass, and routes of all images and single ones.

    Args:
        runtime: the engine.
        model: its model, for the exits.
        truth: the same images' answers.
        images: on the engine's device.
    """
    import torch

    with torch.inference_mode():
        outputs = runtime.forward_exits(images)
        answers = Answers.of(outputs)
        logits, scores = compare_answers(answers, truth)
        thresholds = [threshold_between(each) for each in truth.scores]
        routes = [(range(len(images)), runtime.route(images, thresholds))]
        routes += [
            (range(i, i + 1), runtime.route(images[i : i + 1], thresholds)) for i in range(SINGLES)
        ]
    expected = exits_at(truth.scores, thresholds)
    is_clear = find_clear(answers.scores, truth.scores, thresholds)
    blocks = np.asarray([*model.config.exit_blocks, model.config.last_block])
    exits = clear = count = 0
    scale = np.abs(truth.logits).max()
    for places, routed in routes:
        at = np.asarray(places)
        found = np.searchsorted(blocks, routed.exit_block.cpu().numpy())
        exits += int(((found != expected[at]) & is_clear[at]).sum())
        clear += int(is_clear[at].sum())
        count += len(at)
        difference = routed.logits.double().cpu().numpy() - truth.logits[found, at]
        logits = max(logits, _largest(difference) / scale)
    flips = int((outputs.logits.cpu().numpy().argmax(-1) != truth.logits.argmax(-1)).sum())
    return Errors(logits, scores, flips, exits, clear, count)


def compare_answers(found: Answers, truth: Answers) -> tuple[float, float]:
    """Return the largest error of the logits, relative to the largest, and of the scores."""
    logits = _largest(found.logits - truth.logits) / np.abs(truth.logits).max()
    return float(logits), _largest(found.scores - truth.scores)


def judge_float32(name: str, found: Errors, cpu: Errors) -> CheckResult:
    """Judge answers in float32 by the errors of the CPU's own float32."""
    limits = {
        "logits": max(TIMES_CPU * cpu.logits, FLOOR["logits"]),
        "scores": max(TIMES_CPU * cpu.scores, FLOOR["scores"]),
    }
    return CheckResult.judged(
        name,
        f"logits up to {limits['logits']:.1e}, scores {limits['scores']:.1e}, all clear exits",
        found.text(),
        found.figures() | {"cpu_logits_error": cpu.logits, "cpu_scores_error": cpu.scores},
        is_ok=found.logits <= limits["logits"]
        and found.scores <= limits["scores"]
        and _exits_are_right(found),
    )


def judge_half(name: str, precision: str, found: Errors) -> CheckResult:
    """Judge answers in half precision: as near as it allows, and not nearer than it can be."""
    unit = ROUNDING[precision]
    least, most = LEAST_ROUNDING * unit, ROUNDINGS * unit
    return CheckResult.judged(
        name,
        f"logits {least:.1e} to {most:.1e}, scores up to {2 * most:.1e}, all clear exits",
        found.text(),
        found.figures(),
        is_ok=least <= found.logits <= most
        and found.scores <= 2 * most
        and _exits_are_right(found),
    )


def judge_tf32(without: float, with_tf32: float) -> CheckResult:
    """Judge that TF32 is not what float32 is computed in: switched on, it errs far more.

    TF32 rounds factors to 11 bits, float32 to 24.
    """
    least = 10.0
    times = with_tf32 / without if without else float("inf")
    return CheckResult.judged(
        "TF32, switched on to see its effect",
        f"an error of the logits at least {least:g} times that of float32",
        f"{with_tf32:.1e} with TF32, {without:.1e} without: {times:,.0f} times",
        {"tf32_logits_error": with_tf32, "logits_error": without},
        is_ok=times >= least,
    )


def threshold_between(scores: Numbers) -> float:
    """Return a threshold in the widest gap of the middle half of some scores.

    Rounding must not decide who exits. Scores that are all equal stop everyone: no gap is there.
    """
    ranked = np.sort(scores)
    middle = ranked[len(ranked) // 4 : -(len(ranked) // 4) or None]
    gaps = np.diff(middle)
    if not len(gaps) or not gaps.max() > 0:
        return float(ranked[-1]) + 0.5
    widest = int(gaps.argmax())
    return float(middle[widest] + middle[widest + 1]) / 2


def exits_at(scores: Numbers, thresholds: Sequence[float]) -> NDArray[np.int64]:
    """Return the number of each image's exit: the first whose score, of (E - 1, n), lets it."""
    leaves = [each >= threshold for each, threshold in zip(scores, thresholds, strict=True)]
    leaves.append(np.ones(scores.shape[1], dtype=bool))
    exits: NDArray[np.int64] = np.stack(leaves).argmax(axis=0)
    return exits


def find_clear(found: Numbers, truth: Numbers, thresholds: Sequence[float]) -> NDArray[np.bool_]:
    """Return which images' exits are decided by more than the errors of the (E - 1, n) scores."""
    is_clear = np.ones(truth.shape[1], dtype=bool)
    for mine, true, threshold in zip(found, truth, thresholds, strict=True):
        error = _largest(mine - true)
        is_clear &= np.abs(true - threshold) > max(CLEAR_TIMES * error, CLEAR_FLOOR)
    return is_clear


def _exits_are_right(found: Errors) -> bool:
    return found.exits == 0 and found.clear >= LEAST_CLEAR * found.images


def _largest(difference: Numbers) -> float:
    """Return the largest absolute value; infinite if a value is not a number."""
    if not difference.size:
        return 0.0
    largest = np.abs(difference).max()
    return float(largest) if np.isfinite(largest) else float("inf")


def _truth(model: gfnet.GFNet, images: Any) -> Answers:
    import torch

    with torch.inference_mode():
        return Answers.of(copy.deepcopy(model).double().forward_exits(images.double()))


@dataclass(frozen=True)
class _Subject:
    """A model by name, on the CPU and on the device."""

    name: str
    model: gfnet.GFNet
    there: gfnet.GFNet


def _float32(runtime: str, subject: _Subject, bench: Bench) -> CheckResult:
    model = subject.model
    images = bench.images(bench.sizes.images, model)
    truth = _truth(model, images)
    cpu = measure_errors(bench.engine("torch", model), model, truth, images)
    found = cpu
    if bench.is_gpu or runtime != "torch":
        engine = bench.engine(runtime, subject.there)
        found = measure_errors(engine, model, truth, images.to(bench.device.name))
    return judge_float32(f"{runtime} float32: {subject.name}", found, cpu)


def _half(runtime: str, precision: str, subject: _Subject, bench: Bench) -> CheckResult:
    model = subject.model
    images = bench.images(bench.sizes.images, model)
    engine = bench.engine(runtime, subject.there, precision)
    found = measure_errors(engine, model, _truth(model, images), images.to(bench.device.name))
    return judge_half(f"{runtime} {precision}: {subject.name}", precision, found)


def _engine(runtime: str, precision: str, bench: Bench, took_s: float) -> CheckResult:
    """Check an engine in a precision, unless another precision took too long."""
    name, expected = (
        f"{runtime} {precision}: the student",
        "the answers of float64, as near as it can",
    )
    if reason := unavailable(runtime, precision, bench.device.name):
        return CheckResult.skipped(name, expected, reason)
    if took_s > SLOW_BUILD_S:
        return CheckResult.skipped(
            name, expected, f"another precision took {took_s:.0f} s to build"
        )
    bench.narrate(f"{runtime} {precision}: building the engine")
    subject = _Subject("the student", bench.student, bench.student_there)
    try:
        if precision == "float32":
            return _float32(runtime, subject, bench)
        return _half(runtime, precision, subject, bench)
    except gfnet.UnavailableError as err:
        return CheckResult.skipped(name, expected, str(err))


def judge_switches(uses: Sequence[str]) -> CheckResult:
    """Judge that no operation may compute float32 in TF32 once an engine was made."""
    return CheckResult.judged(
        "TF32 is switched off",
        "off in products and convolutions",
        f"on in {' and '.join(uses)}" if uses else "off in products and convolutions",
        is_ok=not uses,
    )


def _tf32_effect(bench: Bench) -> CheckResult:
    import torch

    name, expected = "TF32, switched on to see its effect", "an error far above that of float32"
    if not bench.is_gpu:
        return CheckResult.skipped(name, expected, "a processor has no TF32")
    if torch.cuda.get_device_capability() < (8, 0):
        return CheckResult.skipped(name, expected, "this GPU has no TF32: Ampere and later have")
    model = bench.student
    images = bench.images(bench.sizes.images, model)
    truth, there = _truth(model, images), images.to(bench.device.name)
    engine = bench.engine("torch", bench.student_there)
    errors = []
    try:
        for is_allowed in (False, True):
            torch.backends.cuda.matmul.allow_tf32 = is_allowed
            torch.backends.cudnn.allow_tf32 = is_allowed
            with torch.inference_mode():
                errors.append(compare_answers(Answers.of(engine.forward_exits(there)), truth)[0])
    finally:
        refuse_tf32()
    return judge_tf32(*errors)
