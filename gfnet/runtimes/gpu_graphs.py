"""Prepares a model whose exported graphs run whole on a GPU, in a precision that the graph states.

Engines that choose precisions themselves would also lower norms and gates, and TensorRT 11 has only
networks whose types are those of the graph. So, as `mixed` does for OpenVINO, the products with
large weights and what lies between two of them are half precision here, and all else float32.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from gfnet.model import GFNet, GFNetDistil
from gfnet.runtimes.exported import to_onnx
from gfnet.runtimes.stages import Stage, with_matrix_filters

GPU_OPSET = 18
"""The newest in which ONNX Runtime has a CUDA kernel for each operation of these graphs: it takes a
kernel registered for opset 18 only for an operation that did not change since, and `Pad` changed in
19, `ReduceMax` in 20."""


class HalfLayer(nn.Module):
    """A layer in half precision between float32 tensors.

    Args:
        layer: its weights are converted.
        dtype: torch.float16 or torch.bfloat16.
    """

    def __init__(self, layer: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.layer = layer.to(dtype)
        self.dtype = dtype

    def forward(self, entering: Tensor) -> Tensor:
        """Run the layer on a float32 tensor."""
        leaving: Tensor = self.layer(entering.to(self.dtype))
        return leaving.float()


def for_gpu_graphs(model: GFNet, precision: str) -> GFNet:
    """Return a copy on the CPU whose stages `gpu_graph` exports."""
    changed = with_matrix_filters(model).cpu()
    if precision != "float32":
        _halve(changed, getattr(torch, precision))
    if isinstance(changed, GFNetDistil):
        _pad_tokens(changed)
    return changed


def gpu_graph(stage: Stage) -> bytes:
    """Return the graph of a stage of `for_gpu_graphs`, as `exported.to_onnx` does."""
    return to_onnx(stage, GPU_OPSET)


def _halve(model: GFNet, dtype: torch.dtype) -> None:
    """Put the products with large weights in half precision: MLPs, patch embedding and merging."""
    for block in model.numbered_blocks():
        block.mlp = HalfLayer(block.mlp, dtype)
    for name, projection in list(model.named_modules()):
        if isinstance(projection, nn.Conv2d):
            path, _, last = name.rpartition(".")
            setattr(model.get_submodule(path), last, HalfLayer(projection, dtype))


def _pad_tokens(model: GFNetDistil) -> None:
    """Let class and distillation token enter with the positions, on padding before the patches.

    Expanding them to the batch needs its size, which ONNX Runtime computes on the CPU in the middle
    of the graph. The sums are the same, bit for bit.
    """
    prefix = torch.cat([model.cls_token, model.dist_token], dim=1).detach()
    count = prefix.shape[1]
    positions = model.pos_embed.detach().clone()
    positions[:, :count] += prefix
    model.register_buffer("prefixed_positions", positions, persistent=False)

    def embed(images: Tensor) -> Tensor:
        patches = functional.pad(model.patch_embed(images), (0, 0, count, 0))
        embedded: Tensor = patches + model.get_buffer("prefixed_positions")
        return embedded

    vars(model)["embed"] = embed
