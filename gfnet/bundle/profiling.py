"""Times the stages of a bundle in a forward pass, on whatever engine they run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from gfnet.bundle.stages import BundleRuntime
from gfnet.profiling import OTHER, Part
from gfnet.routing import StageCall

T = TypeVar("T")


class StageProfiler:
    """Runs forward passes of a bundle and times each stage, as `gfnet.Profiler` does a model.

    Args:
        runtime: a bundle on an engine.
        synchronise: returns once the device has done all its work; called before each reading.
        clock: nanoseconds since some fixed moment, monotonic.

    Attributes:
        timed: the same runtime, with clocks around its stages; to be called within `run`.
        spent_ns: per part, over all passes: `stage`, by the block that its exit follows, and
            `other` for the rest.
        calls: how often each part ran; for `other` the number of passes.
    """

    def __init__(
        self,
        runtime: BundleRuntime,
        synchronise: Callable[[], None],
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self.timed = runtime.wrapped(self._around)
        self.spent_ns: Counter[Part] = Counter()
        self.calls: Counter[Part] = Counter()
        self._synchronise = synchronise
        self._clock = clock

    def run(self, forward: Callable[..., T], *arguments: Any) -> T:
        """Call `forward`, which must run `timed` once, and charge its stages."""
        before_ns = self.spent_ns.total()
        began_ns = self._now_ns()
        answer = forward(*arguments)
        whole_ns = self._now_ns() - began_ns
        self.spent_ns[OTHER] += whole_ns - (self.spent_ns.total() - before_ns)
        self.calls[OTHER] += 1
        return answer

    def _around(self, block: int, stage: StageCall) -> StageCall:
        part = Part("stage", block)

        def timed(entering: Any) -> Any:
            began_ns = self._now_ns()
            given = stage(entering)
            self.spent_ns[part] += self._now_ns() - began_ns
            self.calls[part] += 1
            return given

        return timed

    def _now_ns(self) -> int:
        self._synchronise()
        return self._clock()
