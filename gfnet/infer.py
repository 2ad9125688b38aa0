"""Infers family and sizes of a model from the names and shapes of its tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping

from gfnet.config import MAX_DEPTH, STAGES, ModelConfig, Shape

_OF_STAGES = ("patch_embed", "blocks")


def infer_config(
    shapes: Mapping[str, Shape], exit_blocks: tuple[int, ...] | None = None
) -> ModelConfig:
    """Infer the configuration, which a state dict does not contain.

    The grid follows from a filter's shape: a is its first axis, b = N / a. The side is that of all
    patches. If every block has a head, each counts as an exit, since nothing says which were
    enabled.

    Args:
        shapes: of each tensor.
        exit_blocks: the blocks of exits that are numbered in their order.

    Raises:
        ValueError: these are not the tensors of a Global Filter Network.
    """
    if any(key.startswith(("blocks.0.0.", "patch_embed.0.")) for key in shapes):
        return _hierarchical(shapes, exit_blocks)
    filter_shape = _shape(shapes, "blocks.0.filter.complex_weight", 4)
    patch = _shape(shapes, "patch_embed.proj.weight", 4)
    tokens = _shape(shapes, "pos_embed", 3)[1]
    has_tokens = "cls_token" in shapes
    has_exits, has_gates = _exits(shapes)
    depth = len({key.split(".")[1] for key in shapes if _is_block(key)})
    side = math.isqrt(max(tokens - (2 if has_tokens else 0), 0))
    if depth > MAX_DEPTH:
        raise ValueError(f"it is not a Global Filter Network: it has {depth} blocks")
    family = "gfnet" + ("-distil" if has_tokens else "") + ("-dynn" if has_exits else "")
    exits: tuple[int, ...] = ()
    if has_exits:
        every = tuple(range(depth - 1))
        exits = every if has_tokens else _numbered_exits(shapes, depth, exit_blocks)
    return ModelConfig(
        family,
        img_size=side * patch[2],
        patch_size=patch[2],
        embed_dim=patch[0],
        depth=depth,
        num_classes=_shape(shapes, "head.weight", 2)[0],
        filter_grid=(filter_shape[0], tokens // filter_shape[0]),
        exit_blocks=exits,
        has_gates=has_gates,
    )


def _hierarchical(shapes: Mapping[str, Shape], exit_blocks: tuple[int, ...] | None) -> ModelConfig:
    """Infer the configuration of a hierarchical model.

    Raises:
        ValueError: a stage is missing, or its exits are not named.
    """
    missing = [
        f"{part}.{stage}"
        for stage in range(STAGES)
        for part in _OF_STAGES
        if not any(key.startswith(f"{part}.{stage}.") for key in shapes)
    ]
    if missing:
        raise ValueError(
            f"it is a hierarchical GFNet, but of its {STAGES} stages (0 to {STAGES - 1}),"
            f" {', '.join(missing)} are missing: save the state_dict() of the whole model"
        )
    names = [key.split(".") for key in shapes if key.startswith("blocks.")]
    depths = tuple(len({n[2] for n in names if n[1] == str(stage)}) for stage in range(STAGES))
    if sum(depths) > MAX_DEPTH:
        raise ValueError(f"it is not a Global Filter Network: it has {sum(depths)} blocks")
    widths = (_shape(shapes, f"patch_embed.{s}.proj.weight", 4)[0] for s in range(STAGES))
    side = math.isqrt(_shape(shapes, "pos_embed", 3)[1])
    has_exits, has_gates = _exits(shapes)
    return ModelConfig(
        "gfnet-h",
        img_size=side * _shape(shapes, "patch_embed.0.proj.weight", 4)[2],
        num_classes=_shape(shapes, "head.weight", 2)[0],
        exit_blocks=_numbered_exits(shapes, sum(depths), exit_blocks) if has_exits else (),
        embed_dims=tuple(widths),
        depths=depths,
        has_gates=has_gates,
    )


def _exits(shapes: Mapping[str, Shape]) -> tuple[bool, bool]:
    """Return whether there are exits, and whether these have gates; without exits the latter is so.

    Raises:
        ValueError: some exits have a gate and others have none.
    """
    heads, gates = _count(shapes, "intermediate_heads"), _count(shapes, "gates")
    if gates in (0, heads):
        return heads > 0, gates == heads
    held = f"{gates} gates" if gates > 1 else "1 gate"
    raise ValueError(
        f"it has heads for {heads} exits, and {held}: each exit needs a head"
        " (intermediate_heads.K), and either each or none a gate (gates.K.linear)"
    )


def _numbered_exits(
    shapes: Mapping[str, Shape], depth: int, exit_blocks: tuple[int, ...] | None
) -> tuple[int, ...]:
    """Return the blocks of exits that are numbered in their order, which no shape shows.

    Raises:
        ValueError: they are not given, or not as many as the file has.
    """
    count = _count(shapes, "intermediate_heads")
    if exit_blocks is None:
        # The published ones follow every second block from 3, or each.
        usual = range(3, 2 * count + 2, 2) if 2 * count + 1 < depth - 1 else range(count)
        raise ValueError(
            f"it has {count} exits, numbered in their order, and nothing in it says after which"
            " blocks they are; name them, for example `gfjobs import FILE --exit-blocks"
            f" {','.join(map(str, usual))}`"
        )
    if len(exit_blocks) != count:
        raise ValueError(
            f"it has {count} exits, but {len(exit_blocks)} blocks are named for them"
            f" ({','.join(map(str, exit_blocks))}): name the block of each, in ascending order"
        )
    return exit_blocks


def _count(shapes: Mapping[str, Shape], part: str) -> int:
    """Return how many numbered modules of a part there are."""
    names = (key.split(".") for key in shapes if key.startswith(f"{part}."))
    return len({name[1] for name in names})


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
