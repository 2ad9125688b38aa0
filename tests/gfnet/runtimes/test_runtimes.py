"""The one interface of all engines: eager torch is the reference, and each other one agrees."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest
import torch
from support import engines
from support.engines import put_on

import gfnet
from gfnet.runtimes import availability, exported
from gfnet.runtimes.exported import to_onnx
from gfnet.runtimes.stages import cut, with_matrix_filters

ENGINES = [
    (name, precision)
    for name in gfnet.RUNTIMES
    for precision in gfnet.PRECISIONS
    if not availability.unavailable(name, precision, "cpu")
]
HERE = [engine for engine in ENGINES if engine[0] != "compile"]
"""Inductor takes a minute: tests/integration/test_compiled_engine.py holds it to the same."""
OTHERS = [engine for engine in HERE if engine != ("torch", "float32")]


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """A runtime sets the threads of its process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model() -> gfnet.GFNet:
    """Gates after two of three blocks; its first graph is exported, which loads what exports."""
    model = engines.with_exits(3)
    to_onnx(cut(with_matrix_filters(model))[-1])
    return model


OTHER_FAMILIES: dict[str, dict[str, object]] = {
    "gfnet-dynn": {"depth": 2, "img_size": 8, "patch_size": 3, "embed_dim": 8},
    "gfnet-h": {"img_size": 32, "embed_dims": (4, 8, 6, 8), "depths": (1, 1, 2, 1)},
}


@pytest.fixture(scope="module", params=OTHER_FAMILIES)
def other(request: pytest.FixtureRequest) -> gfnet.GFNet:
    """Of another family with exits, with a gate after the first of several blocks."""
    return engines.of_family(request.param, **OTHER_FAMILIES[request.param])


@pytest.fixture(scope="module")
def static() -> gfnet.GFNet:
    """The same for all engines, so that they share a graph."""
    return engines.static()


def test_torch_runs_the_model_itself(lively: Callable) -> None:
    """The reference runtime gives the model's own answers, in eval mode, with its threads."""
    model = lively(exit_blocks=(1, 2)).train()
    runtime = gfnet.runtime("torch", model, threads=1)
    assert torch.get_num_threads() == 1
    assert runtime is model
    assert not model.training


def test_all_engines_are_here() -> None:
    """The development extras bring them, so that none for a CPU goes untested."""
    on_cpu = {name for name, devices in availability.SUPPORT.items() if "cpu" in devices}
    assert {name for name, _ in ENGINES} == on_cpu == set(gfnet.RUNTIMES) - {"tensorrt"}
    assert ("torch", "bfloat16") in ENGINES


@pytest.mark.parametrize(("name", "precision"), OTHERS)
@pytest.mark.parametrize("batch", [1, 5])
def test_an_engine_answers_as_the_model(
    model: gfnet.GFNet, name: str, precision: str, batch: int
) -> None:
    """At every exit, and routed."""
    runtime = put_on(name, model, precision)
    engines.assert_exits_are_the_models(model, runtime, precision, batch)


@pytest.mark.parametrize(("name", "precision"), OTHERS)
@pytest.mark.parametrize("batch", [1, 5])
def test_an_engine_answers_as_the_model_at_full_depth(
    model: gfnet.GFNet, name: str, precision: str, batch: int
) -> None:
    """By one graph of all blocks, without the exits."""
    images = engines.images_of(batch, seed=batch)
    with torch.inference_mode():
        final, expected = put_on(name, model, precision)(images), model(images)
    torch.testing.assert_close(final, expected, atol=engines.FURTHEST[precision], rtol=0)


@pytest.mark.parametrize(("name", "precision"), OTHERS)
def test_an_engine_answers_as_a_model_of_another_family(
    other: gfnet.GFNet, name: str, precision: str
) -> None:
    """One image and several, at each exit, routed, and at full depth."""
    runtime = put_on(name, other, precision)
    for batch in (1, 5):
        engines.assert_exits_are_the_models(other, runtime, precision, batch)
    engines.assert_one_image_leaves_where_its_scores_say(other, runtime, precision)
    images = engines.images_of(3, seed=1, side=other.config.img_size)
    with torch.inference_mode():
        final, expected = runtime(images), other(images)
    torch.testing.assert_close(final, expected, atol=engines.FURTHEST[precision], rtol=0)


