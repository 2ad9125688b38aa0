"""Keeps float32 what its name says on a GPU: TF32 rounds the factors of a product to 11 bits."""

from __future__ import annotations

from typing import Any

import torch


def refuse_tf32() -> None:
    """Let no product or convolution of this process compute float32 in TF32.

    Torch allows it in convolutions unless told otherwise, and those embed the patches; NVIDIA's
    containers allow it in matrix products too (`TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1`).
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    # Newer torch also has one setting for all backends, which overrules the second line.
    for kind in ("conv", "rnn"):
        backend: Any = getattr(torch.backends.cudnn, kind, None)
        if getattr(backend, "fp32_precision", "") == "tf32":
            backend.fp32_precision = "ieee"


def tf32_uses() -> list[str]:
    """Return which operations may compute float32 in TF32 now."""
    convolution = getattr(torch.backends.cudnn, "conv", None)
    precision = getattr(convolution, "fp32_precision", None)
    in_convolutions = torch.backends.cudnn.allow_tf32 if precision is None else precision == "tf32"
    uses = {"products": torch.backends.cuda.matmul.allow_tf32, "convolutions": in_convolutions}
    return [name for name, is_allowed in uses.items() if is_allowed]
