"""The global filter against a direct circular convolution."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gfnet.filter import GlobalFilter, MatrixFilter

GRIDS = [(1, 1), (1, 2), (2, 1), (1, 7), (3, 3), (4, 4), (3, 4), (4, 3), (5, 2), (6, 11), (7, 6)]


def convolve_directly(grid: Tensor, kernel: Tensor) -> Tensor:
    """O(N^2) circular convolution of (B, a, b, C) with (a, b, C), term by term."""
    rows, columns = kernel.shape[:2]
    out = torch.zeros_like(grid)
    for row in range(rows):
        for column in range(columns):
            for drow in range(rows):
                for dcolumn in range(columns):
                    source = grid[:, (row - drow) % rows, (column - dcolumn) % columns]
                    out[:, row, column] += source * kernel[drow, dcolumn]
    return out


@pytest.mark.parametrize("grid", GRIDS)
def test_filter_is_a_circular_convolution(grid: tuple[int, int]) -> None:
    """Odd, even and non-square grids; weights are not Hermitian, as learned ones are not."""
    torch.manual_seed(sum(grid))
    layer = GlobalFilter(3, grid).double()
    torch.nn.init.normal_(layer.complex_weight)
    tokens = torch.randn(2, grid[0] * grid[1], 3, dtype=torch.float64)
    expected = convolve_directly(tokens.reshape(2, *grid, 3), layer.kernel())
    actual = layer(tokens).reshape(2, *grid, 3)
    torch.testing.assert_close(actual, expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("grid", [*GRIDS, (14, 14), (43, 6), (1, 66)])
def test_matrices_are_the_same_convolution(grid: tuple[int, int]) -> None:
    """As the FFT, of one image and of several."""
    torch.manual_seed(sum(grid))
    layer = GlobalFilter(3, grid)
    torch.nn.init.normal_(layer.complex_weight)
    for batch in (0, 1, 3):
        tokens = torch.randn(batch, grid[0] * grid[1], 3)
        torch.testing.assert_close(MatrixFilter(layer)(tokens), layer(tokens), atol=1e-4, rtol=0)


@pytest.mark.parametrize("is_product", [False, True])
@pytest.mark.parametrize("grid", GRIDS[1:])
def test_under_autocast_it_is_the_same_convolution(
    grid: tuple[int, int], *, is_product: bool
) -> None:
    """Of many images as a matrix product of bfloat16, of 8 bits; the gradient agrees too."""
    torch.manual_seed(sum(grid))
    layer = GlobalFilter(3, grid)
    torch.nn.init.normal_(layer.complex_weight)
    count = grid[0] * grid[1]
    tokens = torch.randn(count if is_product else count - 1, count, 3)
    results = {}
    for is_half in (False, True):
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=is_half):
            mixed = layer(tokens)
        mixed.float().square().sum().backward()
        assert layer.complex_weight.grad is not None
        results[is_half] = (mixed.detach().float(), layer.complex_weight.grad.clone())
        assert mixed.dtype == (torch.bfloat16 if is_half and is_product else torch.float32)
    for full, half in zip(*results.values(), strict=True):
        assert (full - half).norm() <= 0.02 * full.norm()


def test_one_tap_shifts_the_grid() -> None:
    """Worked by hand: the kernel with a single one at (1, 2) moves every token there."""
    grid = (3, 4)
    kernel = torch.zeros(*grid, 1, dtype=torch.float64)
    kernel[1, 2] = 1
    layer = GlobalFilter(1, grid).double()
    weight = torch.view_as_real(torch.fft.rfft2(kernel, dim=(0, 1)))
    layer.load_state_dict({"complex_weight": weight})
    tokens = torch.arange(12, dtype=torch.float64).reshape(1, 12, 1)
    moved = tokens.reshape(3, 4).roll((1, 2), dims=(0, 1))
    torch.testing.assert_close(layer(tokens).reshape(3, 4), moved)


def test_identity_kernel_changes_nothing() -> None:
    """A spectrum of ones is the unit impulse."""
    layer = GlobalFilter(2, (6, 11))
    torch.nn.init.zeros_(layer.complex_weight)
    layer.complex_weight.data[..., 0] = 1
    tokens = torch.randn(2, 66, 2)
    torch.testing.assert_close(layer(tokens), tokens)
