"""A graph in ONNX Runtime, with inputs and outputs bound to torch's memory, on a CPU or a GPU.

No fallback: ONNX Runtime builds a session on the CPU, with a warning, if a provider's libraries
cannot be loaded, and leaves operations there that a provider lacks. Here both are errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gfnet.runtimes.availability import WrongEngineError, installed_onnxruntime
from gfnet.runtimes.onnxruntime_module import load_onnxruntime

CPU_PROVIDER = "CPUExecutionProvider"
_ERRORS_ONLY = 3  # severity of its log


class Port(NamedTuple):
    """An input or output of a graph.

    Attributes:
        name: in the graph.
        shape: sizes; None where it is the number of images.
        dtype: of its elements.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class Provider:
    """Where a session runs.

    Attributes:
        name: as ONNX Runtime calls it.
        device: where inputs and outputs are.
        threads: of the CPU; for a GPU's provider without effect.
        options: as its documentation names them.
        stream: torch's stream that a GPU's provider was told to compute on.
        most_images: larger batches run in parts; 0: no limit.
        left_out: names of ONNX Runtime's optimisations that are not applied; of the CPU's only.
        plans_memory: whether a graph gets one block of memory for all that it computes; of the
            CPU's only.
    """

    name: str = CPU_PROVIDER
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    threads: int = 0
    options: Mapping[str, str] = field(default_factory=dict)
    stream: Any = None
    most_images: int = 0
    left_out: tuple[str, ...] = ()
    plans_memory: bool = True

    @property
    def is_cpu(self) -> bool:
        """Whether this is the CPU's own provider."""
        return self.name == CPU_PROVIDER


class BoundSession:
    """A graph that reads and writes torch's memory, without copies.

    Calls must come from one thread. Which tensors are bound is remembered by address, since binding
    takes time and a graph often reads the memory that the one before it always writes.

    Args:
        graph: serialised ONNX. Names, shapes and types are read from it. A size without a number is
            that of the images, the first of each input.
        provider: where it runs.

    Raises:
        WrongEngineError: ONNX Runtime built something else than was asked for.
    """

    def __init__(self, graph: bytes, provider: Provider) -> None:
        self._provider = provider
        self._session = _checked_session(graph, provider)
        self.inputs = _ports(self._session.get_inputs())
        self.outputs = _ports(self._session.get_outputs())
        self._binding = self._session.io_binding()
        self._bound: list[tuple[int, int]] = [(0, 0)] * len(self.inputs)  # address and images
        self._images = -1  # which the outputs have memory for
        self._written: list[Tensor] = []
        self._run = self._runner()

    def __call__(self, *entering: Tensor) -> list[Tensor]:
        """Run the graph on its first inputs, at least one; the others are as bound last.

        Returns: all outputs, which the next call overwrites.
        Raises: RuntimeError: ONNX Runtime failed.
        """
        most = self._provider.most_images
        if most and len(entering[0]) > most:
            return self._in_parts(entering, most)
        read = [tensor.contiguous() for tensor in entering]  # kept until the graph has run
        for place, tensor in enumerate(read):
            self.bind(place, tensor)
        if len(read[0]) != self._images:
            self._bind_outputs(len(read[0]), read[0].device)
        self._run()
        return self._written

    def bind(self, place: int, tensor: Tensor) -> None:
        """Let an input be read from a contiguous tensor, which the caller keeps, in all calls."""
        at = tensor.data_ptr(), len(tensor)
        if at == self._bound[place]:
            return
        port = self.inputs[place]
        if tensor.dtype != port.dtype or not is_on(tensor, self._provider.device):
            raise ValueError(
                f"{port.name} is {tensor.dtype} on {tensor.device}; this engine takes {port.dtype}"
                f" on {self._provider.device}"
            )
        self._bind(self._binding.bind_input, port, tensor)
        self._bound[place] = at

    def _in_parts(self, entering: Sequence[Tensor], most: int) -> list[Tensor]:
        parts = zip(*(torch.split(tensor, most) for tensor in entering), strict=True)
        found = [[each.clone() for each in self(*part)] for part in parts]
        return [torch.cat(each) for each in zip(*found, strict=True)]

    def _bind_outputs(self, images: int, device: torch.device) -> None:
        self._written = [
            torch.empty(
                [images if size is None else size for size in port.shape],
                dtype=port.dtype,
                device=device,
            )
            for port in self.outputs
        ]
        for port, tensor in zip(self.outputs, self._written, strict=True):
            self._bind(self._binding.bind_output, port, tensor)
        self._images = images

    def _bind(self, bind: Any, port: Port, tensor: Tensor) -> None:
        device = self._provider.device
        shape = tuple(tensor.shape)
        address = tensor.data_ptr()
        dtype = _NUMPY_DTYPES[port.dtype]
        bind(port.name, device.type, device.index or 0, dtype, shape, address)

    def _runner(self) -> Any:
        """Return a call without arguments that runs the bound graph."""
        run, binding = self._session.run_with_iobinding, self._binding
        stream = self._provider.stream
        if stream is None:
            return lambda: run(binding)
        ort = load_onnxruntime()

        options = ort.RunOptions()
        # Else the host would wait for the device after every graph.
        options.add_run_config_entry("disable_synchronize_execution_providers", "1")

        def run_on_stream() -> None:
            current = torch.cuda.current_stream(self._provider.device)
            stream.wait_stream(current)
            try:
                run(binding, options)
            except Exception as err:
                # ONNX Runtime's errors are no RuntimeError, which running out of memory is.
                raise RuntimeError(f"{self._provider.name}: {err}") from err
            current.wait_stream(stream)

        return run_on_stream


