"""A bundle as a model, on engines: two tensors between its stages, and an oracle in numpy."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from support import bundles, engines

import gfnet
from gfnet.bundle.description import describe_bundle, sum_stage_costs
from gfnet.bundle.manifest import BundleManifest
from gfnet.bundle.profiling import StageProfiler
from gfnet.bundle.support import impossible_for_bundle
from gfnet.profiling import OTHER, Part

ENGINES = ("onnx", "openvino")
CLOSE = 1e-5


def model_of(rule: str | None = None, exits: tuple[int, ...] | None = None) -> gfnet.BundleModel:
    """The two stages written by hand."""
    bundle = gfnet.load_bundle(bundles.zipped(bundles.files()))
    return gfnet.BundleModel(bundle, exit_blocks=exits, exit_rule=rule)


def images_of(count: int) -> torch.Tensor:
    """Images of 2 x 2 pixels."""
    return engines.images_of(count, seed=7, side=2)


@pytest.mark.parametrize("name", ENGINES)
def test_every_exit_gives_what_the_graphs_compute(name: str) -> None:
    """Also with more images than before, fewer, and one."""
    runtime = model_of().runtime(name, threads=1)
    for count in (5, 9, 1, 3):
        images = images_of(count)
        first, last, scores = bundles.expected(images.numpy())
        found = runtime.forward_exits(images)
        assert found.exit_blocks == (2, 5)
        np.testing.assert_allclose(found.logits, np.stack([first, last]), atol=CLOSE)
        np.testing.assert_allclose(found.gate_scores, scores[None], atol=CLOSE)
        np.testing.assert_allclose(runtime(images), last, atol=CLOSE)


@pytest.mark.parametrize("name", ENGINES)
def test_both_tensors_follow_the_images_that_stay(name: str) -> None:
    """At each threshold between two scores, each image has the answer of the exit that it took."""
    images = images_of(6)
    first, last, scores = bundles.expected(images.numpy())
    runtime = model_of().runtime(name, threads=1)
    limits = [-1.0, *[(a + b) / 2 for a, b in itertools.pairwise(sorted(scores))], 2.0]
    for limit in limits:
        leaves = scores >= limit
        routed = runtime.route(images, limit)
        assert routed.exit_block.tolist() == np.where(leaves, 2, 5).tolist()
        wanted = np.where(leaves[:, None], first, last)
        np.testing.assert_allclose(routed.logits, wanted, atol=CLOSE)
        np.testing.assert_allclose(
            routed.gate_score, np.where(leaves, scores, np.nan), atol=CLOSE, equal_nan=True
        )


def _max_prob(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits)
    return np.asarray(powers.max(axis=1) / powers.sum(axis=1))


def _margin(logits: np.ndarray) -> np.ndarray:
    shares = np.sort(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), axis=1)
    return np.asarray(shares[:, -1] - shares[:, -2])


@pytest.mark.parametrize(("rule", "score"), [("max_prob", _max_prob), ("margin", _margin)])
def test_other_rules_read_the_logits(rule: str, score: Callable[[np.ndarray], np.ndarray]) -> None:
    """Whatever scores the graphs give."""
    images = images_of(8)
    first, _, _ = bundles.expected(images.numpy())
    runtime = model_of(rule).runtime("onnx", threads=1)
    np.testing.assert_allclose(
        runtime.forward_exits(images).gate_scores[0], score(first), atol=CLOSE
    )


def test_under_patience_one_exit_never_agrees_twice() -> None:
    """The first exit counts one; two are never reached."""
    images = images_of(4)
    runtime = model_of("patience").runtime("onnx", threads=1)
    assert runtime.forward_exits(images).gate_scores.tolist() == [[1.0] * 4]
    assert set(runtime.route(images, 2.0).exit_block.tolist()) == {5}
    assert set(runtime.route(images, 1.0).exit_block.tolist()) == {2}


@pytest.mark.parametrize("name", ENGINES)
def test_an_exit_that_is_not_enabled_lets_no_image_go(name: str) -> None:
    """Without its exit the bundle is a model at full depth."""
    images = images_of(3)
    model = model_of(exits=())
    found = model.runtime(name, threads=1).forward_exits(images)
    assert (found.exit_blocks, found.gate_scores.shape) == ((5,), (0, 3))
    np.testing.assert_allclose(found.logits[0], bundles.expected(images.numpy())[1], atol=CLOSE)
    routed = model.runtime(name, threads=1).route(images, 0.0)
    assert routed.exit_block.tolist() == [5, 5, 5]


def test_the_reference_is_onnx_on_the_processor() -> None:
    """The same object, so that it is not compared with itself; other engines are others."""
    model = model_of()
    reference = model.reference(threads=1)
    assert model.runtime("onnx", threads=1) is reference
    assert model.is_built("onnx", threads=1, precision="float32")
    assert not model.is_built("openvino", threads=1, precision="float32")
    assert model.runtime("openvino", threads=1) is not reference


def test_openvino_may_lower_a_bundle_in_float32() -> None:
    """As it does a checkpoint's graphs; its logits are then near, or the processor has none."""
    images = images_of(8)
    try:
        runtime = model_of().runtime("openvino", threads=1, precision="bfloat16")
    except gfnet.UnavailableError as err:
        assert "has no bfloat16 on this CPU" in str(err)  # noqa: PT017 - one of two right ends
        return
    wanted = np.stack(bundles.expected(images.numpy())[:2])
    np.testing.assert_allclose(runtime.forward_exits(images).logits, wanted, atol=0.2)


