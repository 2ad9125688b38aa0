"""Routes one image in one ONNX graph: the rest of the model is in a branch of an `If`.

Stage by stage, an exit costs more for the change of graphs than for arithmetic. Here an engine is
called once, and stops at the gate that lets the image exit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gfnet.runtimes.exported import ENTERING, GraphMaker, single_image, to_onnx
from gfnet.runtimes.stages import Stage

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

IMAGE = f"0/{ENTERING}"
"""Name of the input for the image."""

_LEFT = ("logits_left", "exit_block_left", "gate_score_left")
OUTPUTS = tuple(f"0/{name}" for name in _LEFT)
"""Names of the outputs: (1, K), (1,) int64, (1,) float32; NaN after the last block."""


def limit_name(gate: int) -> str:
    """Return the name of the input for a gate's threshold, float32 of shape (1,)."""
    return f"limit{gate}"


def routed_onnx(stages: Sequence[Stage], graph_of: GraphMaker = to_onnx) -> bytes:
    """Build the graph of all stages for one (1, 3, H, W) image and its limits."""
    import onnx

    parts = []
    for at, stage in enumerate(stages):
        part = single_image(onnx.load_model_from_string(graph_of(stage)))
        # Names must be unique over all branches: a branch sees those of the graphs around it.
        parts.append(onnx.compose.add_prefix(part, f"{at}/"))
    is_patient = stages[0].model.exit_rule == "patience"
    way = _way(parts, [stage.last for stage in stages], 0, is_patient=is_patient)
    way.input.append(parts[0].graph.input[0])
    for gate in range(len(parts) - 1):
        way.input.append(
            onnx.helper.make_tensor_value_info(limit_name(gate), onnx.TensorProto.FLOAT, [1])
        )
    model = onnx.helper.make_model(
        way, opset_imports=parts[0].opset_import, ir_version=parts[0].ir_version
    )
    graph: bytes = model.SerializeToString()
    return graph


def _way(
    parts: Sequence[ModelProto], lasts: Sequence[int], at: int, *, is_patient: bool
) -> GraphProto:
    """Build the graph from the input of stage `at` to the image's exit."""
    from onnx import TensorProto, helper

    graph = parts[at].graph
    classes = graph.output[-1 if at == len(parts) - 1 else 1].type.tensor_type.shape.dim[1]
    left = [f"{at}/{name}" for name in _LEFT]
    leaving = [f"{at}/leaving/{name}" for name in _LEFT]

    def values(names: Sequence[str]) -> list[ValueInfoProto]:
        kinds = (TensorProto.FLOAT, TensorProto.INT64, TensorProto.FLOAT)
        shapes = ([1, classes.dim_value], [1], [1])
        return list(map(helper.make_tensor_value_info, names, kinds, shapes))

    nodes = list(graph.node)
    for node in nodes if at else ():
        for place, name in enumerate(node.input):
            if name == graph.input[0].name:
                node.input[place] = f"{at - 1}/tokens"
    if at == len(parts) - 1:
        nodes += _leave(at, lasts[at], left, None)
    else:
        nodes += _streak(at) if is_patient else []
        score = f"{at}/score" if is_patient else f"{at}/gate_scores"
        leave = helper.make_graph(
            _leave(at, lasts[at], leaving, score),
            f"leave {at}",
            [],
            values(leaving),
        )
        go_on = _way(parts, lasts, at + 1, is_patient=is_patient)
        leaves = f"{at}/leaves"
        nodes += [
            # In this order, since OpenVINO's GreaterOrEqual is true for NaN (2026.4).
            helper.make_node("LessOrEqual", [limit_name(at), score], [leaves], name=leaves),
            helper.make_node(
                "If", [leaves], left, name=f"{at}/if", then_branch=leave, else_branch=go_on
            ),
        ]
    return helper.make_graph(nodes, f"way {at}", [], values(left), list(graph.initializer))


def _streak(at: int) -> list[NodeProto]:
    """Build the nodes that count, as `gfnet.routing.Streaks` does, how many exits agree."""
    from onnx import helper, numpy_helper

    here, before = f"{at}/gate_scores", f"{at - 1}/gate_scores"
    one, streak, zero = f"{at}/one", f"{at}/streak", f"{at}/zero"

    def node(kind: str, inputs: list[str], name: str) -> NodeProto:
        return helper.make_node(kind, inputs, [name], name=name)

    value = numpy_helper.from_array(np.ones(1, np.float32))
    nodes = [helper.make_node("Constant", [], [one], name=one, value=value)]
    if at:
        same, longer = f"{at}/same", f"{at}/longer"
        nodes += [
            node("Equal", [here, before], same),
            node("Add", [f"{at - 1}/streak", one], longer),
            node("Where", [same, longer, one], streak),
        ]
    else:
        nodes.append(node("Identity", [one], streak))
    # NaN where the prediction is.
    return [*nodes, node("Sub", [here, here], zero), node("Add", [streak, zero], f"{at}/score")]


def _leave(at: int, block: int, names: Sequence[str], score: str | None) -> list[NodeProto]:
    """Build the nodes of an image's outputs at an exit; the last block's has no score."""
    from onnx import helper, numpy_helper

    logits, exit_block, gate_score = names

    def constant(name: str, value: np.ndarray) -> NodeProto:
        return helper.make_node(
            "Constant", [], [name], name=name, value=numpy_helper.from_array(value)
        )

    return [
        helper.make_node("Identity", [f"{at}/logits"], [logits], name=logits),
        constant(exit_block, np.array([block], np.int64)),
        constant(gate_score, np.array([np.nan], np.float32))
        if score is None
        else helper.make_node("Identity", [score], [gate_score], name=gate_score),
    ]
