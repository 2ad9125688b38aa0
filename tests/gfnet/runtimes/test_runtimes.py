"""The one interface of all engines: eager torch is the reference, and each other one agrees."""

from __future__ import annotations

import gc
import math
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator

import pytest
import torch

import gfnet
from gfnet import runtimes

ENGINES = [
    (name, precision)
    for name in gfnet.RUNTIMES
    for precision in gfnet.PRECISIONS
    if not runtimes.unavailable(name, precision, "cpu")
]
OTHERS = [engine for engine in ENGINES if engine != ("torch", "float32")]
STAGED = [engine for engine in ENGINES if engine != ("compile", "bfloat16")]
"""Routing is the same in both precisions, and Inductor takes a minute for the stages of one more:
in bfloat16 the static model tells how far it is."""
FURTHEST = {"float32": 1e-5, "bfloat16": 0.05}
"""A logit from eager float32's, of logits around 1: rounding, and eight bits through blocks."""


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """A runtime sets the threads of its process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model() -> gfnet.GFNet:
    """Two tokens before 16 patches, gates after two of three blocks."""
    torch.manual_seed(3)
    sizes = {"img_size": 8, "patch_size": 2, "embed_dim": 8, "depth": 3, "num_classes": 4}
    model = gfnet.create("gfnet-distil-dynn", exit_blocks=(0, 1), **sizes)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def engine(name: str, model: gfnet.GFNet, threads: int, precision: str) -> gfnet.Runtime:
    """An engine of a model; not every processor multiplies bfloat16."""
    try:
        return gfnet.runtime(name, model, threads=threads, precision=precision)
    except gfnet.UnavailableError as err:
        if "on this processor" not in str(err):
            raise
        pytest.skip(str(err))


def test_torch_runs_the_model_itself(lively: Callable) -> None:
    """The reference runtime gives the model's own answers, in eval mode, with its threads."""
    model = lively(exit_blocks=(1, 2)).train()
    runtime = gfnet.runtime("torch", model, threads=1)
    assert torch.get_num_threads() == 1
    assert runtime is model
    assert not model.training


def test_all_engines_are_here() -> None:
    """The development extras bring them, so that none goes untested."""
    assert {name for name, _ in ENGINES} == set(gfnet.RUNTIMES)
    assert ("torch", "bfloat16") in ENGINES


@pytest.mark.parametrize(("name", "precision"), [engine for engine in STAGED if engine in OTHERS])
@pytest.mark.parametrize("batch", [1, 5])
def test_an_engine_answers_as_the_model(
    model: gfnet.GFNet, name: str, precision: str, batch: int
) -> None:
    """At full depth, at every exit, and routed wherever a score is clear of its threshold."""
    runtime = engine(name, model, threads=1, precision=precision)
    images = torch.randn(batch, 3, 8, 8, generator=torch.Generator().manual_seed(batch))
    with torch.inference_mode():
        expected, found = model.forward_exits(images), runtime.forward_exits(images)
        final = runtime(images)
    near = {"atol": FURTHEST[precision], "rtol": 0}
    assert found.exit_blocks == (0, 1, 2)
    assert found.logits.dtype == found.gate_scores.dtype == torch.float32
    torch.testing.assert_close(found.logits, expected.logits, **near)
    torch.testing.assert_close(found.gate_scores, expected.gate_scores, **near)
    torch.testing.assert_close(final, expected.logits[-1], **near)
    thresholds = [float(scores.median()) - 0.1 for scores in expected.gate_scores]
    routed, replayed = runtime.route(images, thresholds), model.route(images, thresholds)
    is_clear = (expected.gate_scores - torch.tensor(thresholds)[:, None]).abs() > near["atol"]
    clear = is_clear.all(dim=0)
    assert clear.any()
    assert torch.equal(routed.exit_block[clear], replayed.exit_block[clear])
    torch.testing.assert_close(routed.logits[clear], replayed.logits[clear], **near)


@pytest.mark.parametrize(("name", "precision"), STAGED)
def test_images_leave_in_any_mixture(model: gfnet.GFNet, name: str, precision: str) -> None:
    """Each batch size that is left runs, down to none; what an engine gave is not written over."""
    runtime = engine(name, model, threads=1, precision=precision)
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(9))
    every = runtime.forward_exits(images)
    kept = every.logits.clone()
    ascending = every.gate_scores[0].sort().values
    between = ((ascending[1:] + ascending[:-1]) / 2)[ascending.diff() > 1e-5].tolist()
    assert between
    for limit in (-1.0, *between, 2.0):
        exits = runtime.route(images, [limit, 2.0]).exit_block
        assert torch.equal(exits == 2, every.gate_scores[0] < limit)
    assert torch.equal(every.logits, kept)


