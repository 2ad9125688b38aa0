"""Resampling to another resolution, against values worked by hand and against smooth functions."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from gfnet import ConfigError, create
from gfnet.interpolate import at_resolution, resample_filter, resample_positions
from gfnet.model import build


def test_the_same_size_is_the_identity() -> None:
    """To the last bit, whatever tokens stand before."""
    positions, weight = torch.randn(1, 2 + 9, 4), torch.randn(3, 2, 4, 2)
    assert torch.equal(resample_positions(positions, 2, 3), positions)
    assert torch.equal(resample_filter(weight, (3, 3)), weight)


def test_a_constant_stays_constant() -> None:
    """Positions and filters that are 3 everywhere are 3 everywhere."""
    assert resample_positions(torch.full((1, 16, 2), 3.0), 0, 7).allclose(torch.tensor(3.0))
    assert resample_filter(torch.full((4, 3, 2, 2), 3.0), (7, 9)).allclose(torch.tensor(3.0))


def test_tokens_before_the_patches_stay() -> None:
    """They have no place in the image."""
    positions = torch.randn(1, 2 + 16, 3)
    resampled = resample_positions(positions, 2, 6)
    assert resampled.shape == (1, 2 + 36, 3)
    assert torch.equal(resampled[:, :2], positions[:, :2])


def test_positions_keep_rows_and_columns_apart() -> None:
    """What falls from row to row and is equal along each row does so at another size too."""
    rows = torch.arange(8.0).view(8, 1, 1).expand(8, 8, 1).reshape(1, 64, 1)
    resampled = resample_positions(rows, 0, 16).view(16, 16)
    assert torch.allclose(resampled, resampled[:, :1].expand(16, 16), atol=1e-5)
    # Pixel centres, away from the edges; torch's cubic (a = -3/4) follows a line to 1/20.
    expected = [(row + 0.5) / 2 - 0.5 for row in range(4, 12)]
    assert resampled[4:12, 0].tolist() == pytest.approx(expected, abs=0.05)


def test_a_filter_keeps_its_lowest_and_highest_frequency() -> None:
    """The corners of the half spectrum stand; real and imaginary part do not mix."""
    weight = torch.randn(4, 3, 5, 2)
    resampled = resample_filter(weight, (9, 12))
    assert resampled.shape == (9, 7, 5, 2)
    for new, old in (((0, 0), (0, 0)), ((0, 6), (0, 2)), ((8, 0), (3, 0)), ((8, 6), (3, 2))):
        torch.testing.assert_close(resampled[new], weight[old])
    real_alone = weight.clone()
    real_alone[..., 1] = 0
    assert not resample_filter(real_alone, (9, 12))[..., 1].any()


def test_a_filter_is_resampled_as_published() -> None:
    """Worked by hand: 0 1 0 to five frequencies, bicubic with a = -3/4 and the ends held."""
    weight = torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1).expand(3, 3, 1, 2).contiguous()
    resampled = resample_filter(weight, (3, 8))
    # Halfway between two samples the weights are -3/32, 19/32, 19/32, -3/32; beyond an end
    # stands the end: -3/32 * 0 + 19/32 * 0 + 19/32 * 1 - 3/32 * 0.
    assert resampled[0, :, 0, 0].tolist() == pytest.approx([0, 19 / 32, 1, 19 / 32, 0])


def test_a_smooth_spectrum_is_followed() -> None:
    """A cosine over the columns' frequencies, sampled twice as densely, is that cosine."""
    frequencies = torch.linspace(0, 1, 17)
    weight = torch.cos(math.pi * frequencies).view(1, 17, 1, 1).expand(4, 17, 1, 2).contiguous()
    resampled = resample_filter(weight, (4, 64))
    expected = torch.cos(math.pi * torch.linspace(0, 1, 33))
    assert (resampled[0, 2:-2, 0, 0] - expected[2:-2]).abs().max() < 3e-3


@pytest.mark.parametrize("family", ["gfnet", "gfnet-distil"])
def test_a_model_at_another_size_runs(family: str) -> None:
    """Its state dict is the new sizes', and everything but positions and filters is as it was."""
    model = create(family, img_size=16, patch_size=4, embed_dim=8, depth=2, num_classes=3)
    state, config = at_resolution(model.state_dict(), model.config, 24)
    resized = build(config)
    resized.load_state_dict(state)
    assert resized(torch.randn(2, 3, 24, 24)).shape == (2, 3)
    kept = {name for name in state if "filter" not in name and name != "pos_embed"}
    assert all(torch.equal(state[name], model.state_dict()[name]) for name in kept)


def test_a_square_grid_stays_square() -> None:
    """16 patches as 4 x 4 become 36 as 6 x 6."""
    model = create("gfnet", img_size=16, patch_size=4, embed_dim=8, depth=1, num_classes=3)
    assert at_resolution(model.state_dict(), model.config, 24)[1].filter_grid == (6, 6)


def test_another_remainder_changes_nothing() -> None:
    """19 pixels hold the four patches of 16."""
    model = create("gfnet", img_size=16, patch_size=4, embed_dim=8, depth=1, num_classes=3)
    state, config = at_resolution(model.state_dict(), model.config, 19)
    assert (config.img_size, config.filter_grid) == (19, (4, 4))
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("side", [48, 42])
def test_each_stage_is_resampled_to_its_grid(side: int) -> None:
    """Positions of the first stage, filters of all; the model takes the new size."""
    sizes = {"embed_dims": (3, 4, 5, 6), "depths": (1, 2, 1, 1), "num_classes": 3}
    model = create("gfnet-h", img_size=32, exit_blocks=(2,), **sizes)
    state, config = at_resolution(model.state_dict(), model.config, side)
    assert config == replace(model.config, img_size=side, filter_grid=())
    resized = build(config)
    resized.load_state_dict(state)
    assert resized(torch.randn(1, 3, side, side)).shape == (1, 3)
    name = "blocks.1.1.filter.complex_weight"
    expected = resample_filter(model.state_dict()[name], (side // 8, side // 8))
    assert torch.equal(state[name], expected)
    assert torch.equal(state["blocks.1.1.gamma"], model.state_dict()["blocks.1.1.gamma"])


def test_a_grid_can_be_given() -> None:
    """38 tokens as 19 x 2; a grid that holds another number is refused."""
    model = create("gfnet-distil", img_size=16, patch_size=4, embed_dim=8, depth=1, num_classes=3)
    state, config = at_resolution(model.state_dict(), model.config, 24, (19, 2))
    assert config == replace(model.config, img_size=24, filter_grid=(19, 2))
    assert state["blocks.0.filter.complex_weight"].shape == (19, 2, 8, 2)
    with pytest.raises(ConfigError, match="holds 35 tokens"):
        at_resolution(model.state_dict(), model.config, 24, (5, 7))
    with pytest.raises(ConfigError, match="smaller than patch_size"):
        at_resolution(model.state_dict(), model.config, 3)
