"""The one interface of all engines; eager torch is the reference."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import gfnet


def test_torch_runs_the_model_itself(lively: Callable) -> None:
    """The reference runtime gives the model's own answers, in eval mode, with its threads."""
    model = lively(exit_blocks=(1, 2)).train()
    before = torch.get_num_threads()
    try:
        runtime = gfnet.runtime("torch", model, threads=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    images = torch.randn(2, 3, 8, 8)
    assert not model.training
    assert torch.equal(runtime(images), model(images))
    assert torch.equal(runtime.route(images, 0.5).logits, model.route(images, 0.5).logits)
    assert torch.equal(runtime.forward_exits(images).logits, model.forward_exits(images).logits)


def test_unknown_engines_and_precisions(lively: Callable) -> None:
    """Both name what is known."""
    with pytest.raises(ValueError, match="runtime 'tensorrt' is unknown; known: torch"):
        gfnet.runtime("tensorrt", lively())
    with pytest.raises(ValueError, match="precision 'int8' is unknown; known: float32"):
        gfnet.runtime("torch", lively(), precision="int8")
