"""Which engine runs a bundle, in which precision, on which kind of device. Loads no torch."""

from __future__ import annotations

from gfnet.runtimes.availability import SUPPORT

BUNDLE_RUNTIMES = ("onnx", "openvino", "tensorrt")
REFERENCE_RUNTIME = "onnx"
"""On a CPU, in the precision of the graphs: what other engines' answers are compared with."""


def impossible_for_bundle(
    name: str, precision: str, device: str | None, graph_precision: str
) -> str | None:
    """Return why no installation runs a bundle so; None if one may.

    Args:
        name: of gfnet.RUNTIMES.
        precision: that is asked for.
        device: its kind as torch names it; None if it is not known yet: only reasons that hold on
            every device are returned.
        graph_precision: of the bundle's graphs, as its manifest says.
    """
    if name not in BUNDLE_RUNTIMES:
        return (
            f"runtime {name} runs no bundle, whose graphs are ONNX: choose runtimes: [onnx] or"
            " [openvino]; on an NVIDIA GPU also [tensorrt]"
        )
    if device is not None and device not in SUPPORT[name]:
        others = [each for each in BUNDLE_RUNTIMES if device in SUPPORT[each]]
        return (
            f"runtime {name} runs no bundle on a {device} device; choose runtime"
            f" {' or '.join(others)}"
        )
    is_lowered = precision == "bfloat16" and graph_precision == "float32"
    if precision == graph_precision or (name == "openvino" and is_lowered):
        return None
    also = ", or runtime openvino on a CPU, which lowers it" if is_lowered else ""
    if precision == "int8":
        also = ", or a bundle exported with --precision int8"
    return (
        f"runtime {name} runs a bundle in the precision of its graphs, here {graph_precision}, not"
        f" {precision}: choose precisions: [{graph_precision}]{also}"
    )
