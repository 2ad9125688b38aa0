"""Enables some of a model's trained exits: its metadata, and the tensors that remain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from gfnet.config import EXIT_PARTS, ConfigError, ModelConfig
from gfnet.metadata import Metadata
from gfnet.tensors import CheckpointError

T = TypeVar("T")


def with_exits(metadata: Metadata, exit_blocks: tuple[int, ...] | None, name: str) -> Metadata:
    """Return the metadata with only some of the trained exits enabled.

    Raises:
        CheckpointError: an exit was not trained, or no such model can have it.
    """
    trained = metadata.config.exit_blocks
    if exit_blocks is None or exit_blocks == trained:
        return metadata
    try:
        config = replace(metadata.config, exit_blocks=exit_blocks)
    except ConfigError as err:
        raise CheckpointError(f"{name}: {err}") from err
    untrained = sorted(set(exit_blocks) - set(trained))
    if untrained and not config.has_exit_at_every_block:
        raise CheckpointError(
            f"{name}: exit_blocks {list(exit_blocks)} enables {untrained}, after which it has no"
            f" exit; it has exits after blocks {list(trained)}"
        )
    if untrained and metadata.training:
        raise CheckpointError(
            f"{name}: exit_blocks {list(exit_blocks)} enables {untrained}, whose heads and gates"
            f" were not trained; trained: {list(trained)}"
        )
    kept = dict(zip(trained, metadata.thresholds, strict=False))
    thresholds = tuple(kept[b] for b in exit_blocks) if set(exit_blocks) <= set(kept) else ()
    return replace(metadata, config=config, thresholds=thresholds)


def tensors_with_exits(
    tensors: Mapping[str, T], trained: ModelConfig, chosen: ModelConfig
) -> dict[str, T]:
    """Return a model's tensors under the names that they have with fewer exits enabled.

    Where heads and gates are numbered in the order of the exits, those of the other exits are left
    out.

    Args:
        tensors: by the names of `trained`.
        trained: sizes with all exits.
        chosen: sizes with those that are enabled, as `with_exits` returns them.
    """
    numbers = {
        str(number): chosen.exit_numbers.get(block)
        for block, number in trained.exit_numbers.items()
    }
    kept = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        number, _, which = rest.partition(".")
        if part not in EXIT_PARTS:
            kept[name] = tensor
        elif numbers[number] is not None:
            kept[f"{part}.{numbers[number]}.{which}"] = tensor
    return kept