def is_on(tensor: Tensor, device: torch.device) -> bool:
    """Return whether a tensor is on a kind of device; a wrong address would end the process."""
    return tensor.device.type == device.type


@cache
def stream_of(index: int) -> Any:
    """Return the stream of a GPU that ONNX Runtime computes on, the same for all sessions.

    It is not torch's current one: that is usually the default stream, whose handle 0 means to ONNX
    Runtime that none was given. Each call makes one stream wait for the other, so that events on
    torch's stream before and after a call enclose its work.
    """
    cuda: Any = torch.cuda  # its streams have no types
    return cuda.Stream(index)


def _checked_session(graph: bytes, provider: Provider) -> Any:
    ort = load_onnxruntime()

    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    if provider.is_cpu:
        options.intra_op_num_threads = provider.threads
        options.enable_mem_pattern = provider.plans_memory
        left_out = list(provider.left_out) or None
        return ort.InferenceSession(
            graph, options, providers=[CPU_PROVIDER], disabled_optimizers=left_out
        )
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    asked = [(provider.name, dict(provider.options))]  # naming the CPU's would allow it
    try:
        session = ort.InferenceSession(graph, options, providers=asked, enable_fallback=0)
    except Exception as err:
        raise WrongEngineError(
            f"{provider.name} was asked for, and {installed_onnxruntime()} did not build it: {err}."
            " If its libraries cannot be loaded, its log above names the one that is missing"
        ) from err
    session.disable_fallback()  # to other providers if a run fails
    _check_providers(session, provider.name)
    return session


def _check_providers(session: Any, asked: str) -> None:
    """Compare what was built with what was asked for; old versions do not say where nodes are."""
    found = session.get_providers()
    if found[:1] != [asked]:
        raise WrongEngineError(
            f"{asked} was asked for, and {installed_onnxruntime()} built {', '.join(found)}"
        )
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return
    elsewhere = {
        f"{node.op_type} on {part.ep_name}"
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name != asked
        for node in part.get_nodes()
    }
    if elsewhere:
        raise WrongEngineError(
            f"{asked} was asked for, and {installed_onnxruntime()} runs parts of the graph"
            f" elsewhere: {', '.join(sorted(elsewhere))}"
        )


def _ports(described: Sequence[Any]) -> tuple[Port, ...]:
    return tuple(
        Port(
            each.name,
            tuple(size if isinstance(size, int) else None for size in each.shape),
            _TORCH_DTYPES[each.type],
        )
        for each in described
    )


_TORCH_DTYPES = {
    "tensor(float)": torch.float32,
    "tensor(float16)": torch.float16,
    "tensor(int64)": torch.int64,
    "tensor(int32)": torch.int32,
    "tensor(int8)": torch.int8,
    "tensor(uint8)": torch.uint8,
    "tensor(bool)": torch.bool,
}
_NUMPY_DTYPES: Mapping[torch.dtype, Any] = {
    torch.float32: np.float32,
    torch.float16: np.float16,
    torch.int64: np.int64,
    torch.int32: np.int32,
    torch.int8: np.int8,
    torch.uint8: np.uint8,
    torch.bool: np.bool_,
}
