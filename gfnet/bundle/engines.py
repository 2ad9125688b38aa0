"""Puts the graphs of a bundle on an engine, with inputs and outputs in the manifest's order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from gfnet.bundle.manifest import StageEntry
from gfnet.bundle.stages import GraphCall
from gfnet.runtimes.session import BoundSession, Provider

GraphEngine = Callable[[bytes, StageEntry], GraphCall]
"""Puts a stage's graph on an engine."""


def graph_engine(
    name: str, device: str, precision: str, threads: int, graph_precision: str
) -> GraphEngine:
    """Return what puts a graph on an engine.

    Args:
        name: of BUNDLE_RUNTIMES.
        device: its kind as torch names it.
        precision: that of the graphs, or one that the engine lowers them to.
        threads: of the CPU.
        graph_precision: of the graphs; they are run as they are if it is `precision`.

    Raises:
        UnavailableError: the engine or the precision is unavailable here.
    """
    if name == "openvino":
        from gfnet.runtimes.openvino import request_maker

        # What is half precision within a graph is so already: nothing more is lowered.
        lowered = precision if precision != graph_precision else "float32"
        make = request_maker(lowered, threads)
        return lambda graph, entry: NamedRequest(make(graph), entry)
    if name == "tensorrt":
        from gfnet.runtimes.tensorrt import session_maker

        build = session_maker()
        return lambda graph, entry: NamedSession(build(graph, _shapes(entry)), entry)
    if device == "cpu":
        provider = Provider(threads=threads)
    else:
        from gfnet.runtimes.onnx import cuda_provider

        provider = cuda_provider()
    return lambda graph, entry: NamedSession(BoundSession(graph, provider), entry)


class NamedSession:
    """A graph in ONNX Runtime, whatever the order of inputs and outputs in it.

    Args:
        session: of the graph.
        entry: of the stage in the manifest.
    """

    def __init__(self, session: BoundSession, entry: StageEntry) -> None:
        self._session = session
        taken = {tensor.name: place for place, tensor in enumerate(entry.inputs)}
        given = {port.name: place for place, port in enumerate(session.outputs)}
        self._inputs = [taken[port.name] for port in session.inputs]
        self._outputs = [given[tensor.name] for tensor in entry.outputs]

    def __call__(self, *entering: Tensor) -> Sequence[Tensor]:
        """Run the graph; the next call overwrites what it returns."""
        written = self._session(*(entering[place] for place in self._inputs))
        return [written[place] for place in self._outputs]


class NamedRequest:
    """A graph in OpenVINO.

    Args:
        request: an infer request of the graph.
        entry: of the stage in the manifest.
    """

    def __init__(self, request: object, entry: StageEntry) -> None:
        from gfnet.runtimes.openvino import infer_named

        self._infer = infer_named
        self._request = request
        self._inputs = [tensor.name for tensor in entry.inputs]
        self._outputs = [tensor.name for tensor in entry.outputs]

    def __call__(self, *entering: Tensor) -> Sequence[Tensor]:
        """Run the graph; the next call overwrites what it returns."""
        named = dict(zip(self._inputs, entering, strict=True))
        return self._infer(self._request, named, self._outputs)


def _shapes(entry: StageEntry) -> dict[str, tuple[int, ...]]:
    """Return the shape of one image's part of each input, by its name."""
    return {
        tensor.name: tuple(size for size in tensor.shape if isinstance(size, int))
        for tensor in entry.inputs
    }
