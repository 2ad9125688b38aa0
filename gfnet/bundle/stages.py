"""Runs the stages of a bundle on torch's tensors: its exits, and where images exit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gfnet.bundle.description import BundleConfig
from gfnet.bundle.manifest import StageEntry
from gfnet.confidence import Confidence
from gfnet.routing import (
    ExitOutputs,
    RoutedOutputs,
    StageCall,
    Thresholds,
    answer_stages,
    limits_of,
    route_stages,
)

GraphCall = Callable[..., Sequence[Tensor]]
"""Runs one graph: its inputs to its outputs, both in the manifest's order. The next call may
overwrite the outputs."""


class StateTensors:
    """Several tensors that pass from a stage to the next, one row per image each.

    Args:
        tensors: in the manifest's order.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = tensors

    def __getitem__(self, stays: Tensor) -> StateTensors:
        """Return the rows of the images that continue."""
        return StateTensors([tensor[stays] for tensor in self.tensors])


class BundleStage:
    """The graphs up to one enabled exit, as a `gfnet.routing.StageCall`.

    Args:
        parts: the graphs, each with its entry; the exits before the last of them are not enabled.
        rule: of gfnet.EXIT_RULES; `gate` stands for the score that the graph gives.
        is_last: whether all images exit here.
    """

    def __init__(
        self, parts: Sequence[tuple[GraphCall, StageEntry]], rule: str, *, is_last: bool
    ) -> None:
        self._parts = [(run, len(entry.state)) for run, entry in parts]
        entry = parts[-1][1]
        classes = entry.logits.shape[1]
        assert isinstance(classes, int)
        self._confidence = None if rule == "gate" or is_last else Confidence(rule, classes)
        self._is_last = is_last

    def __call__(self, entering: Tensor | StateTensors) -> Sequence[Tensor | StateTensors]:
        """Run the stage; the next call may overwrite the state that it returns."""
        state = entering.tensors if isinstance(entering, StateTensors) else (entering,)
        for run, count in self._parts:
            given = run(*state)
            state = given[:count]
        logits = given[count].clone()
        if self._is_last:
            return (logits,)
        score = self._confidence(logits) if self._confidence else given[count + 1].clone()
        return (state[0] if count == 1 else StateTensors(state), logits, score)


class BundleRuntime:
    """A `gfnet.Runtime` that runs a bundle stage by stage.

    Args:
        stages: one per enabled exit, the last block's last.
        config: of the bundle, with the enabled exits.
        rule: of gfnet.EXIT_RULES, by which images exit.
        is_on_cpu: whether the stages take their tensors there; images are copied to it.
    """

    def __init__(
        self, stages: Sequence[StageCall], config: BundleConfig, rule: str, *, is_on_cpu: bool
    ) -> None:
        self._stages = stages
        self._config = config
        self._rule = rule
        self._is_on_cpu = is_on_cpu

    @property
    def _blocks(self) -> tuple[int, ...]:
        return (*self._config.exit_blocks, self._config.last_block)

    def wrapped(self, wrap: Callable[[int, StageCall], StageCall]) -> BundleRuntime:
        """Return the same runtime, each stage wrapped; `wrap` is given the block of its exit."""
        stages = list(map(wrap, self._blocks, self._stages))
        return BundleRuntime(stages, self._config, self._rule, is_on_cpu=self._is_on_cpu)

    def __call__(self, images: Tensor) -> Tensor:
        """Return the (B, K) logits at full depth."""
        return self.forward_exits(images).logits[-1]

    @torch.no_grad()
    def forward_exits(self, images: Tensor) -> ExitOutputs:
        """Return the outputs of every exit, from one pass."""
        return answer_stages(self._placed(images), self._stages, self._blocks, self._rule)

    @torch.no_grad()
    def route(self, images: Tensor, threshold: Thresholds = 0.5) -> RoutedOutputs:
        """Let each image exit where its score allows, as `GFNet.route` does."""
        limits = limits_of(threshold, self._config.exit_blocks)
        last = self._config.last_block
        return route_stages(self._placed(images), self._stages, limits, last, self._rule)

    def _placed(self, images: Tensor) -> Tensor:
        return images.cpu() if self._is_on_cpu else images
