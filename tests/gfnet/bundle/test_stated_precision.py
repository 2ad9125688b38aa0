"""The precision that graphs compute in, and what a manifest may say of it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support import bundles

import gfnet
from gfnet.bundle.stated_precision import lower_precisions, precision_problem

HALF = numpy_helper.from_array(np.ones(2, np.float16), "half")


def _graph(*nodes: onnx.NodeProto) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), "g", [], [])


@pytest.mark.parametrize(
    ("graph", "found"),
    [
        (bundles.first_stage().graph, set()),
        (helper.make_graph([], "g", [], [], [HALF]), {"float16"}),
        (_graph(helper.make_node("Constant", [], ["c"], value=HALF)), {"float16"}),
        (_graph(helper.make_node("Cast", ["a"], ["b"], to=TensorProto.BFLOAT16)), {"bfloat16"}),
        (_graph(helper.make_node("Cast", ["a"], ["b"], to=TensorProto.INT64)), set()),
        (_graph(helper.make_node("QuantizeLinear", ["a", "s"], ["b"])), {"int8"}),
    ],
)
def test_what_a_graph_computes_in(graph: onnx.GraphProto, found: set[str]) -> None:
    """By its weights, its constants and what it converts to; also within a branch."""
    assert lower_precisions(graph) == found
    branch = helper.make_node("If", ["c"], ["d"], then_branch=graph, else_branch=_graph())
    assert lower_precisions(_graph(branch)) == found


def test_a_bundle_computes_in_what_it_states() -> None:
    """Half precision may stand beside int8; float32 stands alone."""
    none: frozenset[str] = frozenset()
    assert precision_problem(none, "float32") is None
    assert precision_problem(frozenset({"float16"}), "float16") is None
    assert precision_problem(frozenset({"float16", "int8"}), "int8") is None
    assert precision_problem(none, "int8") == (
        "precision is int8, but its graphs compute in float32 alone"
    )
    assert precision_problem(frozenset({"float16", "int8"}), "float32") == (
        "precision is float32, but its graphs compute in float16, int8"
    )


def test_a_mislabelled_bundle_is_refused() -> None:
    """Its float32 figures would be called bfloat16."""
    contents = bundles.files(precision="bfloat16")
    with pytest.raises(gfnet.BundleError, match="precision is bfloat16, but its graphs compute"):
        gfnet.load_bundle(bundles.zipped(contents))
