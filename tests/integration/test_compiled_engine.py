"""torch.compile: it answers as other engines, and compiles nothing once an engine is there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from support import engines
from torch import Tensor
from torch._dynamo.utils import counters

import gfnet
from jobs.acceptance.bench import Bench
from jobs.acceptance.compiled import check_compiled
from jobs.machine.devices import use_device

pytestmark = pytest.mark.xdist_group("compiled")  # what Inductor makes for one serves all


@pytest.fixture(scope="module", autouse=True)
def _threads() -> Iterator[None]:
    """A runtime sets the threads of its process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model() -> gfnet.GFNet:
    """Gates after two of three blocks: a first stage, one between, and the last."""
    return engines.with_exits(3)


@pytest.fixture(scope="module")
def compiled(model: gfnet.GFNet) -> gfnet.Runtime:
    """Six graphs, each of which takes seconds, unless Inductor has kept it from an earlier run."""
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


def test_one_image_runs_its_graphs_past_what_torch_checks_before(
    model: gfnet.GFNet, compiled: gfnet.Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where torch is told to run no graph, its own functions would run the stages as Python."""
    run: list[object] = []
    monkeypatch.setattr(gfnet.GFNet, "run_blocks", lambda *given: run.append(given))
    with torch.compiler.set_stance("force_eager"), torch.inference_mode():
        routed = compiled.route(engines.images_of(1, seed=7), [2.0, 2.0])
    assert routed.exit_block.tolist() == [model.config.last_block]
    assert not run


def test_a_static_model_has_one_stage_in_half_precision() -> None:
    """Routing is the same in both precisions; this tells how far bfloat16 is."""
    static = engines.static()
    runtime = engines.put_on("compile", static, "bfloat16")
    engines.assert_a_static_model_has_one_stage(static, runtime, "bfloat16")


def test_an_acceptance_sees_nothing_compiled(
    model: gfnet.GFNet, compiled: gfnet.Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the product's warm-up, under its clock, with batches that shrink to any size."""
    monkeypatch.setattr(Bench, "student_there", model)
    bench = Bench(use_device("cpu"), ("compile",))
    assert bench.engine("compile", model) is compiled
    results = list(check_compiled(bench))
    assert [(result.name, result.verdict) for result in results] == [
        ("compile: while the clock runs", "ok"),
        ("compile: routed answers, batch 1", "ok"),
        ("compile: routed answers, batch 64", "ok"),
    ]


def test_no_images_have_no_answers(compiled: gfnet.Runtime) -> None:
    """As of the model itself."""
    assert compiled.forward_exits(torch.randn(0, 3, 8, 8)).logits.shape == (3, 0, 4)


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

    Nine stages have 18 graphs: more than torch keeps of one function's. Their weights are new; what
    Inductor made of the same stages before is not made again.
    """
    counters.clear()
    made_engines = []
    for seed in range(3):
        model = engines.with_exits(3, seed)
        made_engines.append((model, engines.put_on("compile", model, "float32")))
    made = counters["stats"]["unique_graphs"]
    assert made == 2 * (3 + 3 + 3)
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
