"""A bundle is run on a few images before it is used; what it gives is held to the manifest."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from support import bundles
from support.bundles import WEIGHTS, graph, value

import gfnet
from gfnet.bundle.exit_scores import exit_scores, exits_taken
from gfnet.bundle.sessions import BundleSessions, StageArrays
from gfnet.bundle.trial import try_bundle


def trial(graphs: dict[str, onnx.ModelProto]) -> BundleSessions:
    """Run a bundle with other graphs."""
    return try_bundle(gfnet.load_bundle(bundles.zipped(bundles.files(graphs))))


def _scored(operator: str) -> onnx.ModelProto:
    """A first stage whose score is another function of the largest logit."""
    model = bundles.first_stage()
    model.graph.node[-1].op_type = operator
    return model


def _last(*nodes: onnx.NodeProto, name: str = "taken") -> onnx.ModelProto:
    inputs = [value("taken", "n", 4), value("number", "n", 1, kind=TensorProto.INT64)]
    end = helper.make_node("MatMul", [name, "last"], ["logits"])
    return graph([*nodes, end], inputs, [value("logits", "n", 3)], last=WEIGHTS["last"])


def test_several_tensors_pass_between_stages() -> None:
    """The answers are those of the same arithmetic in numpy."""
    sessions = trial({})
    images = np.random.default_rng(1).standard_normal((6, 3, 2, 2)).astype(np.float32)
    first, last = sessions.exits(images)
    logits, last_logits, scores = bundles.expected(images)
    np.testing.assert_allclose(first.logits, logits, atol=1e-5)
    np.testing.assert_allclose(last.logits, last_logits, atol=1e-5)
    np.testing.assert_allclose(first.scores, scores, atol=1e-6)
    assert last.scores is None


@pytest.mark.parametrize("operator", ["Identity", "Exp", "Log"])
def test_a_score_out_of_range_is_refused(operator: str) -> None:
    """A bare logit, what has no upper end, and NaN."""
    with pytest.raises(gfnet.BundleError, match=r"stage_0.onnx: its scores reach .* 0 to 1, such"):
        trial({"stage_0.onnx": _scored(operator)})


def test_a_logit_that_is_not_finite_is_refused() -> None:
    """The logarithm of features that Relu has set to 0."""
    last = _last(helper.make_node("Log", ["taken"], ["logs"]), name="logs")
    with pytest.raises(gfnet.BundleError, match=r"stage_1.onnx: a logit is not finite"):
        trial({"stage_1.onnx": last})


def test_images_that_change_each_other_are_refused() -> None:
    """A mean over the batch, as of a norm in training mode."""
    mean = helper.make_node("ReduceMean", ["taken"], ["mean"], axes=[0], keepdims=1)
    less = helper.make_node("Sub", ["taken", "mean"], ["less"])
    with pytest.raises(gfnet.BundleError, match="change with the other images of its batch"):
        trial({"stage_1.onnx": _last(mean, less, name="less")})


def test_what_the_engine_cannot_run_is_refused() -> None:
    """A reshape to one image only."""
    reshaped = helper.make_node("Reshape", ["taken", "shape"], ["one"])
    last = _last(reshaped, name="one")
    last.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 4]), "shape"))
    with pytest.raises(gfnet.BundleError, match=r"stage_1.onnx: ONNX Runtime cannot run it"):
        trial({"stage_1.onnx": last})


def _arrays(*logits: list[list[float]]) -> list[StageArrays]:
    return [StageArrays(np.array(each, np.float32), None) for each in logits]


@pytest.mark.parametrize(
    ("rule", "scores"),
    [
        ("max_prob", [[0.8, 0.5], [0.6, 0.9]]),
        ("margin", [[0.6, 0.0], [0.2, 0.8]]),
        ("patience", [[1, 1], [2, 1]]),
    ],
)
def test_rules_read_the_logits(rule: str, scores: list[list[float]]) -> None:
    """Worked by hand: probabilities 0.8 and 0.2, then both 0.5; then 0.6 and 0.4, 0.1 and 0.9."""
    log = math.log
    first = [[log(0.8), log(0.2)], [0.0, 0.0]]
    second = [[log(0.6), log(0.4)], [log(0.1), log(0.9)]]
    found = exit_scores(_arrays(first, second, [[0, 0], [0, 0]]), rule)
    np.testing.assert_allclose(found, scores, atol=1e-6)


def test_an_image_takes_the_first_exit_whose_score_is_enough() -> None:
    """At its threshold too; NaN is not enough."""
    scores = np.array([[0.5, 0.4, np.nan], [0.9, 0.7, 0.1]], np.float32)
    assert exits_taken(scores, [0.5, 0.7]).tolist() == [0, 1, 2]
    assert exits_taken(np.empty((0, 2), np.float32), []).tolist() == [0, 0]
