"""torch.compile: whatever enters, nothing compiles once an engine is there."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

import gfnet
from gfnet import runtimes

SIZES = {"img_size": 8, "patch_size": 2, "embed_dim": 8, "num_classes": 4}
"""As in test_runtimes.py: Inductor then has most of these graphs on disk."""


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """A runtime sets the threads of its process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def with_exits(exits: int) -> gfnet.GFNet:
    """One block a stage, the last one's exit included."""
    torch.manual_seed(exits)
    blocks = tuple(range(exits - 1))
    model = gfnet.create("gfnet-distil-dynn", depth=exits, exit_blocks=blocks, **SIZES)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


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


def test_nothing_compiles_after_the_engine_is_made() -> None:
    """Two graphs a stage, for any number and layout of images, in either mode, model after model.

    Seven stages have 14 graphs: more than torch keeps of one function's.
    """
    counters.clear()
    engines = []
    for exits in (4, 3):
        model = with_exits(exits)
        engines.append((model, gfnet.runtime("compile", model, threads=1)))
    made = counters["stats"]["unique_graphs"]
    assert made == 2 * (4 + 3)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for model, engine in engines:
            for count in (1, 2, 7, 64, 1):
                for images in layouts(count):
                    answers_alike(model, engine, images)
                with torch.inference_mode():
                    for images in layouts(count):
                        answers_alike(model, engine, images)
    assert counters["stats"]["unique_graphs"] == made
    assert not counters["graph_break"]


def test_no_images_have_no_answers() -> None:
    """As of the model itself."""
    engine = gfnet.runtime("compile", with_exits(3), threads=1)
    assert engine.forward_exits(torch.randn(0, 3, 8, 8)).logits.shape == (3, 0, 4)


def test_a_missing_compiler_is_told_before_anything_compiles(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With what to do, and as the error that skips a cell."""
    model = with_exits(3)
    with monkeypatch.context() as patch:
        patch.setenv("CXX", "no-such-compiler")
        with pytest.raises(gfnet.UnavailableError, match="no-such-compiler is not found: install"):
            gfnet.runtime("compile", model)
    with monkeypatch.context() as patch:
        patch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
        with pytest.raises(gfnet.UnavailableError, match=r"has no Python\.h: install them"):
            gfnet.runtime("compile", model)
    monkeypatch.setattr(runtimes, "find_spec", lambda _: None)
    assert runtimes.unavailable("compile", "float32", "cpu") is None
    assert "triton" in (runtimes.unavailable("compile", "float16", "cuda") or "")
