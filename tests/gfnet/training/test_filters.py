"""Filters that begin as blurs: what the middle of an image sees through them."""

from __future__ import annotations

import math

import pytest
import torch

from gfnet import ModelConfig
from gfnet.filter import GlobalFilter
from gfnet.training.filters import NARROWEST, NORM, WIDEST, gaussian_kernels
from gfnet.training.loop import fresh

CHANNELS = 5


@pytest.mark.parametrize(
    ("family", "grid"),
    [("gfnet", (4, 4)), ("gfnet", (1, 16)), ("gfnet-distil", (1, 18)), ("gfnet-distil", (3, 6))],
)
def test_the_middle_sees_each_patch_by_its_distance(family: str, grid: tuple[int, int]) -> None:
    """One bright patch at a time, through the filter itself; patch (2, 2) of 4 x 4 looks on."""
    config = ModelConfig(family, 16, 4, CHANNELS, 1, 10, grid)
    prefix = config.tokens - 16
    layer = GlobalFilter(CHANNELS, grid)
    layer.complex_weight.data = torch.view_as_real(
        torch.fft.rfft2(gaussian_kernels(config), dim=(0, 1))
    )
    bright = torch.eye(config.tokens)[:, :, None].expand(-1, -1, CHANNELS)
    seen = layer(bright)[prefix:, prefix + 2 * 4 + 2].reshape(4, 4, CHANNELS)
    for channel in range(CHANNELS):
        share = (channel / (CHANNELS - 1)) ** 2
        deviation = NARROWEST + (WIDEST * 4 - NARROWEST) * share
        expected = torch.tensor(
            [
                [math.exp(-((row - 2) ** 2 + (column - 2) ** 2) / 2 / deviation**2)
                 for column in range(4)]
                for row in range(4)
            ]
        )  # fmt: skip
        expected *= NORM / expected.norm()
        torch.testing.assert_close(seen[..., channel], expected, atol=1e-6, rtol=1e-4)


def test_only_the_filters_begin_otherwise() -> None:
    """The random weights are those of the same seed, with the same kernel added in each block."""
    config = ModelConfig("gfnet-distil", 16, 4, CHANNELS, 2, 10, (1, 18))
    random, blurs = (fresh(config, 3, filters).state_dict() for filters in ("random", "blurs"))
    added = {name: blurs[name] - random[name] for name in random}
    weights = [added.pop(f"blocks.{block}.filter.complex_weight") for block in range(2)]
    assert not any(difference.any() for difference in added.values())
    assert weights[0].any()
    torch.testing.assert_close(weights[0], weights[1])
