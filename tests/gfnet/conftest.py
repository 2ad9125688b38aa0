"""Models and oracle files that several tests use."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

import gfnet

DATA = Path(__file__).parents[1] / "data"


class Oracle(NamedTuple):
    """One oracle file: a model with its weights, and the tensors beside them."""

    model: gfnet.GFNet
    parameters: int
    thresholds: list[float]
    tensors: dict[str, Tensor]


def read_oracle(name: str) -> Oracle:
    """Build the model that an oracle file describes and load its weights."""
    with safe_open(DATA / f"{name}.safetensors", "pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    sizes = json.loads(metadata["config"])
    family, thresholds = sizes.pop("variant").replace("_", "-"), sizes.pop("thresholds", [])
    model = gfnet.create(family, **sizes)
    state = {
        key.removeprefix("model."): t for key, t in tensors.items() if key.startswith("model.")
    }
    model.load_state_dict(state)
    rest = {key: t for key, t in tensors.items() if not key.startswith("model.")}
    return Oracle(model, int(metadata["parameters"]), thresholds, rest)


@pytest.fixture
def oracle() -> Callable[[str], Oracle]:
    """Read an oracle file by name."""
    return read_oracle


@pytest.fixture
def lively() -> Callable[..., gfnet.GFNet]:
    """A small early-exit model whose images leave at different exits."""

    def make(seed: int = 0, family: str = "gfnet-distil-dynn", **sizes: Any) -> gfnet.GFNet:
        torch.manual_seed(seed)
        defaults: dict[str, Any] = {"img_size": 8, "num_classes": 4}
        if family == "gfnet-h":
            stages = {"embed_dims": (4, 6, 5, 8), "depths": (1, 2, 1, 1)}
            defaults = defaults | {"img_size": 32} | stages
        else:
            defaults = defaults | {"patch_size": 2, "embed_dim": 6, "depth": 5}
        model = gfnet.create(family, **(defaults | sizes))
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        for gate in model.get_submodule("gates").children():
            torch.nn.init.normal_(gate.get_submodule("linear").get_parameter("weight"), std=3)
        return model

    return make
