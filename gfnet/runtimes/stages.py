"""A model cut into stages, where images may leave: what an engine compiles piece by piece."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from gfnet.filter import GlobalFilter, MatrixFilter
from gfnet.layers import Block
from gfnet.model import GFNet


class Stage(nn.Module):
    """Some consecutive blocks of a model, with what comes before the first and after the last.

    Args:
        model: whose layers these are.
        first, last: blocks, the last included.

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
        """Whether images may go on after it."""
        return self.last != self.model.config.last_block

    @property
    def entering_shape(self) -> tuple[int, ...]:
        """What one image is when it enters: (3, H, W) before the first block, else (N, C)."""
        config = self.model.config
        if self.first:
            return config.tokens, config.embed_dim
        return 3, config.img_size, config.img_size

    def forward(self, entering: Tensor) -> tuple[Tensor, ...]:
        """Run the blocks, then the exit or the head."""
        return self.model.stage(self.first, self.last, entering)


def cut(model: GFNet) -> list[Stage]:
    """The stages between which images may leave; one where there is no gate."""
    gates = model.config.exit_blocks
    firsts = [0, *(block + 1 for block in gates)]
    lasts = [*gates, model.config.last_block]
    return [Stage(model, first, last) for first, last in zip(firsts, lasts, strict=True)]


def whole(model: GFNet) -> Stage:
    """All blocks in one stage, without the exits."""
    return Stage(model, 0, model.config.last_block)


def with_matrix_filters(model: GFNet) -> GFNet:
    """A copy that convolves by matrix products: what engines without an FFT can run and fuse."""
    changed = copy.deepcopy(model)
    for block in changed.blocks:
        assert isinstance(block, Block)  # a model's blocks are these
        assert isinstance(block.filter, GlobalFilter)
        block.filter = MatrixFilter(block.filter)
    return changed.eval().requires_grad_(requires_grad=False)
