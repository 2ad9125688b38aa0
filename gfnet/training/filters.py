"""Untrained filters that start as blurs of the image, from one patch to most of it."""

from __future__ import annotations

import torch
from torch import Tensor

from gfnet.config import ModelConfig
from gfnet.filter import GlobalFilter
from gfnet.model import GFNet

NORM = 0.06  # of each kernel: about twice that of the random weights to which it is added
NARROWEST, WIDEST = 0.05, 0.75  # standard deviations, in sides of a patch and of the image


@torch.no_grad()
def begin_as_blurs(model: GFNet) -> None:
    """Add a Gaussian kernel to each random filter of a fresh model, each channel of another width.

    With random weights alone (Rao et al., 2021), each token starts as a mixture of all others,
    neighbours or not. Students, whose heads read a single token each, learn slowly from there.

    Args:
        model: fresh; its filters are changed.
    """
    kernel = gaussian_kernels(model.config)
    weight = torch.view_as_real(torch.fft.rfft2(kernel, dim=(0, 1)))
    for module in model.modules():
        if isinstance(module, GlobalFilter):
            module.complex_weight.add_(weight)


def gaussian_kernels(config: ModelConfig) -> Tensor:
    """Return (a, b, C) kernels by which the token in the image's middle sees its surroundings.

    Of the grids for 64 patches and two tokens, [1, 66] shifts a patch to its neighbour everywhere
    except at the image's border; [6, 11] only in some rows.
    """
    side = config.patches
    prefix = 2 if config.has_tokens else 0
    rows, columns = config.filter_grid
    place = torch.arange(side) - side // 2  # of a patch, relative to the one in the middle
    distance = (place[:, None] ** 2 + place**2).flatten()
    share = torch.linspace(0, 1, config.embed_dim) ** 2
    deviation = NARROWEST + (WIDEST * side - NARROWEST) * share
    seen = torch.exp(-distance[:, None] / (2 * deviation**2))
    patches = torch.arange(side**2) + prefix
    middle = prefix + side // 2 * (side + 1)
    shift_rows = (middle // columns - patches // columns) % rows
    shift_columns = (middle % columns - patches % columns) % columns
    kernel = torch.zeros(rows, columns, config.embed_dim)
    kernel[shift_rows, shift_columns] = seen
    normed: Tensor = NORM * kernel / kernel.flatten(0, 1).norm(dim=0)
    return normed
