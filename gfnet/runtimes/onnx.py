"""ONNX Runtime: one session per graph, results bound to torch's memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gfnet.model import GFNet
from gfnet.routing import RoutedOutputs
from gfnet.runtimes.exported import ENTERING, single_onnx, to_onnx
from gfnet.runtimes.routed import IMAGE, OUTPUTS, limit_name, routed_onnx
from gfnet.runtimes.staged import StagedRuntime
from gfnet.runtimes.stages import Stage


def onnx(model: GFNet, threads: int) -> StagedRuntime:
    """Put a model on ONNX Runtime's CPU provider."""
    return StagedRuntime(
        model,
        lambda stage: _Session(stage, to_onnx(stage), threads),
        lambda stage: _Session(stage, single_onnx(stage), threads),
        lambda stages: _Router(stages, threads),
    )


class _Session:
    """One stage in ONNX Runtime."""

    def __init__(self, stage: Stage, graph: bytes, threads: int) -> None:
        self._session = _session(graph, threads)
        config = stage.model.config
        tokens = [stage.leaving_shape] if stage.has_gate else []
        self._tokens = len(tokens)  # number of outputs that are tokens
        self._shapes = [*tokens, (config.num_classes,), *([()] if stage.has_gate else [])]
        self._names = [output.name for output in self._session.get_outputs()]
        self._binding = self._session.io_binding()
        self._outputs: list[Tensor] = []
        self._bound = 0, 0  # address and images

    def __call__(self, entering: Tensor) -> Sequence[Tensor]:
        """Run the stage; the next call overwrites the tokens that it returns."""
        entering = entering.contiguous()
        place = entering.data_ptr(), len(entering)
        # A stage often reads the memory that the previous one always writes; binding takes time.
        if place != self._bound:
            self._bind(entering)
            self._bound = place
        self._session.run_with_iobinding(self._binding)
        tokens, answers = self._outputs[: self._tokens], self._outputs[self._tokens :]
        return [*tokens, *(answer.clone() for answer in answers)]

    def _bind(self, entering: Tensor) -> None:
        _bind(self._binding.bind_input, ENTERING, entering)
        if len(entering) != self._bound[1]:
            self._outputs = [torch.empty(len(entering), *shape) for shape in self._shapes]
            for name, output in zip(self._names, self._outputs, strict=True):
                _bind(self._binding.bind_output, name, output)


class _Router:
    """All stages in ONNX Runtime, for one image."""

    def __init__(self, stages: Sequence[Stage], threads: int) -> None:
        self._session = _session(routed_onnx(stages), threads)
        self._binding = self._session.io_binding()
        classes = stages[0].model.config.num_classes
        self._limits = torch.zeros(len(stages) - 1, 1)
        for gate, limit in enumerate(self._limits):
            _bind(self._binding.bind_input, limit_name(gate), limit)
        self._left = RoutedOutputs(
            torch.empty(1, classes), torch.empty(1, dtype=torch.int64), torch.empty(1)
        )
        for name, output in zip(OUTPUTS, self._left, strict=True):
            _bind(self._binding.bind_output, name, output)
        self._given: Sequence[float] = ()
        self._bound = 0

    def __call__(self, image: Tensor, limits: Sequence[float]) -> RoutedOutputs:
        """Route (1, 3, H, W)."""
        image = image.contiguous()
        if limits != self._given:
            self._limits[:, 0] = torch.tensor(limits)
            self._given = limits
        if image.data_ptr() != self._bound:
            _bind(self._binding.bind_input, IMAGE, image)
            self._bound = image.data_ptr()
        self._session.run_with_iobinding(self._binding)
        return RoutedOutputs(*(each.clone() for each in self._left))


def _session(graph: bytes, threads: int) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _bind(bind: Any, name: str, tensor: Tensor) -> None:
    import numpy as np

    dtype = np.int64 if tensor.dtype == torch.int64 else np.float32
    bind(name, "cpu", 0, dtype, tuple(tensor.shape), tensor.data_ptr())
