"""Cuts a model at its exits into stages, which an engine compiles one by one."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from gfnet.filter import GlobalFilter, MatrixFilter
from gfnet.model import GFNet


class Stage(nn.Module):
    """Consecutive blocks of a model, with what precedes the first and follows the last.

    Args:
        model: owns the layers.
        first, last: numbers of blocks, the last included.

    Shape:
        As `GFNet.stage`.
    """

    def __init__(self, model: GFNet, first: int, last: int) -> None:
        super().__init__()
        self.model = model
        self.first = first
        self.last = last

    @property
    def has_gate(self) -> bool:
        """Whether images may continue after this stage."""
        return self.last != self.model.config.last_block

    @property
    def entering_shape(self) -> tuple[int, ...]:
        """Shape of one image's input: (3, H, W) before the first block, else (N, C)."""
        config = self.model.config
        if self.first:
            return config.level_of(self.first - 1).tokens_shape
        return 3, config.img_size, config.img_size

    @property
    def leaving_shape(self) -> tuple[int, ...]:
        """Shape of one image's (N, C) tokens after the last of these blocks."""
        return self.model.config.level_of(self.last).tokens_shape

    def forward(self, entering: Tensor) -> tuple[Tensor, ...]:
        """Run the blocks, then the exit or the head."""
        return self.model.stage(self.first, self.last, entering)


def cut(model: GFNet) -> list[Stage]:
    """Return the stages, cut at the exits; a single one if there is no gate."""
    return [Stage(model, first, last) for first, last in model.stage_ends()]


def whole(model: GFNet) -> Stage:
    """Return all blocks as one stage, without the early exits."""
    return Stage(model, 0, model.config.last_block)


def with_matrix_filters(model: GFNet) -> GFNet:
    """Return a copy that convolves by matrix products: engines without an FFT run and fuse it."""
    changed = copy.deepcopy(model)
    for block in changed.numbered_blocks():
        assert isinstance(block.filter, GlobalFilter)
        block.filter = MatrixFilter(block.filter)
    return changed.eval().requires_grad_(requires_grad=False)