@pytest.mark.parametrize(("name", "precision"), STAGED)
def test_one_image_leaves_where_its_scores_say(
    model: gfnet.GFNet, name: str, precision: str
) -> None:
    """At each exit, with that exit's answer; what the next image gives is written elsewhere."""
    runtime = engine(name, model, threads=1, precision=precision)
    images = torch.randn(3, 1, 3, 8, 8, generator=torch.Generator().manual_seed(4))
    inf = math.inf
    ways = {0: (-inf, -inf), 1: (inf, -inf), 2: (inf, inf)}
    taken = [
        (place, block, runtime.route(image, limits))
        for place, image in enumerate(images)
        for block, limits in ways.items()
    ]
    near = {"atol": 1e-6, "rtol": 0, "equal_nan": True}
    for place, block, routed in taken:
        with torch.no_grad():
            every = runtime.forward_exits(images[place])
        score = every.gate_scores[block] if block < 2 else torch.tensor([math.nan])
        assert routed.exit_block.tolist() == [block]
        torch.testing.assert_close(routed.logits, every.logits[block], **near)
        torch.testing.assert_close(routed.gate_score, score, **near)
        above = float(score) + 1e-5 if block < 2 else 0.5
        later = runtime.route(images[place], (above, -inf) if block == 0 else (inf, above))
        assert later.exit_block.item() == min(block + 1, 2)


@pytest.mark.parametrize(("name", "precision"), STAGED)
def test_a_gate_that_fails_lets_nobody_go(name: str, precision: str) -> None:
    """NaN is not above a threshold, on no engine, for one image or several."""
    sizes = {"img_size": 8, "patch_size": 2, "embed_dim": 8, "depth": 2, "num_classes": 4}
    model = gfnet.create("gfnet-distil-dynn", exit_blocks=(0,), **sizes)
    torch.nn.init.constant_(model.get_parameter("gates.0.linear.bias"), math.nan)
    runtime = engine(name, model, threads=1, precision=precision)
    for batch in (1, 2):
        routed = runtime.route(torch.randn(batch, 3, 8, 8), 0.0)
        assert routed.exit_block.tolist() == [1] * batch


@pytest.mark.parametrize(("name", "precision"), OTHERS)
def test_a_static_model_has_one_stage(name: str, precision: str) -> None:
    """And no gate scores."""
    model = gfnet.create("gfnet", img_size=8, patch_size=2, embed_dim=8, depth=2, num_classes=4)
    runtime = engine(name, model, threads=1, precision=precision)
    images = torch.randn(2, 3, 8, 8)
    every = runtime.forward_exits(images)
    assert every.gate_scores.shape == (0, 2)
    torch.testing.assert_close(every.logits[0], model(images), atol=FURTHEST[precision], rtol=0)
    assert runtime.route(images, 0.5).exit_block.tolist() == [1, 1]


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


def test_signals_are_handled_when_engines_have_gone() -> None:
    """OpenVINO's plugins, taken down in their order, left handlers without a stack."""
    program = """if True:
        import gc, gfnet, os, signal, torch
        def run():
            sizes = dict(img_size=8, patch_size=2, embed_dim=8, depth=1, num_classes=4)
            model = gfnet.create("gfnet", **sizes)
            gfnet.runtime("openvino", model, threads=1)(torch.randn(1, 3, 8, 8))
            return model
        first = run()
        second = run()
        del first
        gc.collect()
        del second
        gc.collect()
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            print("handled")
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


def test_unknown_engines_and_precisions(lively: Callable) -> None:
    """Both name what is known."""
    with pytest.raises(
        ValueError, match="runtime 'tensorrt' is unknown; known: torch, compile, onnx"
    ):
        gfnet.runtime("tensorrt", lively())
    with pytest.raises(ValueError, match="precision 'int8' is unknown; known: float32"):
        gfnet.runtime("torch", lively(), precision="int8")


@pytest.mark.parametrize(
    ("name", "precision", "reason"),
    [
        ("onnx", "bfloat16", "runtime onnx has float32, not bfloat16"),
        ("torch", "float16", "float16 on a processor"),
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
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None if name == "openvino" else 1)
    reason = runtimes.unavailable("openvino", "float32", "cpu")
    assert reason == "runtime openvino needs openvino: pip install 'gfjobs[openvino]'"
    assert runtimes.unavailable("onnx", "float32", "cpu") is None
    assert "processors alone" in (runtimes.unavailable("onnx", "float32", "cuda") or "")


def test_what_no_installation_gives_is_known_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a device that is not known yet only what holds on each; packages have no say in it."""
    monkeypatch.setattr(runtimes, "find_spec", lambda _: None)
    never = {
        (name, precision, device)
        for name in gfnet.RUNTIMES
        for precision in gfnet.PRECISIONS
        for device in (None, "cpu", "cuda")
        if runtimes.impossible(name, precision, device)
    }
    everywhere = {("onnx", "bfloat16"), ("onnx", "float16"), ("openvino", "float16")}
    assert never == {
        (*engine, device) for engine in everywhere for device in (None, "cpu", "cuda")
    } | {
        ("torch", "float16", "cpu"),
        ("compile", "float16", "cpu"),
        ("onnx", "float32", "cuda"),
        ("openvino", "float32", "cuda"),
        ("openvino", "bfloat16", "cuda"),
    }
    reason = runtimes.impossible("onnx", "bfloat16", None)
    assert runtimes.unavailable("onnx", "bfloat16", "cpu") == reason, "before any package is missed"
