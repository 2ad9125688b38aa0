"""The shared model core: Global Filter Networks, tensors in, tensors out.

    model = gfnet.create("gfnet-xs-distil-dynn", num_classes=10)
    model(images)                    # (B, K) logits at full depth
    model.forward_exits(images)      # every exit, one pass
    model.route(images, 0.5)         # what each image really runs

Names are loaded on first use, so that planning a grid and `gfjobs --help` do not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gfnet.checkpoint import CheckpointInfo as CheckpointInfo
    from gfnet.checkpoint import inspect_checkpoint as inspect_checkpoint
    from gfnet.checkpoint import load_checkpoint as load_checkpoint
    from gfnet.checkpoint import save_checkpoint as save_checkpoint
    from gfnet.checkpoint import save_thresholds as save_thresholds
    from gfnet.checkpoint import with_exits as with_exits
    from gfnet.config import FAMILIES as FAMILIES
    from gfnet.config import VARIANTS as VARIANTS
    from gfnet.config import ConfigError as ConfigError
    from gfnet.config import ModelConfig as ModelConfig
    from gfnet.gates import gate_features as gate_features
    from gfnet.metadata import Metadata as Metadata
    from gfnet.model import GFNet as GFNet
    from gfnet.model import create as create
    from gfnet.preprocess import DecodeError as DecodeError
    from gfnet.preprocess import Preprocessing as Preprocessing
    from gfnet.preprocess import decode as decode
    from gfnet.preprocess import transform as transform
    from gfnet.profiling import Profiler as Profiler
    from gfnet.routing import ExitOutputs as ExitOutputs
    from gfnet.routing import RoutedOutputs as RoutedOutputs
    from gfnet.runtimes import PRECISIONS as PRECISIONS
    from gfnet.runtimes import RUNTIMES as RUNTIMES
    from gfnet.runtimes import Runtime as Runtime
    from gfnet.runtimes import UnavailableError as UnavailableError
    from gfnet.runtimes import runtime as runtime
    from gfnet.tensors import CheckpointError as CheckpointError
    from gfnet.zoo import bundled as bundled

_HOME = {
    "checkpoint": (
        "CheckpointInfo",
        "inspect_checkpoint",
        "load_checkpoint",
        "save_checkpoint",
        "save_thresholds",
        "with_exits",
    ),
    "config": ("FAMILIES", "VARIANTS", "ConfigError", "ModelConfig"),
    "gates": ("gate_features",),
    "metadata": ("Metadata",),
    "model": ("GFNet", "create"),
    "preprocess": ("DecodeError", "Preprocessing", "decode", "transform"),
    "profiling": ("Profiler",),
    "routing": ("ExitOutputs", "RoutedOutputs"),
    "runtimes": ("PRECISIONS", "RUNTIMES", "Runtime", "UnavailableError", "runtime"),
    "tensors": ("CheckpointError",),
    "zoo": ("bundled",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = sorted(_MODULE_OF)  # noqa: PLE0605 - a list of strings, made from the map above


def __getattr__(name: str) -> Any:
    """Load the module that has `name`, on first use."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'gfnet' has no attribute {name!r}")
    return getattr(import_module(f"gfnet.{_MODULE_OF[name]}"), name)
