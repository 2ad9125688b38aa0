"""The model's three calls, with stages that an engine runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from gfnet.model import GFNet
from gfnet.routing import (
    ExitOutputs,
    RoutedOutputs,
    StageCall,
    Thresholds,
    answer_stages,
    limits_of,
    route_stages,
)
from gfnet.runtimes.stages import Stage, cut, whole, with_matrix_filters

Router = Callable[[Tensor, Sequence[float]], RoutedOutputs]
"""Routes one (1, 3, H, W) image by one float32 limit per gate."""


class StagedRuntime:
    """A `gfnet.Runtime` that runs a model stage by stage.

    The stages for any number of images are built at once, so that an engine has started, and
    compiled what any task may need, before a task is pinned and timed. Other graphs are built for
    the first images that need them, such as those of a warm-up.

    Args:
        model: not changed. It is copied, with filters that engines without an FFT can run.
        engine: puts a stage on the engine, for any number of images.
        single: puts it there for one image, if the engine optimises a known size better.
        router: puts all stages there as one graph for one image, which stops at the gate that lets
            the image exit.
        prepare: makes the copy.
    """

    def __init__(
        self,
        model: GFNet,
        engine: Callable[[Stage], StageCall],
        single: Callable[[Stage], StageCall] | None = None,
        router: Callable[[Sequence[Stage]], Router] | None = None,
        prepare: Callable[[GFNet], GFNet] = with_matrix_filters,
    ) -> None:
        self._config = model.config
        self._model = prepare(model)
        self._engine = engine
        self._engine_of_one = single or engine
        self._stages = [engine(stage) for stage in cut(self._model)]
        self._has_single = single is not None
        self._make_router = router

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the (B, K) logits at full depth."""
        logits: Tensor = self._whole_of(images)(images)[0]
        return logits

    @torch.no_grad()
    def forward_exits(self, images: Tensor) -> ExitOutputs:
        """Return the outputs of every exit, from one pass."""
        blocks = (*self._config.exit_blocks, self._config.last_block)
        return answer_stages(images, self._stages_of(images), blocks, self._model.exit_rule)

    @torch.no_grad()
    def route(self, images: Tensor, threshold: Thresholds = 0.5) -> RoutedOutputs:
        """Let each image exit where its gate allows, as `GFNet.route` does."""
        limits = limits_of(threshold, self._config.exit_blocks)
        if len(images) == 1 and limits and self._router is not None:
            return self._router(images, tuple(limits.values()))
        stages, last = self._stages_of(images), self._config.last_block
        return route_stages(images, stages, limits, last, self._model.exit_rule)

    def _stages_of(self, images: Tensor) -> list[StageCall]:
        return self._stages_of_one if self._is_single(images) else self._stages

    def _whole_of(self, images: Tensor) -> StageCall:
        if not self._config.exit_blocks:
            return self._stages_of(images)[0]
        return self._whole_of_one if self._is_single(images) else self._whole

    def _is_single(self, images: Tensor) -> bool:
        return self._has_single and len(images) == 1

    @cached_property
    def _whole(self) -> StageCall:
        return self._engine(whole(self._model))

    @cached_property
    def _stages_of_one(self) -> list[StageCall]:
        return [self._engine_of_one(stage) for stage in cut(self._model)]

    @cached_property
    def _whole_of_one(self) -> StageCall:
        return self._engine_of_one(whole(self._model))

    @cached_property
    def _router(self) -> Router | None:
        return self._make_router(cut(self._model)) if self._make_router else None
