"""What engines do to their process: its signals, and where its pools of threads run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import gfnet

pytestmark = pytest.mark.xdist_group("engines")  # they share a process

PROGRAM = """
import gc, os, signal, threading, time
from pathlib import Path

if hasattr(os, "sched_setaffinity"):  # before any thread; a process of tests may have fewer
    os.sched_setaffinity(0, range(os.cpu_count()))

import torch, gfnet
from jobs.worker.cpu_pinning import choose_processors, pin_threads

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
one, all_of_them = choose_processors(1, allowed), len(allowed)
if all_of_them < 2:
    print("one processor")
    raise SystemExit
for threads in (1, all_of_them):  # an engine with a pool is pinned to less than its threads too
    for name in gfnet.RUNTIMES:
        if name in ("compile", "tensorrt"):
            continue  # for GPUs; or it has torch's pool, and compiles for half a minute
        engine = gfnet.runtime(name, model, threads=threads)
        with pin_threads(1) as why_not:
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
    assert set(gfnet.RUNTIMES) == {"torch", "compile", "onnx", "openvino", "tensorrt"}
