"""The global filter: a circular convolution of the whole token grid, one kernel per channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GlobalFilter(nn.Module):
    """Mix tokens by a learned filter in the frequency domain (Rao et al., 2021, section 3.2).

    The N tokens form an a x b grid. The result is the circular convolution of that grid with the
    kernel irfft2(complex_weight), one per channel. Learned weights are not Hermitian in the first
    and last column of the half spectrum; the inverse transform drops the part that no real kernel
    has, so this convolution defines what every engine computes.

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
        """Return the (B, a, b // 2 + 1, C) half spectrum of (B, N, C) tokens."""
        grid = tokens.reshape(len(tokens), *self.grid, -1)
        spectrum: Tensor = torch.fft.rfft2(grid, dim=(1, 2), norm="ortho")
        return spectrum

    def product(self, spectrum: Tensor) -> Tensor:
        """Filter a (B, a, b // 2 + 1, C) half spectrum."""
        return spectrum * torch.view_as_complex(self.complex_weight)

    def inverse(self, spectrum: Tensor) -> Tensor:
        """Return the (B, N, C) tokens of a (B, a, b // 2 + 1, C) half spectrum."""
        mixed: Tensor = torch.fft.irfft2(spectrum, s=self.grid, dim=(1, 2), norm="ortho")
        return mixed.flatten(1, 2)

    def _by_product(self, tokens: Tensor) -> Tensor:
        """Convolve by one matrix product per channel, for mixed-precision training.

        No FFT supports half precision, so autocast would run it in float32. Each channel's
        circulant (N, N) matrix is rebuilt on each call, since its kernel is being learned: that
        pays off if a batch has at least as many images as an image has tokens.
        """
        kernels = self.kernel().flatten(0, 1).index_select(0, self._shifts(tokens.device))
        count = tokens.shape[1]
        matrices = kernels.view(count, count, -1).permute(2, 0, 1)  # channel, to, from
        return torch.bmm(tokens.permute(2, 0, 1), matrices.mT).permute(1, 2, 0)

    def _shifts(self, device: torch.device) -> Tensor:
        """(N * N,) index into the flat kernel for each output token and input token."""
        rows, columns = (torch.arange(side, device=device) for side in self.grid)
        row_shifts = (rows[:, None] - rows) % self.grid[0]
        column_shifts = (columns[:, None] - columns) % self.grid[1]
        shifts = row_shifts[:, None, :, None] * self.grid[1] + column_shifts[None, :, None, :]
        return shifts.flatten()

    def kernel(self) -> Tensor:
        """Return the (a, b, C) real convolution kernel that the weight represents."""
        weight = torch.view_as_complex(self.complex_weight)
        kernel: Tensor = torch.fft.irfft2(weight, s=self.grid, dim=(0, 1))
        return kernel


class MatrixFilter(nn.Module):
    """Computes a global filter's convolution by small matrix products instead of an FFT.

    On grids such as 14 x 14 the Fourier transform along one axis is a matrix of a few hundred
    numbers. Such products work in half precision and in engines without complex numbers.

    The transform is halved along the rows, not along the columns as the weight is. Rows are then
    transformed first and columns second, and nothing is transposed. Real and imaginary parts are
    stacked as rows of one matrix. A complex product needs them both as they are and multiplied by
    i: two matrices give both, so nothing is split or concatenated.

    Args:
        source: the filter; not changed, its present weight is copied.

    Shape:
        (B, N, C) to (B, N, C).
    """

    forward_rows: Tensor
    forward_columns: Tensor
    forward_columns_turned: Tensor
    inverse_columns: Tensor
    inverse_rows: Tensor
    real: Tensor
    imaginary: Tensor

    def __init__(self, source: GlobalFilter) -> None:
        super().__init__()
        self.grid = source.grid
        rows, columns = source.grid
        half = rows // 2 + 1
        weight = _halved_along_rows(source)  # (h, b, C)
        along_rows = torch.fft.rfft(_identity(rows), norm="ortho").mT
        along_columns = torch.fft.fft(_identity(columns), norm="ortho").mT
        units = _identity(half)
        backwards = [torch.fft.irfft(unit, n=rows, norm="ortho").mT for unit in (units, 1j * units)]
        self._keep(
            source.complex_weight.device,
            forward_rows=torch.stack([along_rows.real, along_rows.imag], dim=1).flatten(0, 1),
            forward_columns=_as_real(along_columns),  # (2 b, 2 b)
            forward_columns_turned=_as_real(1j * along_columns),
            inverse_columns=_as_real(along_columns.conj().mT),
            inverse_rows=torch.stack(backwards, dim=2).flatten(1),  # (a, 2 h)
            real=weight.real[:, None],  # (h, 1, b, C), for both parts
            imaginary=weight.imag[:, None],
        )

    def _keep(self, device: torch.device, **matrices: Tensor) -> None:
        """Register matrices as buffers outside the state dict: they follow from the weight."""
        for name, matrix in matrices.items():
            self.register_buffer(name, matrix.float().contiguous().to(device), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Convolve (B, N, C) tokens with the kernels."""
        rows, columns = self.grid
        count, dim = tokens.shape[1:]
        half = len(self.real)
        by_part = (-1, half, 2, columns, dim)
        spectrum = self.forward_rows @ tokens.reshape(-1, rows, columns * dim)
        spectrum = spectrum.reshape(-1, half, 2 * columns, dim)
        filtered = (self.forward_columns @ spectrum).reshape(by_part) * self.real
        turned = self.forward_columns_turned @ spectrum
        filtered = filtered + turned.reshape(by_part) * self.imaginary
        filtered = self.inverse_columns @ filtered.reshape(-1, half, 2 * columns, dim)
        mixed: Tensor = self.inverse_rows @ filtered.reshape(-1, 2 * half, columns * dim)
        return mixed.reshape(-1, count, dim)


def _halved_along_rows(source: GlobalFilter) -> Tensor:
    """Return the (a // 2 + 1, b, C) half spectrum of a filter's real kernel, in float64."""
    weight = torch.view_as_complex(source.complex_weight.detach().double().contiguous())
    kernel = torch.fft.irfft2(weight, s=source.grid, dim=(0, 1))
    halved: Tensor = torch.fft.rfft2(kernel, dim=(1, 0))
    return halved


def _identity(size: int) -> Tensor:
    return torch.eye(size, dtype=torch.float64)


def _as_real(matrix: Tensor) -> Tensor:
    """Return the real form of a complex matrix, for stacked real and imaginary parts."""
    return torch.cat(
        [
            torch.cat([matrix.real, -matrix.imag], dim=1),
            torch.cat([matrix.imag, matrix.real], dim=1),
        ]
    )