@pytest.mark.parametrize(("name", "precision"), HERE)
def test_images_leave_in_any_mixture(model: gfnet.GFNet, name: str, precision: str) -> None:
    """Each batch size that is left runs."""
    engines.assert_images_leave_in_any_mixture(model, put_on(name, model, precision))


@pytest.mark.parametrize(("name", "precision"), HERE)
def test_one_image_leaves_where_its_scores_say(
    model: gfnet.GFNet, name: str, precision: str
) -> None:
    """At each exit."""
    runtime = put_on(name, model, precision)
    engines.assert_one_image_leaves_where_its_scores_say(model, runtime, precision)


@pytest.mark.parametrize(("name", "precision"), [each for each in HERE if each[1] != "int8"])
def test_a_gate_that_fails_lets_nobody_go(model: gfnet.GFNet, name: str, precision: str) -> None:
    """NaN is not above a threshold, on no engine. In int8 there is none, so it is not asked."""
    engines.assert_a_score_of_nan_lets_nobody_go(model, put_on(name, model, precision))


@pytest.mark.parametrize(("name", "precision"), OTHERS)
def test_a_static_model_has_one_stage(static: gfnet.GFNet, name: str, precision: str) -> None:
    """And no gate scores."""
    runtime = put_on(name, static, precision)
    engines.assert_a_static_model_has_one_stage(static, runtime, precision)


