"""TensorRT, by ONNX Runtime's provider: one engine per stage, in the precision of its graph.

No precision is asked of TensorRT, since its builder would then lower norms and gates too.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import torch

from gfnet.model import GFNet
from gfnet.runtimes.availability import TENSORRT_PROVIDER, UnavailableError, installed_onnxruntime
from gfnet.runtimes.engine_cache import EngineKey, cached_engine
from gfnet.runtimes.exported import ENTERING, single_onnx
from gfnet.runtimes.gpu_graphs import for_gpu_graphs, gpu_graph
from gfnet.runtimes.onnx import OnnxStage
from gfnet.runtimes.onnxruntime_module import load_onnxruntime
from gfnet.runtimes.session import BoundSession, Provider, stream_of
from gfnet.runtimes.staged import StagedRuntime
from gfnet.runtimes.stages import Stage

MOST_IMAGES = 256
"""Largest batch of an engine, the default of accuracy; a larger one runs in parts of this size."""

USUAL_IMAGES = 64
"""Number of images that an engine for several is optimised for."""

_BFLOAT16_CAPABILITY = (8, 0)
_MAJORS = (11, 10)

Made = TypeVar("Made")


def tensorrt(model: GFNet, precision: str) -> StagedRuntime:
    """Put a model on TensorRT, with an engine for one image and one for several, for each stage.

    Raises:
        UnavailableError: there is no TensorRT here, or no bfloat16 on this GPU.
        WrongEngineError: ONNX Runtime built something else.
    """
    index = torch.cuda.current_device()
    gpu, capability = torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index)
    if precision == "bfloat16" and capability < _BFLOAT16_CAPABILITY:
        raise UnavailableError(
            f"{gpu} has compute capability {capability[0]}.{capability[1]}; for bfloat16 TensorRT"
            f" needs {_BFLOAT16_CAPABILITY[0]}.{_BFLOAT16_CAPABILITY[1]}: choose float16"
        )
    key = _engine_key(index)

    def several(stage: Stage) -> OnnxStage:
        profile = _profile({ENTERING: stage.entering_shape})
        return _engine(OnnxStage, gpu_graph(stage), index, key, profile)

    return StagedRuntime(
        model,
        several,
        lambda stage: _engine(OnnxStage, single_onnx(stage, gpu_graph), index, key, {}),
        prepare=lambda each: for_gpu_graphs(each, precision),
    )


def session_maker() -> Callable[[bytes, Mapping[str, tuple[int, ...]]], BoundSession]:
    """Return what builds an engine of a graph, given the shape of one image's part of each input.

    Raises: UnavailableError: there is no TensorRT here.
    """
    index = torch.cuda.current_device()
    key = _engine_key(index)
    return lambda graph, shapes: _engine(BoundSession, graph, index, key, _profile(shapes))


def _engine_key(index: int) -> EngineKey:
    gpu, capability = torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index)
    return EngineKey(gpu, capability, installed_onnxruntime(), tensorrt_version())


def _engine(
    make: Callable[[bytes, Provider], Made],
    graph: bytes,
    index: int,
    key: EngineKey,
    profile: Mapping[str, str],
) -> Made:
    """Build a graph's engine, or load the one that an earlier process has built."""
    stream = stream_of(index)
    options = {
        "device_id": str(index),
        "user_compute_stream": str(stream.cuda_stream),
        **profile,
    }

    def build(folder: Path | None) -> Made:
        kept = (
            {"trt_engine_cache_enable": "True", "trt_engine_cache_path": str(folder)}
            if folder
            else {}
        )
        provider = Provider(
            TENSORRT_PROVIDER,
            torch.device("cuda", index),
            options=options | kept,
            stream=stream,
            most_images=MOST_IMAGES if profile else 0,
        )
        return make(graph, provider)

    return cached_engine(key.digest(graph, profile), build)


def _profile(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """Return the numbers of images that an engine serves, given each input's shape for one.

    Without it TensorRT would build another engine for each larger batch, also under the clock.
    """
    sizes = {"min": 1, "opt": USUAL_IMAGES, "max": MOST_IMAGES}
    return {
        f"trt_profile_{name}_shapes": ",".join(
            f"{port}:{'x'.join(map(str, (images, *shape)))}" for port, shape in shapes.items()
        )
        for name, images in sizes.items()
    }


def tensorrt_version() -> str:
    """Return TensorRT's version; its libraries are loaded, so that ONNX Runtime finds them.

    Raises: UnavailableError: there are none, or of another version than ONNX Runtime needs.
    """
    needed = _needed_major()
    found = _from_wheel() or _from_system(_MAJORS if needed is None else (needed,))
    if found is not None and needed in (None, int(found.split(".")[0])):
        return found
    which = " or ".join(map(str, _MAJORS)) if needed is None else str(needed)
    bound = "" if needed is None else f">={needed},<{needed + 1}"
    raise UnavailableError(
        f"runtime tensorrt needs TensorRT {which}, for which {installed_onnxruntime()} was built;"
        f" found: {found or 'none'}. On x86-64: pip install 'tensorrt{bound}'; on a Jetson, the one"
        " of your JetPack: apt-get install tensorrt (docs/engines.md)"
    )


def _needed_major() -> int | None:
    """Return the version whose library ONNX Runtime's provider links; None if it does not show."""
    ort = load_onnxruntime()

    library = Path(ort.__file__).with_name("capi") / "libonnxruntime_providers_tensorrt.so"
    with suppress(OSError):
        if name := re.search(rb"libnvinfer\.so\.(\d+)", library.read_bytes()):
            return int(name[1])
    return None


def _from_wheel() -> str | None:
    if find_spec("tensorrt") is None:
        return None
    module: Any = import_module("tensorrt")  # loads the libraries that its wheel brings
    return str(module.__version__)


def _from_system(majors: Sequence[int]) -> str | None:
    for major in majors:
        with suppress(OSError):
            library = ctypes.CDLL(f"libnvinfer.so.{major}", ctypes.RTLD_GLOBAL)
            number = library.getInferLibVersion()  # 100300 is 10.3.0
            return f"{number // 10000}.{number // 100 % 100}.{number % 100}"
    return None
