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
        leaving = [(config.tokens, config.embed_dim)] if stage.has_gate else []
        self._shapes = [*leaving, (config.num_classes,), *([()] if stage.has_gate else [])]
        self._names = [output.name for output in self._session.get_outputs()]

    def __call__(self, entering: Tensor) -> Sequence[Tensor]:
        """Run the stage; what it gives is new memory, which the next call leaves alone."""
        entering = entering.contiguous()
        binding = self._session.io_binding()
        _bind(binding.bind_input, ENTERING, entering)
        outputs = [torch.empty(len(entering), *shape) for shape in self._shapes]
        for name, output in zip(self._names, outputs, strict=True):
            _bind(binding.bind_output, name, output)
        self._session.run_with_iobinding(binding)
        return outputs


def _bind(bind: Any, name: str, tensor: Tensor) -> None:
    import numpy as np

    bind(name, "cpu", 0, np.float32, tuple(tensor.shape), tensor.data_ptr())
