"""Infers family and sizes of a model from the names and shapes of its tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping

from gfnet.config import MAX_DEPTH, ModelConfig, Shape


def infer_config(shapes: Mapping[str, Shape]) -> ModelConfig:
    """Infer the configuration, which a state dict does not contain.

    The grid follows from a filter's shape: a is its first axis, b = N / a. Every gate that
    exists counts as an exit, since nothing says which were enabled.

    Raises:
        ValueError: these are not the tensors of a Global Filter Network.
    """
    filter_shape = _shape(shapes, "blocks.0.filter.complex_weight", 4)
    patch = _shape(shapes, "patch_embed.proj.weight", 4)
    tokens = _shape(shapes, "pos_embed", 3)[1]
    has_tokens = "cls_token" in shapes
    has_gates = any(key.startswith("gates.") for key in shapes)
    depth = len({key.split(".")[1] for key in shapes if _is_block(key)})
    side = math.isqrt(max(tokens - (2 if has_tokens else 0), 0))
    if depth > MAX_DEPTH:
        raise ValueError(f"it is not a Global Filter Network: it has {depth} blocks")
    family = "gfnet" + ("-distil" if has_tokens else "") + ("-dynn" if has_gates else "")
    return ModelConfig(
        family,
        img_size=side * patch[2],
        patch_size=patch[2],
        embed_dim=patch[0],
        depth=depth,
        num_classes=_shape(shapes, "head.weight", 2)[0],
        filter_grid=(filter_shape[0], tokens // filter_shape[0]),
        exit_blocks=tuple(range(depth - 1)) if has_gates else (),
    )


def _shape(shapes: Mapping[str, Shape], key: str, axes: int) -> Shape:
    if key not in shapes:
        found = ", ".join(sorted(shapes)[:4]) or "nothing"
        raise ValueError(
            f"it is not a Global Filter Network: it has no tensor {key} (it holds {found}, ...)"
        )
    if len(shapes[key]) != axes or min(shapes[key]) < 1:
        raise ValueError(f"it is not a Global Filter Network: {key} has shape {list(shapes[key])}")
    return shapes[key]


def _is_block(key: str) -> bool:
    name, _, rest = key.partition(".")
    return name == "blocks" and rest.split(".")[0].isdigit()
