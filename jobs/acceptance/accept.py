"""Runs the checks in turn, each within its time, and describes the machine they ran on."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import gfnet
from jobs.acceptance.answers import check_answers, check_engines
from jobs.acceptance.bench import Bench
from jobs.acceptance.check_result import CheckResult, is_accepted
from jobs.acceptance.clock import check_clock
from jobs.acceptance.compiled import check_compiled
from jobs.acceptance.machine_facts import describe_machine
from jobs.acceptance.nvml_readings import check_nvml
from jobs.acceptance.others import check_others
from jobs.acceptance.out_of_memory import check_memory
from jobs.acceptance.skipping import check_skipping
from jobs.acceptance.small_grid import check_grid
from jobs.common.errors import UsageError
from jobs.common.text import ShowText
from jobs.machine.devices import CPU, CUDA, Device, has_cuda, use_device

Group = Callable[[Bench], Iterator[CheckResult]]

GROUPS: tuple[tuple[str, Group, float], ...] = (
    ("answers", check_answers, 60),
    ("engines", check_engines, 150),
    ("skipping", check_skipping, 70),
    ("torch.compile", check_compiled, 30),
    ("clock", check_clock, 20),
    ("out of memory", check_memory, 20),
    ("NVML", check_nvml, 30),
    ("others", check_others, 40),
    ("grid", check_grid, 50),
)
"""The checks with the seconds that each may take: 470 in all, of the 8 minutes of an acceptance."""

CPU_TIMES = 4.0
"""How many times as long the checks may take on a CPU, which may have other work meanwhile."""

SLOW_ENGINES = ("compile",)
"""Engines that are left out on a CPU unless they are named: they compile for minutes there."""


class OutOfTimeError(BaseException):
    """A check has used up its seconds; not an Exception, which a worker would make a row of."""


@dataclass(frozen=True)
class Acceptance:
    """The result of an acceptance.

    Attributes:
        machine: facts of the machine, by name; None for one that it does not tell.
        results: of all checks.
        seconds: how long they took.
    """

    machine: dict[str, Any]
    results: tuple[CheckResult, ...]
    seconds: float

    @cached_property
    def is_accepted(self) -> bool:
        """Whether no check failed."""
        return is_accepted(self.results)


def accept(narrate: ShowText, *, is_cpu: bool = False, runtimes: Sequence[str] = ()) -> Acceptance:
    """Run all checks on this machine's GPU.

    Args:
        narrate: shows progress.
        is_cpu: run them on the CPU, where they make sense: a rehearsal without a GPU.
        runtimes: the engines to check; by default all, without SLOW_ENGINES on a CPU.

    Raises:
        UsageError: torch sees no GPU, or an engine is unknown.
    """
    began_s = time.monotonic()
    device = _device(is_cpu=is_cpu)
    bench = Bench(device, _runtimes(runtimes, is_cpu=is_cpu), narrate)
    results = [*_left_out(bench, is_cpu=is_cpu)]
    for name, group, limit_s in GROUPS:
        longest_s = limit_s if bench.is_gpu else CPU_TIMES * limit_s
        narrate(f"{name}: at most {longest_s:g} s")
        results += run_group(name, group, longest_s, bench)
    return Acceptance(describe_machine(device), tuple(results), time.monotonic() - began_s)


def run_group(name: str, group: Group, limit_s: float, bench: Bench) -> list[CheckResult]:
    """Run the checks of a group; one that raises, or takes too long, is a result that fails."""
    results: list[CheckResult] = []
    begun_s = time.monotonic()
    expected = f"an end within {limit_s:g} s"
    try:
        with _limited(limit_s):
            for result in group(bench):
                now_s = time.monotonic()
                results.append(replace(result, seconds=now_s - begun_s))
                bench.narrate(f"  {result.verdict}: {result.name}")
                begun_s = now_s
    except OutOfTimeError:
        results.append(CheckResult.broken(name, expected, f"not done after {limit_s:g} s"))
    except Exception as err:  # noqa: BLE001 - a check that breaks must not hide the others
        said = " ".join(str(err).split())[:500]
        results.append(CheckResult.broken(name, expected, f"{type(err).__name__}: {said}"))
    return results


def _device(*, is_cpu: bool) -> Device:
    if is_cpu:
        return use_device(CPU)
    import torch

    if not has_cuda():
        raise UsageError(
            f"no GPU: torch {torch.__version__} sees none on this machine; give --cpu to rehearse"
            " the checks on the processor"
        )
    return use_device(CUDA)


def _runtimes(asked: Sequence[str], *, is_cpu: bool) -> tuple[str, ...]:
    if unknown := [name for name in asked if name not in gfnet.RUNTIMES]:
        known = ", ".join(gfnet.RUNTIMES)
        raise UsageError(f"runtime {unknown[0]!r} is unknown; known: {known}")
    if asked:
        return tuple(asked)
    return tuple(name for name in gfnet.RUNTIMES if not (is_cpu and name in SLOW_ENGINES))


def _left_out(bench: Bench, *, is_cpu: bool) -> Iterator[CheckResult]:
    """Yield a result of each engine that is not checked."""
    for name in gfnet.RUNTIMES:
        if name not in bench.runtimes:
            is_slow = is_cpu and name in SLOW_ENGINES
            why = "it compiles for minutes on a processor" if is_slow else "not asked for"
            yield CheckResult.skipped(name, "an engine to check", f"{why}: give --runtime {name}")


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise OutOfTimeError in the body once it has run for so long; in a main thread alone."""

    def end(_signal: int, _frame: object) -> None:
        raise OutOfTimeError

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
