"""Cuts a model at its exits into stages, which an engine compiles one by one."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from gfnet.filter import GlobalFilter, MatrixFilter
from gfnet.model import GFNet, GFNetDistil


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
    """Return a copy that convolves by matrix products: engines without an FFT run and fuse it.

    A student's pairs of heads are one product each, since an exit costs by the number of its
    operations.
    """
    changed = copy.deepcopy(model)
    for block in changed.numbered_blocks():
        assert isinstance(block.filter, GlobalFilter)
        block.filter = MatrixFilter(block.filter)
    if isinstance(changed, GFNetDistil):
        _join_heads(changed)
    return changed.eval().requires_grad_(requires_grad=False)


class JointHeads(nn.Module):
    """The mean of a class and a distillation head, as one product with both tokens.

    Args:
        by_class, by_distillation: linear layers, whose weights are copied.

    Shape:
        (B, 2, C) normalised tokens to (B, K) logits.
    """

    def __init__(self, by_class: nn.Module, by_distillation: nn.Module) -> None:
        super().__init__()
        assert isinstance(by_class, nn.Linear)
        assert isinstance(by_distillation, nn.Linear)
        weights = torch.cat([by_class.weight, by_distillation.weight], dim=1)
        self.weight = nn.Parameter(weights.detach() / 2)
        self.bias = nn.Parameter((by_class.bias + by_distillation.bias).detach() / 2)

    def forward(self, read: Tensor) -> Tensor:
        """Return the logits."""
        return functional.linear(read.flatten(1), self.weight, self.bias)


def _join_heads(model: GFNetDistil) -> None:
    """Give each exit its heads as one product, as `JointHeads`."""
    last = model.config.last_block
    joint = {block: JointHeads(*model.exit_heads(block)) for block in model.config.exit_blocks}
    joint[last] = JointHeads(model.head, model.head_dist)
    model.joint_heads = nn.ModuleList(joint.values())

    def early_logits(tokens: Tensor, block: int) -> Tensor:
        logits: Tensor = joint[block](model.norm(tokens[:, :2]))
        return logits

    def readout(tokens: Tensor) -> Tensor:
        return early_logits(tokens, last)

    vars(model).update(early_logits=early_logits, readout=readout)
