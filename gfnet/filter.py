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


class MatrixFilter(nn.Module):
    """The convolution of a global filter by small matrix products instead of an FFT.

    On grids such as 14 x 14 the Fourier transform along one axis is a matrix of a few hundred
    numbers. Such products exist in half precision and in engines without complex numbers. Real and
    imaginary parts stand above each other: as rows of one matrix they need one product.

    Args:
        source: the filter, which is left as it is; its weight is taken over as it is now.

    Shape:
        (B, N, C) to (B, N, C).
    """

    forward_columns: Tensor
    forward_rows: Tensor
    inverse_rows: Tensor
    inverse_columns: Tensor
    real: Tensor
    imaginary: Tensor

    def __init__(self, source: GlobalFilter) -> None:
        super().__init__()
        self.grid = source.grid
        rows, columns = source.grid
        half = columns // 2 + 1
        weight = source.complex_weight.detach()
        along_columns = torch.fft.rfft(_identity(columns), norm="ortho").mT
        along_rows = torch.fft.fft(_identity(rows), norm="ortho").mT
        units = _identity(half)
        self._keep(
            weight.device,
            forward_columns=torch.cat([along_columns.real, along_columns.imag]),  # (2 h, b)
            forward_rows=_as_real(along_rows),  # (2 a, 2 a)
            inverse_rows=_as_real(along_rows.conj().mT),
            inverse_columns=torch.cat(  # (b, 2 h)
                [torch.fft.irfft(unit, n=columns, norm="ortho").mT for unit in (units, 1j * units)],
                dim=1,
            ),
            real=weight[..., 0].flatten(1),  # (a, h C)
            imaginary=weight[..., 1].flatten(1),
        )

    def _keep(self, device: torch.device, **matrices: Tensor) -> None:
        """Keep matrices with the module, out of its state dict: they follow from the weight."""
        for name, matrix in matrices.items():
            self.register_buffer(name, matrix.float().contiguous().to(device), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Convolve (B, N, C) tokens with the kernels."""
        rows, columns = self.grid
        count, dim = tokens.shape[1:]
        spectrum = self.forward_columns @ tokens.reshape(-1, rows, columns, dim)
        spectrum = self.forward_rows @ self._parts_first(spectrum)
        real, imaginary = spectrum[:, :rows], spectrum[:, rows:]
        filtered = torch.cat(
            [
                real * self.real - imaginary * self.imaginary,
                real * self.imaginary + imaginary * self.real,
            ],
            dim=1,
        )
        filtered = (self.inverse_rows @ filtered).reshape(-1, 2, rows, self.real.shape[1])
        filtered = filtered.transpose(1, 2).reshape(-1, rows, columns // 2 * 2 + 2, dim)
        mixed: Tensor = self.inverse_columns @ filtered
        return mixed.reshape(-1, count, dim)

    def _parts_first(self, spectrum: Tensor) -> Tensor:
        """(B, a, 2 h, C), parts within rows, to (B, 2 a, h C), rows within parts."""
        rows, width = self.grid[0], self.real.shape[1]
        return spectrum.reshape(-1, rows, 2, width).transpose(1, 2).reshape(-1, 2 * rows, width)


def _identity(size: int) -> Tensor:
    return torch.eye(size, dtype=torch.float64)


def _as_real(matrix: Tensor) -> Tensor:
    """The real matrix that does to stacked parts what a complex one does to complex numbers."""
    return torch.cat(
        [
            torch.cat([matrix.real, -matrix.imag], dim=1),
            torch.cat([matrix.imag, matrix.real], dim=1),
        ]
    )
