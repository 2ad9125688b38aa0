"""Graphs for GPUs: their operations, their precisions, and their answers on the CPU's provider."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from support import engines

import gfnet
from gfnet.runtimes.exported import ENTERING, OPSET, to_onnx
from gfnet.runtimes.gpu_graphs import GPU_OPSET, for_gpu_graphs
from gfnet.runtimes.stages import Stage, cut, with_matrix_filters

# The newest version of each operation for which ONNX Runtime has a CUDA kernel that also serves
# older versions of ONNX Runtime, from its docs/OperatorKernels.md.
CUDA_KERNELS = {
    "Add": 14,
    "Cast": 13,
    "Concat": 13,
    "Conv": 11,
    "Div": 14,
    "Erf": 13,
    "Exp": 13,
    "Gather": 13,
    "Gemm": 13,
    "LayerNormalization": 17,
    "LogSoftmax": 13,
    "MatMul": 13,
    "Mul": 14,
    "Pad": 18,
    "ReduceMax": 18,
    "ReduceMean": 18,
    "ReduceSum": 13,
    "Reshape": 14,
    "Sigmoid": 13,
    "Slice": 13,
    "TopK": 11,
    "Transpose": 13,
    "Unsqueeze": 13,
}
FLOAT_ONLY = ("LayerNormalization", "LogSoftmax", "Sigmoid", "TopK", "ReduceSum", "Exp", "Gemm")
HALF = {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}


def first_stage(model: gfnet.GFNet, precision: str) -> Stage:
    """Of the model, prepared for a GPU: patch embedding, one block, an exit."""
    return cut(for_gpu_graphs(model, precision))[0]


@pytest.fixture(scope="module")
def model() -> gfnet.GFNet:
    """With class and distillation tokens, and a gate after each block."""
    return engines.with_exits(2)


def graph_of(stage: Stage) -> onnx.ModelProto:
    """As an engine gets it."""
    return onnx.load_model_from_string(to_onnx(stage, GPU_OPSET))


@pytest.mark.parametrize("rule", ["gate", "max_prob"])
def test_each_operation_has_a_cuda_kernel_and_none_computes_shapes(
    model: gfnet.GFNet, rule: str
) -> None:
    """Else ONNX Runtime leaves it on the CPU, and the session is refused."""
    graph = graph_of(first_stage(gfnet.with_rule(model, rule), "float32"))
    assert [entry.version for entry in graph.opset_import] == [GPU_OPSET]
    kinds = {node.op_type for node in graph.graph.node}
    versions = {kind: onnx.defs.get_schema(kind, GPU_OPSET).since_version for kind in kinds}
    assert versions == {kind: CUDA_KERNELS[kind] for kind in kinds}
    newer = {kind: onnx.defs.get_schema(kind, OPSET).since_version for kind in kinds}
    assert newer["Pad"] > CUDA_KERNELS["Pad"], "else opset 20 would do"


def test_tokens_enter_as_in_the_model_bit_for_bit(model: gfnet.GFNet) -> None:
    """On padding, without the batch size."""
    images = engines.images_of(3, seed=1)
    prepared = for_gpu_graphs(model, "float32")
    assert torch.equal(prepared.embed(images), with_matrix_filters(model).embed(images))


@pytest.mark.parametrize("precision", HALF)
def test_norms_gates_and_logits_stay_float32(model: gfnet.GFNet, precision: str) -> None:
    """The convolution, both products of the MLP and what is between them are half precision."""
    stage = first_stage(model, precision)
    graph = onnx.shape_inference.infer_shapes(graph_of(stage)).graph
    values = (*graph.value_info, *graph.input, *graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    types |= {constant.name: constant.data_type for constant in graph.initializer}
    halved = [node.op_type for node in graph.node if types[node.output[0]] == HALF[precision]]
    assert halved.count("Conv") == 1
    assert halved.count("MatMul") == 2
    assert halved.count("Erf") == 1
    assert not set(FLOAT_ONLY) & set(halved)
    assert {types[value.name] for value in graph.output} == {TensorProto.FLOAT}


def answers(stage: Stage, entering: torch.Tensor) -> list[np.ndarray]:
    """Of ONNX Runtime's CPU provider; it has no bfloat16, so there of ONNX's own evaluator."""
    graph = graph_of(stage)
    if any(each.data_type == TensorProto.BFLOAT16 for each in graph.graph.initializer):
        return list(ReferenceEvaluator(graph).run(None, {ENTERING: entering.numpy()}))
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {ENTERING: entering.numpy()})


@pytest.mark.parametrize(
    ("precision", "least", "most"),
    [("float32", 0, 1e-5), ("float16", 1e-6, 5e-3), ("bfloat16", 1e-4, 0.05)],
)
def test_answers_are_the_models_within_the_precision(
    model: gfnet.GFNet, precision: str, least: float, most: float
) -> None:
    """Of the graph as an engine gets it; that it is rounded at all shows in `least`."""
    images = engines.images_of(5, seed=2)
    found = answers(first_stage(model, precision), images)
    with torch.inference_mode():
        expected = cut(with_matrix_filters(model))[0](images)
    differences = [
        float(np.abs(each - reference.numpy()).max())
        for each, reference in zip(found, expected, strict=True)
    ]
    assert least <= max(differences) <= most
    assert [each.dtype for each in found] == [np.float32] * 3


def test_merging_of_a_hierarchical_model_is_half_too() -> None:
    """Each of its projections; the model itself is not changed."""
    model = engines.of_family("gfnet-h", img_size=32, embed_dims=(4, 8, 6, 8), depths=(1, 1, 2, 1))
    before = {name: tensor.dtype for name, tensor in model.named_parameters()}
    prepared = for_gpu_graphs(model, "float16")
    halved = {
        name.replace(".layer", "")
        for name, tensor in prepared.named_parameters()
        if tensor.dtype == torch.float16
    }
    projections = {name for name in before if ".proj." in name or ".mlp." in name}
    assert halved == projections
    assert {name: tensor.dtype for name, tensor in model.named_parameters()} == before
