"""The engines that can run a model, with the same three calls as the model itself.

`stages` cuts a model at its exits, `staged` runs the stages; `eager`, `compiled`, `onnx` and
`openvino` are engines for a stage. Importing this module loads no torch; calling `runtime` does.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

from gfnet.processors import usable_processors

if TYPE_CHECKING:
    from torch import Tensor

    from gfnet.model import GFNet
    from gfnet.routing import ExitOutputs, RoutedOutputs, Thresholds

PRECISIONS = ("float32", "bfloat16", "float16")
_HAS = {
    "torch": ("float32", "bfloat16", "float16"),
    "compile": ("float32", "bfloat16", "float16"),
    "onnx": ("float32",),
    "openvino": ("float32", "bfloat16"),
}
RUNTIMES = tuple(_HAS)
_PACKAGES = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
}


# An engine compiles for seconds, and each task requests its model again, so an engine is kept as
# long as its model. No engine refers to the model itself, or neither would ever be freed.
_built: WeakKeyDictionary[GFNet, dict[tuple[str, str, int], Runtime]] = WeakKeyDictionary()


class UnavailableError(RuntimeError):
    """Raised if an engine, or a precision on it, is unavailable here; the message says why."""


class Runtime(Protocol):
    """The calls that every engine offers; `gfnet.GFNet` itself is the reference."""

    def __call__(self, images: Tensor) -> Tensor:
        """Return the (B, K) logits at full depth."""

    def forward_exits(self, images: Tensor) -> ExitOutputs:
        """Return the outputs of every exit, from one pass."""

    def route(self, images: Tensor, threshold: Thresholds) -> RoutedOutputs:
        """Let each image exit where its gate allows, as `GFNet.route` does."""


def runtime(name: str, model: GFNet, *, threads: int = 0, precision: str = "float32") -> Runtime:
    """Put a model on an engine.

    Args:
        name: one of RUNTIMES. `torch` is eager mode, the reference.
        model: loaded, on the device to run on.
        threads: of the CPU, for this whole process; 0: as many as the process may use.
        precision: one of PRECISIONS, for matrix products. Norms, gates and logits are float32,
            which never means TF32: that is switched off for this whole process.

    Raises:
        ValueError: the engine or the precision is unknown.
        UnavailableError: the engine or the precision is known, but unavailable here.
    """
    import torch  # the names above are available without torch

    from gfnet.float32 import refuse_tf32

    if name not in RUNTIMES:
        raise ValueError(f"runtime {name!r} is unknown; known: {', '.join(RUNTIMES)}")
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is unknown; known: {', '.join(PRECISIONS)}")
    device = next(model.parameters()).device.type
    if reason := unavailable(name, precision, device):
        raise UnavailableError(reason)
    threads = threads or usable_processors()
    torch.set_num_threads(threads)
    refuse_tf32()
    model.eval()
    if (name, precision) == ("torch", "float32"):
        return model
    built = _built.setdefault(model, {})
    key = name, precision, threads
    if key not in built:
        built[key] = _build(name, model, precision, threads)
    return built[key]


def _build(name: str, model: GFNet, precision: str, threads: int) -> Runtime:
    if name == "torch":
        from gfnet.runtimes.eager import eager

        return eager(model, precision)
    if name == "compile":
        from gfnet.runtimes.compiled import compiled

        return compiled(model, precision, threads)
    if name == "onnx":
        from gfnet.runtimes.onnx import onnx

        return onnx(model, threads)
    from gfnet.runtimes.openvino import openvino

    return openvino(model, precision, threads)


def unavailable(name: str, precision: str, device: str) -> str | None:
    """Return why an engine is unavailable here in a precision; None if no reason is known.

    Args:
        name: one of RUNTIMES.
        precision: one of PRECISIONS.
        device: its kind as torch names it: `cpu`, `cuda`.
    """
    if reason := impossible(name, precision, device):
        return reason
    missing = [package for package in _PACKAGES.get(name, ()) if find_spec(package) is None]
    if missing:
        return f"runtime {name} needs {', '.join(missing)}: pip install 'gfjobs[{name}]'"
    return _without_compiler(device) if name == "compile" else None


def _without_compiler(device: str) -> str | None:
    """Return what torch.compile lacks to build its kernels; None if nothing is missing."""
    if device != "cpu" and find_spec("triton") is None:
        return (
            f"runtime compile needs triton on {device}, which this torch build lacks: install a"
            " torch build that includes it, or choose runtime torch"
        )
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if which(compiler) is None:
        return (
            f"runtime compile needs a C++ compiler, and {compiler} is not found: install g++ (on"
            " Debian and Ubuntu: apt-get install g++), or set the environment variable CXX"
        )
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").is_file():
        return (
            f"runtime compile needs Python's headers, and {headers} has no Python.h: install them"
            " (on Debian and Ubuntu: apt-get install python3-dev)"
        )
    return None


def impossible(name: str, precision: str, device: str | None) -> str | None:
    """Return why no installation offers an engine in a precision on a device; None if one may.

    Args:
        name: one of RUNTIMES.
        precision: one of PRECISIONS.
        device: its kind as torch names it; None if it is not known yet: only reasons that hold on
            every device are returned.
    """
    if precision not in _HAS[name]:
        return f"runtime {name} supports {' and '.join(_HAS[name])}, not {precision}"
    if device == "cpu" and precision == "float16":
        return "float16 is not supported on a CPU: choose bfloat16"
    if device not in (None, "cpu") and name in _PACKAGES:
        return (
            f"runtime {name} runs only on CPUs here; on a {device} device, choose runtime torch or"
            " compile"
        )
    return None