def test_an_engine_that_runs_no_graphs_is_refused() -> None:
    """With what to choose."""
    with pytest.raises(gfnet.UnavailableError, match=r"torch runs no bundle.*\[onnx\]"):
        model_of().runtime("torch")
    with pytest.raises(gfnet.UnavailableError, match=r"here float32, not float16"):
        model_of().runtime("onnx", precision="float16")


@pytest.mark.parametrize(
    ("asked", "graphs", "reason"),
    [
        (("onnx", "float32", "cpu"), "float32", None),
        (("onnx", "int8", None), "int8", None),
        (("openvino", "bfloat16", "cpu"), "float32", None),
        (("tensorrt", "float16", "cuda"), "float16", None),
        (("tensorrt", "float32", None), "float32", None),
        (("compile", "float32", None), "float32", "runtime compile runs no bundle"),
        (("tensorrt", "float32", "cpu"), "float32", "choose runtime onnx or openvino"),
        (("openvino", "float32", "cuda"), "float32", "choose runtime onnx or tensorrt"),
        (("onnx", "bfloat16", "cpu"), "float32", "[float32], or runtime openvino on a CPU"),
        (("openvino", "float32", "cpu"), "float16", "here float16, not float32"),
    ],
)
def test_what_runs_a_bundle(
    asked: tuple[str, str, str | None], graphs: str, reason: str | None
) -> None:
    """Known before anything is loaded."""
    said = impossible_for_bundle(*asked, graphs)
    assert (said is None) == (reason is None)
    assert (reason or "") in (said or "")


def test_no_score_no_gate() -> None:
    """A bundle without scores exits by its logits alone."""
    stage = bundles.first_stage()
    del stage.graph.output[3:]
    contents = bundles.files({"stage_0.onnx": stage})
    manifest = bundles.manifest(contents)
    del manifest["stages"][0]["score"]
    changed = bundles.files({"stage_0.onnx": stage}, **manifest | {"exit_rule": "margin"})
    bundle = gfnet.load_bundle(bundles.zipped(changed))
    model = gfnet.BundleModel(bundle)
    assert (model.exit_rule, model.config.has_gates) == ("margin", False)
    with pytest.raises(gfnet.BundleError, match="no score for the exit rule gate"):
        gfnet.BundleModel(bundle, exit_rule="gate")
    first, _, _ = bundles.expected(images_of(4).numpy())
    found = model.runtime("onnx", threads=1).forward_exits(images_of(4))
    np.testing.assert_allclose(found.gate_scores[0], _margin(first), atol=CLOSE)


def manifest_of(*costs: tuple[int | None, int | None]) -> BundleManifest:
    """Three stages after blocks 1, 2 and 4, with costs; the graphs do not matter."""
    manifest = gfnet.inspect_bundle(bundles.zipped(bundles.files())).manifest
    first, last = manifest.stages
    stages = zip((first, first, last), (1, 2, 4), costs, strict=True)
    return replace(
        manifest,
        thresholds=(0.7, 0.9),
        stages=tuple(
            replace(stage, exit_block=block, multiply_adds=adds, parameters=params)
            for stage, block, (adds, params) in stages
        ),
    )


def test_costs_add_up_to_each_exit() -> None:
    """10, 30 and 60 multiply-adds; a stage that does not say makes all after it unknown."""
    manifest = manifest_of((10, 1), (20, None), (30, 3))
    costs = sum_stage_costs(manifest, (1, 2))
    assert [tuple(cost) for cost in costs] == [(1, 10, 1), (2, 30, None), (4, 60, None)]
    assert costs[1].matrix_multiply_adds == 30
    assert [cost.block for cost in sum_stage_costs(manifest, (2,))] == [2, 4]
    assert describe_bundle(manifest, None, "it").config.parameters() is None
    whole = describe_bundle(manifest_of((1, 1), (1, 2), (1, 3)), None, "it")
    assert (whole.config.parameters(), whole.config.depth) == (6, 5)


@pytest.mark.parametrize("exits", [(3,), (2, 1), (1, 1), (1, 2, 4)])
def test_only_a_bundles_own_exits_can_be_enabled(exits: tuple[int, ...]) -> None:
    """Each once, in their order; the thresholds of those that are left stay theirs."""
    manifest = manifest_of((1, 1), (1, 2), (1, 3))
    with pytest.raises(gfnet.BundleError, match=r"it has exits after blocks \[1, 2\]"):
        describe_bundle(manifest, exits, "it")
    assert describe_bundle(manifest, (2,), "it").thresholds == (0.9,)


def test_a_profiler_charges_each_stage_with_its_own_time() -> None:
    """By a clock that ticks once a reading: one tick in each stage, and three around them."""
    ticks = itertools.count()
    waits = []
    runtime = model_of().runtime("onnx", threads=1)
    profiler = StageProfiler(runtime, lambda: waits.append(1), lambda: next(ticks))
    images = images_of(3)
    for _ in range(2):
        routed = profiler.run(lambda batch: profiler.timed.route(batch, 2.0), images)
        assert torch.equal(routed.logits, runtime.route(images, 2.0).logits)
    first, last = Part("stage", 2), Part("stage", 5)
    assert profiler.spent_ns == {first: 2, last: 2, OTHER: 2 * 3}
    assert profiler.calls == {first: 2, last: 2, OTHER: 2}
    assert len(waits) == next(ticks) == 12
    profiler.run(lambda batch: profiler.timed.route(batch, -1.0), images)
    assert profiler.calls[last] == 2
