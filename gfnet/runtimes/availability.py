"""Which engine runs in which precision on which kind of device, and what is missing for it here.

Loads no torch. `SUPPORT` is the only such table: docs/grids.md shows it, and a test compares them.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any

from gfnet.runtimes.onnxruntime_module import load_onnxruntime

PRECISIONS = ("float32", "bfloat16", "float16", "int8")
CALIBRATION_IMAGES = 512
"""Images from which the ranges of int8 are taken, unless told otherwise."""

MAX_CALIBRATION_IMAGES = 10_000
"""They are held in memory as tensors: some 6 GB at 224 px."""

SUPPORT: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "torch": {"cpu": ("float32", "bfloat16"), "cuda": ("float32", "bfloat16", "float16")},
    "compile": {"cpu": ("float32", "bfloat16"), "cuda": ("float32", "bfloat16", "float16")},
    # On CUDA, ONNX Runtime has no convolution in bfloat16 below opset 22, and other kernels that
    # these graphs need not above opset 18 (gfnet/runtimes/gpu_graphs.py).
    "onnx": {"cpu": ("float32", "int8"), "cuda": ("float32", "float16")},
    "openvino": {"cpu": ("float32", "bfloat16", "int8")},
    "tensorrt": {"cuda": ("float32", "bfloat16", "float16")},
}
"""Precisions by engine and kind of device, as torch names it. A Jetson's GPU is a `cuda` device."""

RUNTIMES = tuple(SUPPORT)
CUDA_PROVIDER = "CUDAExecutionProvider"
TENSORRT_PROVIDER = "TensorrtExecutionProvider"

_DEVICES = {"cpu": "CPUs", "cuda": "NVIDIA GPUs"}
_PACKAGES = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
    "tensorrt": ("onnx", "onnxscript", "onnxruntime"),
}
_PROVIDERS = {("onnx", "cuda"): CUDA_PROVIDER, ("tensorrt", "cuda"): TENSORRT_PROVIDER}
_EXTRAS = {("onnx", "cuda"): "onnx-gpu"}  # else as the engine


class UnavailableError(RuntimeError):
    """Raised if an engine, or a precision on it, is unavailable here; the message says why."""


class WrongEngineError(RuntimeError):
    """Raised if what was built is not the engine that was asked for, wholly on its device."""


def impossible(name: str, precision: str, device: str | None) -> str | None:
    """Return why no installation offers an engine in a precision on a device; None if one may.

    Args:
        name: one of RUNTIMES.
        precision: one of PRECISIONS.
        device: its kind as torch names it; None if it is not known yet: only reasons that hold on
            every device are returned.
    """
    on = SUPPORT[name]
    if device is None:
        anywhere = [each for each in PRECISIONS if any(each in has for has in on.values())]
        if precision in anywhere:
            return None
        return f"runtime {name} supports {_listed(anywhere)}, not {precision}"
    if device not in on:
        kinds = " and ".join(_DEVICES[kind] for kind in on)
        others = [each for each, has in SUPPORT.items() if precision in has.get(device, ())]
        return f"runtime {name} runs only on {kinds}; on a {device} device, {_choose(others)}"
    if precision in on[device]:
        return None
    if (device, precision) == ("cpu", "float16") and "bfloat16" in on[device]:
        return "float16 is not supported on a CPU: choose bfloat16"
    return f"runtime {name} supports {_listed(on[device])} on a {device} device, not {precision}"


def _listed(precisions: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(precisions[:-1]), precisions[-1])))


def _choose(runtimes: list[str]) -> str:
    return (
        f"choose runtime {' or '.join(runtimes)}"
        if runtimes
        else "choose another runtime and precision"
    )


def unavailable(name: str, precision: str, device: str) -> str | None:
    """Return why an engine is unavailable here in a precision; None if no reason is known.

    Args:
        name: one of RUNTIMES.
        precision: one of PRECISIONS.
        device: its kind as torch names it: `cpu`, `cuda`.
    """
    if reason := impossible(name, precision, device):
        return reason
    extra = _EXTRAS.get((name, device), name)
    missing = [package for package in _PACKAGES.get(name, ()) if find_spec(package) is None]
    if missing:
        where = "" if device == "cpu" else f" on a {device} device"
        return f"runtime {name}{where} needs {', '.join(missing)}: pip install 'gfjobs[{extra}]'"
    if precision == "int8" and find_spec("onnxruntime") is None:
        return "int8 needs onnxruntime, whose quantiser makes it: pip install 'gfjobs[onnx]'"
    if provider := _PROVIDERS.get((name, device)):
        return _without_provider(name, provider, extra)
    return _without_compiler(device) if name == "compile" else None


def _without_provider(name: str, provider: str, extra: str) -> str | None:
    """Return which wheel to install if ONNX Runtime lacks a provider; None if it has it."""
    ort = load_onnxruntime()

    found = ort.get_available_providers()
    if provider in found:
        return None
    return (
        f"runtime {name} needs ONNX Runtime with {provider}; the installed"
        f" {installed_onnxruntime()} has {', '.join(found)}. {_which_wheel(extra)}"
    )


def _which_wheel(extra: str) -> str:
    """Return how to get an ONNX Runtime for GPUs, whose module is that of the one for CPUs."""
    return (
        "On x86-64: pip uninstall onnxruntime, then pip install --force-reinstall"
        f" 'gfjobs[{extra}]', which brings onnxruntime-gpu; on a Jetson, the onnxruntime-gpu that"
        " is built for your JetPack, from Jetson AI Lab and not from PyPI (docs/engines.md)"
    )


def installed_onnxruntime() -> str:
    """Return the wheel that the module `onnxruntime` is from, with its version."""
    ort = load_onnxruntime()

    module: Any = ort
    for wheel in ("onnxruntime-gpu", "onnxruntime"):
        try:
            if version(wheel) == module.__version__:
                return f"{wheel} {module.__version__}"
        except PackageNotFoundError:
            continue
    return f"onnxruntime {module.__version__}"


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
