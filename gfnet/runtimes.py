"""The engines that can run a model, behind the model's own three calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from gfnet.model import GFNet
    from gfnet.routing import ExitOutputs, RoutedOutputs, Thresholds

RUNTIMES = ("torch",)
PRECISIONS = ("float32",)


class Runtime(Protocol):
    """What every engine offers; `gfnet.GFNet` itself is the reference."""

    def __call__(self, images: Tensor) -> Tensor:
        """(B, K) logits at full depth."""

    def forward_exits(self, images: Tensor) -> ExitOutputs:
        """Every exit, one pass."""

    def route(self, images: Tensor, threshold: Thresholds) -> RoutedOutputs:
        """What each image really runs."""


def runtime(name: str, model: GFNet, *, threads: int = 0, precision: str = "float32") -> Runtime:
    """Put a model on an engine.

    Args:
        name: one of RUNTIMES. `torch` is eager mode.
        model: loaded, on the device it shall run on.
        threads: of the processor, for this whole process; 0: as many as the process may use.
        precision: one of PRECISIONS.

    Raises:
        ValueError: the engine or the precision is not one of those.
    """
    import os

    import torch  # the names above are read without torch

    if name not in RUNTIMES:
        raise ValueError(f"runtime {name!r} is unknown; known: {', '.join(RUNTIMES)}")
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is unknown; known: {', '.join(PRECISIONS)}")
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch.set_num_threads(threads or allowed or 1)
    return model.eval()
