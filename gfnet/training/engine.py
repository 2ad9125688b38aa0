"""Device and precision of a training."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from gfnet.training.settings import PRECISIONS

_ROWS, _INNER, _OUTER = 4096, 256, 1024  # a matrix product of the size in an MLP
_REPEATS = 5
_WORTHWHILE = 0.8  # half precision makes sums less accurate: it must save at least a fifth


@dataclass(frozen=True)
class Engine:
    """Device and precision of a training.

    Attributes:
        device: where models and batches are.
        precision: `float32`, or `bfloat16` for matrix products under torch.autocast; weights,
            norms, losses and optimiser stay float32.
    """

    device: torch.device
    precision: str

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which whole models run."""
        is_half = self.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=is_half)


def choose_engine(device: str, precision: str) -> Engine:
    """Return an engine; `auto` times a matrix product in both precisions and takes the faster.

    Args:
        device: as torch names it.
        precision: one of gfnet.training.settings.PRECISIONS.

    Raises:
        ValueError: the precision is unknown.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r}; allowed: {', '.join(PRECISIONS)}")
    place = torch.device(device)
    if precision == "auto":
        half_s, full_s = (_product_s(place, kind) for kind in (torch.bfloat16, torch.float32))
        precision = "bfloat16" if half_s < _WORTHWHILE * full_s else "float32"
    return Engine(place, precision)


def _product_s(device: torch.device, dtype: torch.dtype) -> float:
    """Seconds of the fastest of some matrix products; infinite if the device has none."""
    try:
        left = torch.ones(_ROWS, _INNER, device=device, dtype=dtype)
        right = torch.ones(_INNER, _OUTER, device=device, dtype=dtype)
        times = []
        for _ in range(_REPEATS):
            started_s = time.perf_counter()
            (left @ right).sum().item()  # reading the number waits for the device
            times.append(time.perf_counter() - started_s)
    except (RuntimeError, TypeError):
        return float("inf")
    return min(times)
