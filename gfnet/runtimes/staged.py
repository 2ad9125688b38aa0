"""The model's three calls over stages that some engine runs."""

from __future__ import annotations

from collections.abc import Callable
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


class StagedRuntime:
    """A `gfnet.Runtime` that runs a model stage by stage.

    Args:
        model: not changed. It is copied, with filters that engines without an FFT can run.
        engine: puts a stage on the engine.
    """

    def __init__(self, model: GFNet, engine: Callable[[Stage], StageCall]) -> None:
        self._config = model.config
        self._model = with_matrix_filters(model)
        self._engine = engine
        self._stages = [engine(stage) for stage in cut(self._model)]

    @cached_property
    def _whole(self) -> StageCall:
        """All blocks without exits; not every run asks for it."""
        return self._engine(whole(self._model))

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """(B, K) logits at full depth."""
        return self._whole(images)[0]

    @torch.no_grad()
    def forward_exits(self, images: Tensor) -> ExitOutputs:
        """Every exit, one pass."""
        blocks = (*self._config.exit_blocks, self._config.last_block)
        return answer_stages(images, self._stages, blocks)

    @torch.no_grad()
    def route(self, images: Tensor, threshold: Thresholds = 0.5) -> RoutedOutputs:
        """What each image really runs; as `GFNet.route`."""
        limits = limits_of(threshold, self._config.exit_blocks)
        return route_stages(images, self._stages, limits, self._config.last_block)
