"""A double of ONNX Runtime for GPUs, of its streams and of TensorRT's cache: what it is given is
checked, and the real CPU provider computes underneath, so that answers are compared with torch's.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as real
import pytest
import torch

from gfnet.runtimes import session

HANDLE = 4711


class Stream:
    """A stream of torch: whose events it waited for."""

    def __init__(self, handle: int, log: list[tuple[int, int]]) -> None:
        self.cuda_stream = handle
        self.log = log

    def wait_stream(self, other: Stream) -> None:
        """Write it down."""
        self.log.append((self.cuda_stream, other.cuda_stream))


class Options:
    """Options of a session or a run: what was set."""

    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    def add_session_config_entry(self, key: str, value: str) -> None:
        """Keep it."""
        self.entries[key] = value

    add_run_config_entry = add_session_config_entry


class Binding:
    """Bound memory: addresses on the device, which is this machine's memory here."""

    def __init__(self, binding: Any) -> None:
        self.real = binding
        self.places: list[tuple[str, str, int, Any, tuple[int, ...], int]] = []

    def bind_input(self, *place: Any) -> None:
        """Bind it for the real session too."""
        self._bind(self.real.bind_input, place)

    def bind_output(self, *place: Any) -> None:
        """Bind it for the real session too."""
        self._bind(self.real.bind_output, place)

    def _bind(self, bind: Callable[..., None], place: tuple[Any, ...]) -> None:
        name, kind, number, dtype, shape, address = place
        assert (kind, number) == ("cuda", 0)
        assert dtype in {np.float32, np.int64}
        self.places.append(place)
        bind(name, "cpu", 0, dtype, shape, address)


class Session:
    """A session of a provider for GPUs."""

    def __init__(self, ort: Runtime, graph: bytes, options: Options, provider: str) -> None:
        self._ort, self._provider = ort, provider
        plain = real.SessionOptions()
        plain.intra_op_num_threads = 1
        self.real = real.InferenceSession(graph, plain, providers=["CPUExecutionProvider"])
        self.get_inputs, self.get_outputs = self.real.get_inputs, self.real.get_outputs
        self.bindings: list[Binding] = []
        self.falls_back = True
        self.batches: list[int] = []
        if "session.record_ep_graph_assignment_info" not in options.entries:
            pytest.fail("nobody can see where the nodes are")

    def disable_fallback(self) -> None:
        """As the real one."""
        self.falls_back = False

    def get_providers(self) -> list[str]:
        """As the real one, which adds the CPU's."""
        cpu = ["CPUExecutionProvider"]
        return cpu if self._ort.fault == "on the CPU" else [self._provider, *cpu]

    def get_provider_graph_assignment_info(self) -> list[SimpleNamespace]:
        """The graph is in one part, or one node is elsewhere."""

        def part(name: str, kind: str) -> SimpleNamespace:
            return SimpleNamespace(ep_name=name, get_nodes=lambda: [SimpleNamespace(op_type=kind)])

        parts = [part(self._provider, "MatMul")]
        is_split = self._ort.fault == "a node on the CPU"
        return [*parts, part("CPUExecutionProvider", "Shape")] if is_split else parts

    def io_binding(self) -> Binding:
        """As the real one."""
        self.bindings.append(Binding(self.real.io_binding()))
        return self.bindings[-1]

    def run_with_iobinding(self, binding: Binding, options: Options) -> None:
        """Compute, if the stream has waited for torch's and the host will not wait."""
        assert not self.falls_back
        assert options.entries == {"disable_synchronize_execution_providers": "1"}
        assert self._ort.waits[-1] == (HANDLE, 0), "torch's stream comes first"
        if self._ort.fault == "no memory":
            raise Exception("Failed to allocate memory for requested buffer")  # noqa: TRY002 - as ONNX Runtime's
        last = {place[0]: place for place in binding.places}
        self.batches.append(last[self.get_inputs()[0].name][4][0])
        self.real.run_with_iobinding(binding.real)


class Runtime:
    """The module `onnxruntime`, as its wheel for GPUs has it.

    Attributes:
        fault: what goes wrong.
        sessions: all that were made.
        given: options of each session's provider.
        waits: pairs of streams, the first waits for the second.
        built: number of engines that TensorRT built.
    """

    __version__ = "1.31.0"
    __spec__ = real.__spec__  # torch's exporter asks whether it is installed
    SessionOptions = RunOptions = Options

    def __init__(self, folder: Path) -> None:
        self.__file__ = str(folder / "__init__.py")
        self.fault = ""
        self.sessions: list[Session] = []
        self.given: list[Mapping[str, str]] = []
        self.waits: list[tuple[int, int]] = []
        self.built = 0

    def get_available_providers(self) -> list[str]:
        """As its wheel on PyPI."""
        return ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]

    def InferenceSession(  # noqa: N802 - its name
        self,
        graph: bytes,
        options: Options,
        providers: Sequence[tuple[str, Mapping[str, str]]],
        enable_fallback: int,
    ) -> Session:
        """Build a session, as asked or not."""
        assert enable_fallback == 0
        assert options.entries["session.disable_cpu_ep_fallback"] == "1"
        ((name, given),) = providers  # the CPU's provider must not be named
        assert all(isinstance(value, str) for value in given.values())
        assert (given["device_id"], given["user_compute_stream"]) == ("0", str(HANDLE))
        self.given.append(given)
        if self.fault == "refused":
            raise Exception("libnvinfer.so.10: cannot open shared object file")  # noqa: TRY002 - as ONNX Runtime's
        if path := given.get("trt_engine_cache_path"):
            graph = self._engine(graph, Path(path))
        self.sessions.append(Session(self, graph, options, name))
        return self.sessions[-1]

    def _engine(self, graph: bytes, folder: Path) -> bytes:
        """Load whatever engine is there: TensorRT's provider compares no weights."""
        (file, *more) = [*folder.glob("*.engine")] or [
            folder / "TensorrtExecutionProvider_1.engine"
        ]
        assert not more
        if file.exists():
            total, kept = file.read_bytes()[:32], file.read_bytes()[32:]
            if hashlib.sha256(kept).digest() != total:
                raise Exception("could not deserialize engine")  # noqa: TRY002 - as ONNX Runtime's
            return kept
        self.built += 1
        file.write_bytes(hashlib.sha256(graph).digest() + graph)
        return graph


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Runtime:
    """A machine with an NVIDIA GPU and ONNX Runtime's wheel for it."""
    double = Runtime(tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime", double)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA Test")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 7))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: Stream(0, double.waits))
    stream = Stream(HANDLE, double.waits)
    for module in ("onnx", "tensorrt"):
        monkeypatch.setattr(f"gfnet.runtimes.{module}.stream_of", lambda _: stream)
    monkeypatch.setattr(session, "is_on", lambda *_: True)
    return double
