"""The layers of a Global Filter Network: patch embedding, MLP, and the block around the filter."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from gfnet.config import MLP_RATIO, BlockLevel, ModelConfig
from gfnet.filter import GlobalFilter

NORM_EPS = 1e-6
INITIAL_GAMMA = 1e-3  # as published: a fresh block changes little


class PatchEmbed(nn.Module):
    """Cut an image into patches and project each: (B, 3, H, W) to (B, patches, C).

    Pixels beyond the last whole patch of a side are not read.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.img_size = config.img_size
        self.proj = nn.Conv2d(3, config.embed_dim, config.patch_size, config.patch_size)

    def forward(self, images: Tensor) -> Tensor:
        """Project the patches of (B, 3, H, W) images.

        Raises:
            ValueError: the images do not have the size that the model was made for.
        """
        if images.shape[1:] != (3, self.img_size, self.img_size):
            raise ValueError(
                f"images are {tuple(images.shape)}; this model takes"
                f" (B, 3, {self.img_size}, {self.img_size})"
            )
        patches: Tensor = self.proj(images)
        return patches.flatten(2).transpose(1, 2)


class PatchMerge(nn.Module):
    """Project each 2 x 2 tokens to one of the next stage: (B, N, C) to (B, N / 4, C').

    An odd last row or column is not read.
    """

    def __init__(self, before: BlockLevel, dim: int) -> None:
        super().__init__()
        self.grid, self.dim = before.grid, before.dim
        self.proj = nn.Conv2d(before.dim, dim, 2, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        """Merge the (B, N, C) tokens of a grid."""
        rows, columns = self.grid
        merged: Tensor = self.proj(tokens.transpose(1, 2).reshape(-1, self.dim, rows, columns))
        return merged.flatten(2).transpose(1, 2)


class Mlp(nn.Module):
    """Mix channels: Linear, GELU, Linear."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, dim * MLP_RATIO)
        self.fc2 = nn.Linear(dim * MLP_RATIO, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Mix the channels of (B, N, C) tokens."""
        mixed: Tensor = self.fc2(functional.gelu(self.fc1(tokens)))
        return mixed


class Block(nn.Module):
    """x + mlp(norm2(filter(norm1(x)))): one residual around the whole block."""

    def __init__(self, level: BlockLevel) -> None:
        super().__init__()
        dim = level.dim
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.filter: nn.Module = GlobalFilter(dim, level.grid)  # engines replace it
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp: nn.Module = Mlp(dim)  # likewise

    def forward(self, tokens: Tensor) -> Tensor:
        """Run one block on (B, N, C) tokens."""
        mixed: Tensor = tokens + self.mlp(self.norm2(self.filter(self.norm1(tokens))))
        return mixed


class ScaledBlock(Block):
    """x + gamma * mlp(norm2(filter(norm1(x)))): with a learned scale per channel."""

    def __init__(self, level: BlockLevel) -> None:
        super().__init__(level)
        self.gamma = nn.Parameter(torch.full((level.dim,), INITIAL_GAMMA))

    def forward(self, tokens: Tensor) -> Tensor:
        """Run one block on (B, N, C) tokens."""
        branch = self.mlp(self.norm2(self.filter(self.norm1(tokens))))
        mixed: Tensor = tokens + self.gamma * branch
        return mixed
