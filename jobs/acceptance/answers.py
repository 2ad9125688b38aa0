"""Answers: logits, scores and exits of every family, engine and precision against the truth.

How far the CPU's own float32 is from float64 is the yardstick for float32 elsewhere: no tolerance
has to be guessed for a model or a size.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gfnet
from gfnet.float32 import refuse_tf32, tf32_uses
from gfnet.runtimes.availability import unavailable
from jobs.acceptance.bench import Bench
from jobs.acceptance.check_result import CheckResult
from jobs.acceptance.errors import Answers, Errors, compare_answers, measure_errors

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

LEAST_CLEAR = 0.25
"""Share of routed images whose exits must be so decided; else the check has shown nothing."""

SLOW_BUILD_S = 30.0
"""Seconds for one precision of an engine, from which on the others are left out: all engines share
the time of the checks, and a small board compiles for minutes."""


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
        for precision in ("float32", *ROUNDING):
            began_s = time.monotonic()
            yield _engine(runtime, precision, bench, took_s)
            took_s = max(took_s, time.monotonic() - began_s)


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


def _exits_are_right(found: Errors) -> bool:
    return found.exits == 0 and found.clear >= LEAST_CLEAR * found.images


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
