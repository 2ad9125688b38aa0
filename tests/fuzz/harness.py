"""One target fed with many inputs: each accepted, or refused in the package's own words, in time."""

from __future__ import annotations

import contextlib
import resource
import signal
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import FlakyFailure

from tests.fuzz.targets import Target

DEADLINE_S = 2.0
"""Of processor time, so that a busy machine makes no failures."""

MEMORY_BYTES = 2**30
"""Beyond what the process holds when an input comes: what made it remembers all that it made."""

MOST_WORDS = 200_000
"""Characters of a refusal: more is no answer."""


class SlowError(BaseException):
    """The deadline; no Exception, so that no reader takes it for one of its own."""


@dataclass(frozen=True)
class Result:
    """What came of one target.

    Attributes:
        inputs: that were read.
        accepted, refused: of them.
        failure: the traceback of the smallest input that is neither; None: there is none.
        found: that input.
        elapsed_s: in all.
    """

    name: str
    inputs: int
    accepted: int
    refused: int
    failure: str | None
    found: bytes | None
    elapsed_s: float


def run(target: Target, inputs: int, number: int, folder: Path) -> Result:
    """Feed a target with as many inputs, which follow from a seed.

    The input that is being read stands in the folder, so that it is known if the process dies.
    """
    counts: Counter[str] = Counter()
    path = folder / f"input{target.suffix}"
    failed: list[tuple[bytes, str]] = []

    @settings(
        max_examples=inputs,
        phases=(Phase.generate, Phase.shrink),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        report_multiple_bugs=False,
    )
    @seed(number)
    @given(target.inputs)
    def feed(data: bytes) -> None:
        if not failed:
            counts["inputs"] += 1
        path.write_bytes(data)
        try:
            outcome = _outcome(target, path)
        except BaseException as err:
            if isinstance(err, KeyboardInterrupt):
                raise
            failed.append((data, traceback.format_exc(limit=-12)))
            raise AssertionError("neither accepted nor refused") from err
        if not failed:
            counts[outcome] += 1

    start_s = time.perf_counter()
    with contextlib.suppress(AssertionError, FlakyFailure):
        feed()
    elapsed_s = time.perf_counter() - start_s
    # While it shrinks, hypothesis tries many; the last that failed need not be the smallest.
    found, failure = min(failed, key=lambda pair: len(pair[0])) if failed else (None, None)
    return Result(
        target.name,
        counts["inputs"],
        counts["accepted"],
        counts["refused"],
        failure,
        found,
        elapsed_s,
    )


def _outcome(target: Target, path: Path) -> str:
    """`accepted` or `refused`; anything else is raised."""
    with _in_time(), _limited_memory():
        try:
            target.read(path)
        except target.refusal as err:
            text = str(err)
            text.encode()  # what no stream can print is no answer
            if len(text) > MOST_WORDS:
                raise AssertionError(f"a refusal of {len(text):,} characters") from err
            return "refused"
    return "accepted"


@contextlib.contextmanager
def _in_time() -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise SlowError(f"more than {DEADLINE_S} s of processor time")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, DEADLINE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextlib.contextmanager
def _limited_memory() -> Iterator[None]:
    """No more than MEMORY_BYTES of address space beyond what there is: more is a MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
