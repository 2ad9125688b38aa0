"""One global filter in each form that computes it, in each runtime, at batch 1 and 64.

The rival is the form by torch.fft, as the paper has it. The others are the same circular
convolution of the token grid:

- products: transforms along rows and columns as small matrices (`gfnet.filter.MatrixFilter`);
- one matrix: one real (N, N) matrix a channel, as autocast trains with;
- depthwise: the grid continued around its edges, then a depthwise convolution with the kernel.

Each form's answer is compared with the reference's before it is timed: the table has the largest
difference over the largest value. All take turns, forwards and backwards, on one thread; medians,
in ms an image.

    python benchmarks/filters.py [--dim 384] [--grid 14 14] [--batches 1 64] [--repeats 15]
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gfnet.filter import GlobalFilter, MatrixFilter
from gfnet.runtimes import availability
from gfnet.runtimes.exported import OPSET

Call = Callable[[Tensor], Tensor]

REFERENCE = ("fft", "torch")


class OneMatrix(nn.Module):
    """A circulant matrix a channel: (C, N, N)."""

    matrices: Tensor

    def __init__(self, source: GlobalFilter) -> None:
        super().__init__()
        dim = source.complex_weight.shape[2]
        count = source.grid[0] * source.grid[1]
        # Column by column: what the filter makes of one token alone, in all channels.
        units = torch.eye(count)[:, :, None].expand(count, count, dim)
        self.register_buffer("matrices", source(units).permute(2, 1, 0).contiguous())

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, C) to (B, N, C)."""
        return (self.matrices @ tokens.permute(2, 1, 0)).permute(2, 1, 0)


class Depthwise(nn.Module):
    """A convolution with a kernel as large as the grid."""

    kernel: Tensor

    def __init__(self, source: GlobalFilter) -> None:
        super().__init__()
        self.grid = source.grid
        # torch correlates: the kernel is turned around.
        turned = source.kernel().permute(2, 0, 1)[:, None].flip(2, 3)
        self.register_buffer("kernel", turned.contiguous())

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, C) to (B, N, C)."""
        rows, columns = self.grid
        dim = tokens.shape[2]
        grid = tokens.reshape(-1, rows, columns, dim).permute(0, 3, 1, 2)
        # Not functional.pad: OpenVINO has no padding that goes around.
        around = torch.cat([grid[:, :, 1:], grid], dim=2)
        around = torch.cat([around[..., 1:], around], dim=3)
        mixed = functional.conv2d(around, self.kernel, groups=dim)
        return mixed.permute(0, 2, 3, 1).reshape(-1, rows * columns, dim)


FORMS: dict[str, Callable[[GlobalFilter], nn.Module]] = {
    "fft": lambda source: source,
    "products": MatrixFilter,
    "one matrix": OneMatrix,
    "depthwise": Depthwise,
}


def in_torch(form: nn.Module, tokens: Tensor) -> Call:  # noqa: ARG001 - the others are exported
    """The module itself."""
    return form


def in_onnx(form: nn.Module, tokens: Tensor) -> Call:
    """ONNX Runtime."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session: Any = ort.InferenceSession(exported(form, tokens), options)
    return lambda tokens: torch.from_numpy(session.run(None, {"tokens": tokens.numpy()})[0])


def in_openvino(form: nn.Module, tokens: Tensor) -> Call:
    """OpenVINO."""
    core = openvino_core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    graph = core.read_model(io.BytesIO(exported(form, tokens)))
    request: Any = core.compile_model(graph, "CPU", settings).create_infer_request()

    def call(tokens: Tensor) -> Tensor:
        return torch.from_numpy(request.infer([tokens.numpy()], share_inputs=True)[0])

    return call


@cache
def openvino_core() -> Any:
    """One a process (see gfnet/runtimes/openvino.py)."""
    import openvino as ov

    return ov.Core()


ENGINES: dict[str, Callable[[nn.Module, Tensor], Call]] = {
    "torch": in_torch,
    "onnx": in_onnx,
    "openvino": in_openvino,
}


def exported(form: nn.Module, tokens: Tensor) -> bytes:
    """The form as an ONNX graph for this batch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own internals
        program = torch.onnx.export(
            form,
            (tokens,),
            input_names=["tokens"],
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # None comes of f=path alone
    graph: bytes = program.model_proto.SerializeToString()
    return graph


def measure(calls: dict[tuple[str, str], Call], tokens: Tensor, repeats: int) -> dict[Any, float]:
    """Median seconds of each call, all taking turns."""
    taken: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
    order = list(calls)
    for _ in range(repeats):
        for key in order:
            # A small filter takes microseconds: several calls a turn, as blocks follow each other.
            calls[key](tokens)
            began_s = time.perf_counter()
            for _ in range(5):
                calls[key](tokens)
            taken[key].append((time.perf_counter() - began_s) / 5)
        order.reverse()
    return {key: statistics.median(times) for key, times in taken.items()}


def table(calls: dict[tuple[str, str], Call], tokens: Tensor, repeats: int) -> str:
    """A line for each form and runtime."""
    with torch.inference_mode():
        reference = calls[REFERENCE](tokens)
        scale = float(reference.abs().max())
        apart = {
            key: float((call(tokens) - reference).abs().max()) / scale
            for key, call in calls.items()
        }
        medians = measure(calls, tokens, repeats)
    batch = len(tokens)
    lines = [f"{'batch':>5}  {'runtime':10}{'form':12}{'ms':>8}{'fft /':>8}{'difference':>12}"]
    for (form, engine), seconds in medians.items():
        ratio = medians[REFERENCE] / seconds
        lines.append(
            f"{batch:5}  {engine:10}{form:12}{seconds / batch * 1e3:8.3f}{ratio:8.2f}"
            f"{apart[form, engine]:12.0e}"
        )
    return "\n".join(lines)


def main() -> None:
    """Print a table for each batch size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--grid", type=int, nargs=2, default=(14, 14))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    source = GlobalFilter(options.dim, tuple(options.grid)).eval().requires_grad_(False)
    print(f"{options.grid[0]} x {options.grid[1]} tokens, {options.dim} channels, one thread")
    for batch in options.batches:
        tokens = torch.randn(batch, options.grid[0] * options.grid[1], options.dim)
        calls = {}
        for engine, put in ENGINES.items():
            if reason := availability.unavailable(engine, "float32", "cpu"):
                print(f"skipped: {reason}")
                continue
            for name, form in FORMS.items():
                if name == "fft" and engine != "torch":
                    continue  # no other runtime has a transform of complex numbers worth timing
                calls[name, engine] = put(form(source).eval(), tokens)
        print(table(calls, tokens, options.repeats), flush=True)


if __name__ == "__main__":
    main()
