"""Times the parts of a forward pass with one clock, charged to exactly one part at a time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from gfnet.model import GFNet

T = TypeVar("T")


class Part(NamedTuple):
    """A part of a forward pass.

    Attributes:
        component: `patch_embed`; per block `norm1`, `filter_forward`, `filter_product` and
            `filter_inverse` (`filter` if it is not split), `norm2`, `mlp`, `residual`; per early
            exit `exit_norm`, `exit_heads`, `exit_gate`, `exit_decision`; `norm` and `head` of the
            last exit; `other` for the rest.
        block: counted from 0; None for a part that belongs to no block or follows the last one. Of
            a `patch_embed` between two stages, the block that follows.
    """

    component: str
    block: int | None = None


OTHER = Part("other")
_HEAD = Part("head")

# The timed steps of a filter, by the method that runs each.
_FILTER_STEPS = {
    "spectrum": "filter_forward",
    "product": "filter_product",
    "inverse": "filter_inverse",
    "_by_product": "filter",
}


class _Frame:
    """A call in progress: its own part, and the part charged since its last inner call."""

    __slots__ = ("now", "own")

    def __init__(self, own: Part) -> None:
        self.own = self.now = own


class Profiler:
    """Runs forward passes of a model and times each part.

    While a pass runs, methods of the model and of its modules are replaced by timed ones that call
    them; the results are the same bit for bit. The time between two readings of the clock belongs
    to one part, so the parts sum to the whole. It includes the cost of reading the clock.

    `residual` and `exit_decision` are not calls: `residual` is the time after the MLP in a block,
    `exit_decision` the time after an exit's outputs until the next block starts.

    Args:
        model: its modules compute; no other profiler may use it at the same time.
        synchronise: returns once the device has done all its work; called before each reading.
        clock: nanoseconds since some fixed moment, monotonic.

    Attributes:
        spent_ns: per part, over all passes.
        calls: how often each part ran; for `other` the number of passes.
    """

    def __init__(
        self,
        model: GFNet,
        synchronise: Callable[[], None],
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self.spent_ns: Counter[Part] = Counter()
        self.calls: Counter[Part] = Counter()
        self._synchronise = synchronise
        self._clock = clock
        self._frames: list[_Frame] = []
        self._read_ns = 0
        self._shadows = list(self._timed_methods(model))

    def run(self, forward: Callable[..., T], *arguments: Any) -> T:
        """Call `forward`, which must run the model once, and charge the model's parts.

        If it raises, the model is restored, and the time spent until then stays counted.
        """
        with self._shadowed():
            try:
                self._synchronise()
                self._read_ns = self._clock()
                self._frames = [_Frame(OTHER)]
                answer = forward(*arguments)
                self._charge(OTHER)
                self.calls[OTHER] += 1
                return answer
            finally:
                self._frames = []

    @contextmanager
    def _shadowed(self) -> Iterator[None]:
        """Put the timed methods where attribute lookup finds them before those of the class."""
        before = [vars(owner).get(name) for owner, name, _ in self._shadows]
        try:
            for owner, name, timed in self._shadows:
                vars(owner)[name] = timed
            yield
        finally:
            for (owner, name, _), was in zip(self._shadows, before, strict=True):
                if was is None:
                    vars(owner).pop(name, None)
                else:
                    vars(owner)[name] = was

    def _timed_methods(self, model: GFNet) -> Iterator[tuple[object, str, Callable[..., Any]]]:
        """Yield each timed method: its owner, its name, and its replacement."""

        def timed(owner: object, name: str, part: Part, then: Part | None = None) -> Any:
            then_of = None if then is None else lambda *_: then
            return owner, name, self._timed(getattr(owner, name), lambda *_: part, then_of)

        yield timed(model, "embed", Part("patch_embed"))
        for number, merge in model.patch_merges().items():
            yield timed(merge, "forward", Part("patch_embed", number))
        for number, block in enumerate(model.numbered_blocks()):
            yield timed(block, "forward", OTHER)
            for name in ("norm1", "norm2"):
                yield timed(block.get_submodule(name), "forward", Part(name, number))
            residual = Part("residual", number)
            yield timed(block.get_submodule("mlp"), "forward", Part("mlp", number), residual)
            mixer = block.get_submodule("filter")
            steps = {s: name for s, name in _FILTER_STEPS.items() if hasattr(mixer, s)}
            for step, name in (steps or {"forward": "filter"}).items():
                yield timed(mixer, step, Part(name, number))
        for number in model.config.exit_blocks:
            yield timed(model.scorer(number), "forward", Part("exit_gate", number))
        # One method serves all exits; one norm may serve them and the last block.
        yield (
            model,
            "early_readout",
            self._timed(
                model.early_readout,
                lambda _, block: Part("exit_heads", block),
                lambda _, block: Part("exit_decision", block),
            ),
        )
        yield timed(model, "readout", _HEAD)
        for norm in model.norms():
            yield norm, "forward", self._timed(norm.forward, self._norm_part)

    def _norm_part(self, _tokens: object) -> Part:
        """Return the part of a norm, by the call around it: an exit's, or the last block's."""
        within = self._frames[-1].own
        return Part("norm") if within == _HEAD else Part("exit_norm", within.block)

    def _timed(
        self,
        method: Callable[..., T],
        part_of: Callable[..., Part],
        then_of: Callable[..., Part] | None = None,
    ) -> Callable[..., T]:
        """Return a method whose time is charged to the part that its arguments determine.

        The time from its end until its caller ends, or calls the next timed method, belongs to the
        part that `then_of` returns, or else to the caller.
        """

        def timed(*arguments: Any) -> T:
            part = part_of(*arguments)
            frames = self._frames
            caller = frames[-1]
            self._charge(caller.now)
            caller.now = caller.own
            frames.append(_Frame(part))
            answer = method(*arguments)
            self._charge(frames.pop().now)
            if part != OTHER:
                self.calls[part] += 1
            if then_of is not None:
                caller.now = then_of(*arguments)
                self.calls[caller.now] += 1
            return answer

        return timed

    def _charge(self, part: Part) -> None:
        """Read the clock, and charge the time since the last reading to a part."""
        self._synchronise()
        now_ns = self._clock()
        self.spent_ns[part] += now_ns - self._read_ns
        self._read_ns = now_ns
