"""ONNX Runtime: one session a stage, results bound to torch's memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gfnet.model import GFNet
from gfnet.runtimes.exported import ENTERING, to_onnx
from gfnet.runtimes.staged import StagedRuntime
from gfnet.runtimes.stages import Stage


def onnx(model: GFNet, threads: int) -> StagedRuntime:
    """Put a model on ONNX Runtime's processor provider."""
    return StagedRuntime(model, lambda stage: _Session(stage, threads))


class _Session:
    """One stage in ONNX Runtime."""

    def __init__(self, stage: Stage, threads: int) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors alone
        self._session: Any = ort.InferenceSession(
            to_onnx(stage), options, providers=["CPUExecutionProvider"]
        )
        config = stage.model.config
        tokens = [(config.tokens, config.embed_dim)] if stage.has_gate else []
        self._tokens = len(tokens)  # how many of its outputs are tokens
        self._shapes = [*tokens, (config.num_classes,), *([()] if stage.has_gate else [])]
        self._names = [output.name for output in self._session.get_outputs()]
        self._binding = self._session.io_binding()
        self._outputs: list[Tensor] = []
        self._bound = 0, 0  # address and images

    def __call__(self, entering: Tensor) -> Sequence[Tensor]:
        """Run the stage; tokens that it gives hold until it is called again."""
        entering = entering.contiguous()
        place = entering.data_ptr(), len(entering)
        # At batch 1 a stage reads where the one before it always writes: binding costs more than
        # an exit does.
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


def _bind(bind: Any, name: str, tensor: Tensor) -> None:
    import numpy as np

    bind(name, "cpu", 0, np.float32, tuple(tensor.shape), tensor.data_ptr())
