"""The global filter: one circular convolution of the whole token grid a channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GlobalFilter(nn.Module):
    """Mix tokens by a learned filter in the frequency domain (Rao et al., 2021, section 3.2).

    The N tokens are viewed as an a x b grid. The result is the circular convolution of that grid
    with the kernel irfft2(complex_weight), one a channel. Learned weights are not Hermitian in the
    first and last column of the half spectrum; the inverse transform drops the part that no real
    kernel has, so the convolution says what every back end computes.

    Args:
        dim: C, channels.
        grid: (a, b), rows and columns; a * b = N.

    Shape:
        (B, N, C) to (B, N, C).
    """

    def __init__(self, dim: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        rows, columns = grid
        self.complex_weight = nn.Parameter(torch.randn(rows, columns // 2 + 1, dim, 2) * 0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Convolve (B, N, C) tokens with the learned kernels."""
        batch, count, _ = tokens.shape
        if not batch:
            return tokens  # MKL's transform refuses an empty batch
        if torch.is_autocast_enabled(tokens.device.type):
            if batch >= count:
                return self._by_product(tokens)
            tokens = tokens.float()
        return self.inverse(self.product(self.spectrum(tokens)))

    def spectrum(self, tokens: Tensor) -> Tensor:
        """The (B, a, b // 2 + 1, C) half spectrum of (B, N, C) tokens."""
        grid = tokens.reshape(len(tokens), *self.grid, -1)
        spectrum: Tensor = torch.fft.rfft2(grid, dim=(1, 2), norm="ortho")
        return spectrum

    def product(self, spectrum: Tensor) -> Tensor:
        """A (B, a, b // 2 + 1, C) half spectrum, filtered."""
        return spectrum * torch.view_as_complex(self.complex_weight)

    def inverse(self, spectrum: Tensor) -> Tensor:
        """The (B, N, C) tokens of a (B, a, b // 2 + 1, C) half spectrum."""
        mixed: Tensor = torch.fft.irfft2(spectrum, s=self.grid, dim=(1, 2), norm="ortho")
        return mixed.flatten(1, 2)

    def _by_product(self, tokens: Tensor) -> Tensor:
        """The same convolution as one matrix product a channel, for mixed-precision training.

        No transform has a half precision, so autocast would run them in float32. Each channel's
        circulant (N, N) matrix is built anew, since its kernel is being learned: that pays where a
        batch has as many images as each has tokens.
        """
        kernels = self.kernel().flatten(0, 1).index_select(0, self._shifts(tokens.device))
        count = tokens.shape[1]
        matrices = kernels.view(count, count, -1).permute(2, 0, 1)  # channel, to, from
        return torch.bmm(tokens.permute(2, 0, 1), matrices.mT).permute(1, 2, 0)

    def _shifts(self, device: torch.device) -> Tensor:
        """(N * N,) which entry of the flat kernel leads to each token from each token."""
        rows, columns = (torch.arange(side, device=device) for side in self.grid)
        row_shifts = (rows[:, None] - rows) % self.grid[0]
        column_shifts = (columns[:, None] - columns) % self.grid[1]
        shifts = row_shifts[:, None, :, None] * self.grid[1] + column_shifts[None, :, None, :]
        return shifts.flatten()

    def kernel(self) -> Tensor:
        """The (a, b, C) real convolution kernel that the weight stands for."""
        weight = torch.view_as_complex(self.complex_weight)
        kernel: Tensor = torch.fft.irfft2(weight, s=self.grid, dim=(0, 1))
        return kernel
