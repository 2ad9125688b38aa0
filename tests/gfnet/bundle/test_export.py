"""A model as a bundle: what is in it, and that a bundle of another model is not taken for it.

An export takes seconds: all tests share one, of two stages. tests/integration/test_bundles.py has
every family.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from support import bundles, engines

import gfnet
from gfnet.bundle.comparison import compare_bundle
from gfnet.bundle.description import sum_stage_costs
from gfnet.bundle.export import ExportedBundle, export_bundle
from gfnet.bundle.graph_edits import without_output
from gfnet.bundle.precisions import BUNDLE_PRECISIONS, Tolerance
from gfnet.bundle.sessions import BundleSessions
from gfnet.bundle.stated_precision import lower_precisions
from gfnet.costs import count_exit_costs

IMAGES = engines.images_of(40, seed=2)
FLOAT32 = BUNDLE_PRECISIONS["float32"]


@pytest.fixture(scope="module")
def model() -> gfnet.GFNet:
    """A gate after the first of two blocks."""
    return engines.with_exits(2)


@pytest.fixture(scope="module")
def exported(model: gfnet.GFNet) -> ExportedBundle:
    """Its bundle, with the graph for one image."""
    return export_bundle(model, "a model", IMAGES, has_single=True, origin="a test")


def test_a_bundle_has_what_its_model_has(exported: ExportedBundle, model: gfnet.GFNet) -> None:
    """Exits, classes, preprocessing; the logits differ by rounding, and images take both exits."""
    manifest, found = exported.bundle.manifest, exported.comparison
    assert manifest.name == "a-model"
    assert (manifest.exit_blocks, manifest.exit_rule) == ((0,), "gate")
    assert (manifest.classes, manifest.origin) == (4, "a test")
    assert manifest.preprocessing == model.metadata.preprocessing
    assert list(exported.bundle.files) == [
        "manifest.json",
        "stage_0.onnx",
        "stage_1.onnx",
        "single.onnx",
    ]
    assert found.logit_difference < 1e-5
    assert (found.images, found.exits) == (40, 2)


def test_costs_of_the_stages_add_up_to_the_models(
    exported: ExportedBundle, model: gfnet.GFNet
) -> None:
    """A plan of the bundle counts as one of the checkpoint, with filters as matrix products."""
    found = sum_stage_costs(exported.bundle.manifest, (0,))
    costs = count_exit_costs(model.config, "gate")
    wanted = [(cost.block, cost.matrix_multiply_adds, cost.params) for cost in costs]
    assert [tuple(cost) for cost in found] == wanted


def test_graphs_have_no_fft_and_no_notes(exported: ExportedBundle) -> None:
    """Filters are products; no path of this machine and no line of source travels along."""
    for name, content in exported.bundle.files.items():
        assert str(Path(gfnet.__file__).parent).encode() not in content
        if name.endswith(".onnx"):
            assert b"gfnet" not in content
            graph = onnx.load_model_from_string(content).graph
            operators = {node.op_type for node in graph.node}
            assert "MatMul" in operators
            assert not operators & {"DFT", "STFT"}


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_a_lower_precision_is_what_the_graphs_compute_in(
    model: gfnet.GFNet, precision: str
) -> None:
    """The graph for one image too; the logits differ by more than rounding in float32."""
    calibration = engines.calibrated_on(model) if precision == "int8" else None
    lower = export_bundle(
        model, "low", IMAGES, precision=precision, has_single=True, calibration=calibration
    )
    for name, content in lower.bundle.files.items():
        if name.endswith(".onnx"):
            graph = onnx.load_model_from_string(content).graph
            assert lower_precisions(graph) == {precision}
            assert b"onnx.quant" not in content
    assert 1e-5 < lower.comparison.logit_difference < 0.05
    assert lower.comparison.exits == 2
    assert lower.comparison.moved <= (0 if precision == "float16" else 4)


def test_exits_that_move_are_counted_and_bounded(
    exported: ExportedBundle, model: gfnet.GFNet
) -> None:
    """Where a precision allows some; all but one image is too many for any."""
    other = engines.with_exits(2)
    with torch.no_grad():
        other.gates[0].linear.bias += 0.05
    sessions = BundleSessions(exported.bundle)
    loose = Tolerance(logits=1.0, relative=0.0, scores=0.0, moved=1.0)
    moved = compare_bundle(other, exported.bundle, sessions, IMAGES, loose).moved
    assert 0 < moved < 2 * len(IMAGES)
    assert compare_bundle(model, exported.bundle, sessions, IMAGES, loose).moved == 0
    strict = loose._replace(moved=0.0)
    with pytest.raises(gfnet.BundleError, match=r"take another exit .*; allowed: 0"):
        compare_bundle(other, exported.bundle, sessions, IMAGES, strict)


def test_exporting_again_gives_the_same_bytes(exported: ExportedBundle, model: gfnet.GFNet) -> None:
    """The digest is the identity of what was exported."""
    again = export_bundle(model, "a model", IMAGES, has_single=True, origin="a test")
    assert again.bundle.packed() == exported.bundle.packed()


def _compare(model: gfnet.GFNet, exported: ExportedBundle, tolerance: Tolerance = FLOAT32) -> None:
    sessions = BundleSessions(exported.bundle)
    compare_bundle(model, exported.bundle, sessions, IMAGES, tolerance)


def test_a_bundle_of_other_weights_is_refused(exported: ExportedBundle) -> None:
    """At any exit."""
    for part in ("intermediate_heads.0.bias", "head.bias"):
        other = engines.with_exits(2)
        with torch.no_grad():
            other.state_dict()[part][0] += 4e-4  # of two heads, whose mean is the logit
        with pytest.raises(gfnet.BundleError, match=r"a logit differs .* by 0.0002; allowed: 0.0"):
            _compare(other, exported)


def test_a_bundle_of_other_exits_is_refused(exported: ExportedBundle) -> None:
    """Though its logits are right."""
    other = engines.with_exits(2)
    with torch.no_grad():
        other.gates[0].linear.weight.neg_()
        other.gates[0].linear.bias.neg_()
    with pytest.raises(gfnet.BundleError, match="of 40 images take another exit than in the check"):
        _compare(other, exported)


def test_an_output_is_taken_out_with_what_only_it_needs() -> None:
    """What the other outputs need stays."""
    left = onnx.load_model_from_string(
        without_output(bundles.first_stage().SerializeToString(), "score")
    )
    assert [output.name for output in left.graph.output] == ["features", "count", "logits"]
    operators = [node.op_type for node in left.graph.node]
    assert operators == ["Flatten", "MatMul", "Relu", "Sign", "ReduceSum", "Cast", "MatMul"]
    less = onnx.load_model_from_string(without_output(left.SerializeToString(), "count"))
    assert {tensor.name for tensor in less.graph.initializer} == {"project", "head"}
