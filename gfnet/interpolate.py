"""Changes a model's resolution: resamples position embedding and filters, without training."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from gfnet.config import ModelConfig


def at_resolution(
    state: dict[str, Tensor], config: ModelConfig, img_size: int, filter_grid: tuple[int, ...] = ()
) -> tuple[dict[str, Tensor], ModelConfig]:
    """Return the weights of a model for images of another size.

    Rao et al. (2021, section 3.3) resample a filter in the frequency domain: a spectrum is a
    function of frequency, which a larger grid samples more densely. The model then needs
    fine-tuning for its best accuracy. Each stage of a hierarchical model has filters of its own
    grid. In the distilled families, tokens precede the patches and the grid mixes them with the
    patches, so the filter at another grid is a further approximation.

    Args:
        state: names and tensors as `config` requires.
        config: present sizes of the model.
        img_size: side of the new images, pixels.
        filter_grid: of the new tokens; () means the factor pair nearest to square.

    Returns: the new state dict, and its sizes.

    Raises:
        ConfigError: no such model can have that image size or that grid.
    """
    if filter_grid == () and config.filter_grid[0] == config.filter_grid[1]:
        side = img_size // config.patch_size
        filter_grid = (side, side) if side else ()
    resized = replace(config, img_size=img_size, filter_grid=filter_grid)
    changed = dict(state)
    prefix = 2 if config.has_tokens else 0
    changed["pos_embed"] = resample_positions(state["pos_embed"], prefix, resized.patches)
    for block in range(config.depth):
        name = f"{config.block_name(block)}.filter.complex_weight"
        changed[name] = resample_filter(state[name], resized.level_of(block).grid)
    return changed, resized


def resample_positions(pos_embed: Tensor, prefix: int, side: int) -> Tensor:
    """Resample the patches' positions (bicubic); those of the tokens before them do not change.

    Args:
        pos_embed: (1, prefix + old side ** 2, C).
        prefix: number of tokens before the patches.
        side: number of patches along an image's side.

    Returns: (1, prefix + side ** 2, C).
    """
    tokens, patches = pos_embed[:, :prefix], pos_embed[:, prefix:]
    old = round(patches.shape[1] ** 0.5)
    if old == side:
        return pos_embed
    grid = patches.reshape(1, old, old, -1).permute(0, 3, 1, 2).float()
    grid = functional.interpolate(grid, (side, side), mode="bicubic", align_corners=False)
    resampled = grid.flatten(2).transpose(1, 2).to(pos_embed.dtype)
    return torch.cat([tokens, resampled], dim=1)


def resample_filter(weight: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resample a filter's half spectrum (bicubic), real and imaginary part separately.

    The first and the last stored frequency keep their positions, as in the published code.

    Args:
        weight: (a, b // 2 + 1, C, 2).
        grid: the new a and b.

    Returns: (new a, new b // 2 + 1, C, 2).
    """
    size = (grid[0], grid[1] // 2 + 1)
    if tuple(weight.shape[:2]) == size:
        return weight
    channels = weight.flatten(2).permute(2, 0, 1).unsqueeze(0).float()
    channels = functional.interpolate(channels, size, mode="bicubic", align_corners=True)
    resampled: Tensor = channels[0].permute(1, 2, 0).reshape(*size, -1, 2).to(weight.dtype)
    return resampled
