"""Engines that compile for long, and what engines do to their process: its signals, its pools."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support import engines
from torch import Tensor
from torch._dynamo.utils import counters

import gfnet

# What Inductor makes for one test is what it gives the others.
pytestmark = pytest.mark.xdist_group("engines")


@pytest.fixture(scope="module", autouse=True)
def _threads() -> Iterator[None]:
    """A runtime sets the threads of its process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def _compiled_anew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whatever an earlier run has left on disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("inductor")))
        yield


@pytest.fixture(scope="module")
def model() -> gfnet.GFNet:
    """A gate after one of two blocks."""
    return engines.with_exits(2)


@pytest.fixture(scope="module")
def compiled(model: gfnet.GFNet) -> gfnet.Runtime:
    """Four graphs, each of which takes seconds."""
    return engines.put_on("compile", model, "float32")


@pytest.mark.parametrize("batch", [1, 5])
def test_it_answers_as_the_model(model: gfnet.GFNet, compiled: gfnet.Runtime, batch: int) -> None:
    """As tests/gfnet/runtimes holds the other engines to it."""
    engines.assert_exits_are_the_models(model, compiled, "float32", batch)


def test_images_leave_where_their_scores_say(model: gfnet.GFNet, compiled: gfnet.Runtime) -> None:
    """In any mixture, one alone, and where a gate fails."""
    engines.assert_images_leave_in_any_mixture(model, compiled)
    engines.assert_one_image_leaves_where_its_scores_say(model, compiled)
    engines.assert_a_score_of_nan_lets_nobody_go(model, compiled)


def test_a_static_model_has_one_stage_in_half_precision() -> None:
    """Routing is the same in both precisions; this tells how far bfloat16 is."""
    static = engines.static()
    runtime = engines.put_on("compile", static, "bfloat16")
    engines.assert_a_static_model_has_one_stage(static, runtime, "bfloat16")


def test_no_images_have_no_answers(compiled: gfnet.Runtime) -> None:
    """As of the model itself."""
    assert compiled.forward_exits(torch.randn(0, 3, 8, 8)).logits.shape == (2, 0, 4)


def layouts(count: int) -> list[Tensor]:
    """The same kind of images, as they lie in memory one after the other and otherwise."""
    plain = torch.randn(count, 3, 8, 8)
    of_more = torch.randn(2 * count, 3, 8, 8)
    return [
        plain,
        plain.to(memory_format=torch.channels_last),
        of_more[count:],
        of_more[::2],
        of_more[::2][:count],
    ]


def answers_alike(model: gfnet.GFNet, engine: gfnet.Runtime, images: Tensor) -> None:
    """At every exit and at mixed ones, as far as float32 goes."""
    expected, found = model.forward_exits(images), engine.forward_exits(images)
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.gate_scores, expected.gate_scores, atol=1e-5, rtol=0)
    for threshold in (0.3, 0.5, 0.7):
        engine.route(images, threshold)


@pytest.mark.usefixtures("compiled")
def test_nothing_compiles_after_the_engine_is_made() -> None:
    """Two graphs a stage, for any number and layout of images, in either mode, model after model.

    Six stages have 12 graphs: more than torch keeps of one function's. Their weights are new; what
    Inductor made of the same stages before is not made again.
    """
    counters.clear()
    made_engines = []
    for seed in range(3):
        model = engines.with_exits(2, seed)
        made_engines.append((model, engines.put_on("compile", model, "float32")))
    made = counters["stats"]["unique_graphs"]
    assert made == 2 * (2 + 2 + 2)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for model, engine in made_engines:
            for count in (1, 2, 7, 64, 1):
                for images in layouts(count):
                    answers_alike(model, engine, images)
                with torch.inference_mode():
                    for images in layouts(count):
                        answers_alike(model, engine, images)
    assert counters["stats"]["unique_graphs"] == made
    assert not counters["graph_break"]


PROGRAM = """
import gc, os, signal, threading, time
from pathlib import Path

if hasattr(os, "sched_setaffinity"):  # before any thread; a process of tests may have fewer
    os.sched_setaffinity(0, range(os.cpu_count()))

import torch, gfnet
from jobs.pinning import choose, pinned

SIZES = dict(img_size=32, patch_size=4, embed_dim=64, depth=2, num_classes=4, exit_blocks=(0,))

def made():
    torch.manual_seed(0)  # the same weights: what is exported for the first serves all
    return gfnet.create("gfnet-distil-dynn", **SIZES).eval()

images = torch.rand(16, 3, 32, 32)

def run():
    model = made()
    gfnet.runtime("openvino", model, threads=1)(images)
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
    print("handled", flush=True)

allowed = frozenset(os.sched_getaffinity(0))

def places():
    found = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            found[int(task.name)] = frozenset(os.sched_getaffinity(int(task.name)))
        except OSError:
            pass  # it has ended
    return set(found.values())

def watched(engine, images):
    stop, seen = threading.Event(), set()
    def look():
        while not stop.is_set():
            seen.update(places())
            time.sleep(0.0005)
    watcher = threading.Thread(target=look)
    watcher.start()
    for _ in range(20):
        engine.route(images, 0.5)
    stop.set()
    watcher.join()
    return seen | places()

model = made()
one, all_of_them = choose(1, allowed), len(allowed)
if all_of_them < 2:
    print("one processor")
    raise SystemExit
for threads in (1, all_of_them):  # an engine with a pool is pinned to less than its threads too
    for name in gfnet.RUNTIMES:
        if name == "compile":
            continue  # it has torch's pool, and compiles for half a minute
        engine = gfnet.runtime(name, model, threads=threads)
        with pinned(1) as why_not:
            assert why_not == "", why_not
            assert watched(engine, images) == {one}, (name, threads)
        assert places() == {allowed}, (name, threads)
        assert gfnet.runtime(name, model, threads=all_of_them) is gfnet.runtime(name, model)
engine = gfnet.runtime("openvino", model, threads=all_of_them)
request = engine._stages[0]._request
asked = request.get_compiled_model().get_property("INFERENCE_NUM_THREADS")
assert asked == all_of_them, asked
print("pinned")
"""


@pytest.fixture(scope="module")
def ended() -> subprocess.CompletedProcess[str]:
    """What became of a process that does all that."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"PYTHONPATH": str(Path(gfnet.__file__).parents[1])},
    )


def test_signals_are_handled_when_engines_have_gone(
    ended: subprocess.CompletedProcess[str],
) -> None:
    """OpenVINO's plugins, taken down in their order, left handlers without a stack."""
    assert ended.stdout.startswith("handled\n"), (ended.returncode, ended.stderr)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity of threads here")
def test_pools_of_engines_keep_to_the_processors(ended: subprocess.CompletedProcess[str]) -> None:
    """Also while they compute, and whatever was timed before."""
    if ended.stdout.endswith("one processor\n"):
        pytest.skip("one processor: nothing to choose from")
    assert (ended.returncode, ended.stdout) == (0, "handled\npinned\n"), ended.stderr
    assert set(gfnet.RUNTIMES) == {"torch", "compile", "onnx", "openvino"}
