"""The engines that can run a model, with the same three calls as the model itself.

`availability` says which engine runs where, `stages` cuts a model at its exits, `staged` runs the
stages; `eager`, `compiled`, `onnx`, `openvino` and `tensorrt` are engines for a stage, `int8` makes
graphs for them. Importing this module loads no torch; calling `runtime` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

from gfnet.processors import usable_processors
from gfnet.runtimes.availability import PRECISIONS, RUNTIMES, UnavailableError, unavailable

if TYPE_CHECKING:
    from torch import Tensor

    from gfnet.model import GFNet
    from gfnet.routing import ExitOutputs, RoutedOutputs, Thresholds
    from gfnet.runtimes.int8 import CalibrationImages

# An engine compiles for seconds, and each task requests its model again, so an engine is kept as
# long as its model. No engine refers to the model itself, or neither would ever be freed.
_built: WeakKeyDictionary[GFNet, dict[tuple[str, str, int, str], Runtime]] = WeakKeyDictionary()


class Runtime(Protocol):
    """The calls that every engine offers; `gfnet.GFNet` itself is the reference."""

    def __call__(self, images: Tensor) -> Tensor:
        """Return the (B, K) logits at full depth."""

    def forward_exits(self, images: Tensor) -> ExitOutputs:
        """Return the outputs of every exit, from one pass."""

    def route(self, images: Tensor, threshold: Thresholds) -> RoutedOutputs:
        """Let each image exit where its gate allows, as `GFNet.route` does."""


def runtime(
    name: str,
    model: GFNet,
    *,
    threads: int = 0,
    precision: str = "float32",
    calibration: CalibrationImages | None = None,
) -> Runtime:
    """Put a model on an engine.

    Args:
        name: one of RUNTIMES. `torch` is eager mode, the reference.
        model: loaded, on the device to run on.
        threads: of the CPU, for this whole process; 0: as many as the process may use.
        precision: one of PRECISIONS, for matrix products. Norms, gates and logits are float32,
            which never means TF32: that is switched off for this whole process.
        calibration: for int8, which alone needs it.

    Raises:
        ValueError: the engine or the precision is unknown, or int8 lacks its calibration.
        UnavailableError: the engine or the precision is known, but unavailable here.
        WrongEngineError: the engine is installed, but what was built is not what was asked for.
    """
    import torch  # the names above are available without torch

    from gfnet.float32 import refuse_tf32

    if name not in RUNTIMES:
        raise ValueError(f"runtime {name!r} is unknown; known: {', '.join(RUNTIMES)}")
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is unknown; known: {', '.join(PRECISIONS)}")
    if (precision == "int8") != (calibration is not None):
        raise ValueError("calibration images belong to int8, which needs them, and to nothing else")
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
    key = name, precision, threads, calibration.key if calibration else ""
    if key not in built:
        built[key] = _build(name, model, precision, threads, calibration)
    return built[key]


def is_runtime_built(
    name: str,
    model: GFNet,
    *,
    threads: int,
    precision: str,
    calibration: CalibrationImages | None = None,
) -> bool:
    """Return whether `runtime` has built this engine already, or has nothing to build."""
    key = name, precision, threads or usable_processors(), calibration.key if calibration else ""
    return (name, precision) == ("torch", "float32") or key in _built.get(model, {})


def _build(
    name: str, model: GFNet, precision: str, threads: int, calibration: CalibrationImages | None
) -> Runtime:
    if name == "torch":
        from gfnet.runtimes.eager import eager

        return eager(model, precision)
    if name == "compile":
        from gfnet.runtimes.compiled import compiled

        return compiled(model, precision, threads)
    if name == "tensorrt":
        from gfnet.runtimes.tensorrt import tensorrt

        return tensorrt(model, precision)
    from gfnet.runtimes.exported import to_onnx
    from gfnet.runtimes.int8 import int8_graphs

    graph_of = int8_graphs(calibration) if calibration else to_onnx
    if name == "onnx":
        from gfnet.runtimes.onnx import onnx, onnx_on_cuda

        is_on_cpu = next(model.parameters()).device.type == "cpu"
        if not is_on_cpu:
            return onnx_on_cuda(model, precision)
        return onnx(model, precision, threads, graph_of)
    from gfnet.runtimes.openvino import openvino

    return openvino(model, precision, threads, graph_of)