def test_a_graph_is_exported_once_for_all_engines_and_tasks(
    model: gfnet.GFNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second build, as a later task in another process makes it, exports nothing."""
    images = engines.images_of(3, seed=7)
    first = put_on("onnx", model, "float32").forward_exits(images)

    def export(*_: object) -> bytes:
        pytest.fail("exported again")

    monkeypatch.setattr(exported, "_export", export)
    again = put_on("onnx", copy.deepcopy(model), "float32").forward_exits(images)
    assert torch.equal(again.logits, first.logits)
    on_another = put_on("openvino", copy.deepcopy(model), "float32").forward_exits(images)
    torch.testing.assert_close(on_another.logits, first.logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ["gfnet-distil-dynn", "gfnet-h"])
def test_weights_kept_in_half_precision_answer_as_those_that_autocast_converts(
    family: str,
) -> None:
    """Bit for bit, in blocks with and without a scale; and the model keeps its own."""
    model = engines.of_family(family, **OTHER_FAMILIES.get(family, engines.SIZES | {"depth": 2}))
    images = torch.randn(3, 3, model.config.img_size, model.config.img_size)
    found = put_on("torch", model, "bfloat16").forward_exits(images)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected = with_matrix_filters(model).forward_exits(images)
    assert torch.equal(found.logits, expected.logits.float())
    assert torch.equal(found.gate_scores, expected.gate_scores.float())
    assert all(each.dtype == torch.float32 for each in model.parameters())


def test_both_heads_of_an_exit_are_one_product(model: gfnet.GFNet) -> None:
    """On engines, at every exit and at full depth, with the mean of both; the model keeps two."""
    joint, images = with_matrix_filters(model), engines.images_of(3, seed=2)
    exits = len(model.config.exit_blocks) + 1
    with torch.inference_mode():
        expected, found = model.forward_exits(images), joint.forward_exits(images)
        torch.testing.assert_close(joint(images), model(images), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-5, rtol=0)
    products = 0
    for stage in cut(joint):
        graph = onnx.load_model_from_string(to_onnx(stage)).graph
        products += sum(node.op_type == "Gemm" for node in graph.node)
    assert products == exits


def test_an_engine_is_kept_as_long_as_its_model(lively: Callable) -> None:
    """A task asks for the same again, and compiling takes seconds; then both go."""
    model = lively(exit_blocks=(1,))
    first = gfnet.runtime("torch", model, threads=1, precision="bfloat16")
    assert gfnet.runtime("torch", model, threads=1, precision="bfloat16") is first
    assert gfnet.runtime("torch", model, threads=2, precision="bfloat16") is not first
    gone = weakref.ref(model)
    del model, first
    gc.collect()
    assert gone() is None


def test_unknown_engines_and_precisions(lively: Callable) -> None:
    """Both name what is known."""
    with pytest.raises(
        ValueError, match="runtime 'tflite' is unknown; known: torch, compile, onnx"
    ):
        gfnet.runtime("tflite", lively())
    with pytest.raises(ValueError, match="precision 'int4' is unknown; known: float32"):
        gfnet.runtime("torch", lively(), precision="int4")


@pytest.mark.parametrize(
    ("name", "precision", "reason"),
    [
        (
            "onnx",
            "bfloat16",
            "runtime onnx supports float32 and int8 on a cpu device, not bfloat16",
        ),
        ("torch", "float16", "float16 is not supported on a CPU"),
        (
            "tensorrt",
            "float32",
            "runs only on NVIDIA GPUs; on a cpu device, choose runtime torch or compile or onnx",
        ),
    ],
)
def test_what_is_not_to_be_had_says_why(
    lively: Callable, name: str, precision: str, reason: str
) -> None:
    """An error of its own kind, which skips a cell instead of failing it."""
    with pytest.raises(gfnet.UnavailableError, match=reason):
        gfnet.runtime(name, lively(), precision=precision)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    monkeypatch.setattr(availability, "find_spec", lambda name: None if name == "openvino" else 1)
    reason = availability.unavailable("openvino", "float32", "cpu")
    assert reason == "runtime openvino needs openvino: pip install 'gfjobs[openvino]'"
    assert availability.unavailable("onnx", "float32", "cpu") is None
    assert "only on CPUs" in (availability.unavailable("openvino", "float32", "cuda") or "")
    monkeypatch.setattr(availability, "find_spec", lambda _: None)
    reason = availability.unavailable("onnx", "float16", "cuda") or ""
    assert reason.endswith("pip install 'gfjobs[onnx-gpu]'")


@pytest.mark.parametrize(
    ("name", "provider", "extra"),
    [
        ("onnx", "CUDAExecutionProvider", "onnx-gpu"),
        ("tensorrt", "TensorrtExecutionProvider", "tensorrt"),
    ],
)
def test_the_wheel_for_processors_is_to_be_replaced(name: str, provider: str, extra: str) -> None:
    """Which is installed here: both wheels bring one module; a Jetson's is not on PyPI."""
    reason = availability.unavailable(name, "float32", "cuda") or ""
    assert reason.startswith(
        f"runtime {name} needs ONNX Runtime with {provider}; the installed onnxruntime 1."
    )
    assert "pip uninstall onnxruntime, then pip install --force-reinstall" in reason
    assert f"'gfjobs[{extra}]'" in reason
    assert "on a Jetson, the onnxruntime-gpu that is built for your JetPack" in reason


def test_what_no_installation_gives_is_known_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a device that is not known yet only what holds on each; packages have no say in it."""
    monkeypatch.setattr(availability, "find_spec", lambda _: None)
    never = {
        (name, precision, device)
        for name in gfnet.RUNTIMES
        for precision in gfnet.PRECISIONS
        for device in (None, "cpu", "cuda")
        if availability.impossible(name, precision, device)
    }
    assert never == {
        ("torch", "float16", "cpu"),
        ("compile", "float16", "cpu"),
        ("onnx", "bfloat16", None),
        ("onnx", "bfloat16", "cpu"),
        ("onnx", "bfloat16", "cuda"),
        ("onnx", "float16", "cpu"),
        ("openvino", "float16", None),
        ("openvino", "float16", "cpu"),
        *((name, "int8", None) for name in ("torch", "compile", "tensorrt")),
        *((name, "int8", "cpu") for name in ("torch", "compile")),
        *((name, "int8", "cuda") for name in ("torch", "compile", "onnx", "tensorrt")),
        *(("openvino", precision, "cuda") for precision in gfnet.PRECISIONS),
        *(("tensorrt", precision, "cpu") for precision in gfnet.PRECISIONS),
    }
    reason = availability.impossible("onnx", "bfloat16", "cpu")
    assert availability.unavailable("onnx", "bfloat16", "cpu") == reason, "before any package"
    everywhere = availability.impossible("openvino", "float16", None)
    assert everywhere == "runtime openvino supports float32, bfloat16 and int8, not float16"


def test_the_documented_table_of_engines_is_the_programs() -> None:
    """Per device which engine in which precision; a Jetson's GPU is a GPU."""
    page = (Path(gfnet.__file__).parents[1] / "docs" / "grids.md").read_text(encoding="utf-8")
    lines = page.partition("\n## Engines\n")[2].splitlines()
    rows = [line.strip("|").split("|") for line in lines if line.startswith("| `")]
    documented = {
        name.strip(" `"): tuple(cell.strip() for cell in cells) for name, *cells, _ in rows
    }
    assert documented == {
        name: tuple(", ".join(devices.get(kind, ())) or "–" for kind in ("cpu", "cuda", "cuda"))
        for name, devices in availability.SUPPORT.items()
    }
