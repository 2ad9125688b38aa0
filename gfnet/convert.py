"""Converts existing weights to models of this package: unwraps, renames and verifies them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from gfnet.checkpoint import METADATA_KEY, verify
from gfnet.config import ConfigError, ModelConfig
from gfnet.exit_choice import tensors_with_exits, with_exits
from gfnet.finite import check_finite, weights_of_state
from gfnet.infer import infer_config
from gfnet.interpolate import at_resolution
from gfnet.metadata import Metadata
from gfnet.mistaken import part_hint
from gfnet.model import GFNet, build
from gfnet.preprocess import Preprocessing
from gfnet.tensors import (
    FIRST_FILTERS,
    PREFIXES,
    WRAPPERS,
    CheckpointError,
    check_state,
    listed,
    parse_json,
    read_bytes,
    read_tensors,
)

_COMPILED = "_orig_mod."  # of a part of a model that torch.compile compiled by itself
_COUNTER = "n_averaged"  # of torch.optim.swa_utils.AveragedModel


@dataclass(frozen=True)
class ImportChanges:
    """Requested properties of the imported model, beyond its weights.

    Attributes:
        img_size: side of its images, pixels; None: as it was trained.
        filter_grid: grid of its tokens; (): as it was trained, or at another image size the factor
            pair nearest to square.
        exit_blocks: exits that were trained; None if the family has none, or the file names them.
    """

    img_size: int | None = None
    filter_grid: tuple[int, ...] = ()
    exit_blocks: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Converted:
    """A model made from existing weights.

    Attributes:
        model: with the metadata of its file, or those with which its family was published.
        notes: what was done to names and tensors, one sentence each.
    """

    model: GFNet
    notes: tuple[str, ...]


def convert(path: str | Path, changes: ImportChanges) -> Converted:
    """Make a model from a file's tensors; no code that the file may hold is run.

    Args:
        path: a state dict that torch.save wrote, bare or under one of `WRAPPERS`, of which the
            first that is found counts; or a safetensors file, also one of this package, to
            resample it.
        changes: to make beyond the weights.

    Raises:
        CheckpointError: the file cannot be read, or is not a Global Filter Network; its tensors do
            not match its sizes, or have values that are not finite; or the changes are impossible.
            The message names the file and what to do.
    """
    name = str(path)
    data = read_bytes(Path(path))
    try:
        content, text = read_tensors(data)
        state, notes = _unwrap(content, len(data))
        if METADATA_KEY in text:
            metadata = Metadata.from_json(parse_json(text[METADATA_KEY]))
            notes.append("its metadata is kept, except where options replace it")
        else:
            metadata = _published(_infer(state, changes))
        config = metadata.config
        verify({key: tuple(tensor.shape) for key, tensor in state.items()}, config)
        check_finite(weights_of_state(state))
        state, resized = _resize(state, config, changes)
    except ValueError as err:  # ConfigError is one
        raise CheckpointError(f"{name}: {err}{part_hint(name)}") from err
    metadata = with_exits(metadata, changes.exit_blocks, name)
    state = tensors_with_exits(state, config, metadata.config)
    if resized != config:
        notes.append(_resampled(config, resized))
        try:
            metadata = _at_size(metadata, resized, is_own=METADATA_KEY in text)
        except ValueError as err:
            raise CheckpointError(f"{name}: {err}") from err
    model = build(metadata.config)
    model.load_state_dict(state)
    model.metadata = metadata
    return Converted(model, tuple(notes))


def _published(config: ModelConfig) -> Metadata:
    """Return the preprocessing of the published evaluation.

    It is ImageNet's, with a margin around the crop for all families without tokens: 256 to 224. The
    crop fraction 0.9 in the published configuration is not what its evaluation uses.
    """
    metadata = Metadata.default(config)
    if config.has_tokens:
        return metadata
    side = config.img_size * 256 // 224
    return replace(metadata, preprocessing=Preprocessing(side, config.img_size))


def _at_size(metadata: Metadata, resized: ModelConfig, *, is_own: bool) -> Metadata:
    """Return the metadata for another image size; the margin in a file of our own keeps its ratio.

    For any other file, the margin is that of the published evaluation at the new size.
    """
    config = replace(resized, exit_blocks=metadata.config.exit_blocks)
    if not is_own:
        return _published(config)
    before = metadata.preprocessing
    side = before.size * config.img_size // before.crop
    preprocessing = replace(before, size=side, crop=config.img_size)
    return replace(metadata, config=config, preprocessing=preprocessing)


def _unwrap(content: Any, size_bytes: int) -> tuple[dict[str, Tensor], list[str]]:
    """Return the state dict in a file's content, with the names of this package, and notes."""
    notes = []
    while wrapper := _wrapper(content):
        others = sorted(str(key) for key in content if key != wrapper)
        left = f"; left out: {listed(others)}" if others else ""
        notes.append(f"taken from the key {wrapper!r}{left}")
        content = content[wrapper]
    while prefix := _prefix(content):
        notes.append(f"the prefix {prefix!r} was removed from all names")
        content = {key.removeprefix(prefix): value for key, value in content.items()}
    if isinstance(content, dict) and _COUNTER in content:
        notes.append(f"left out: {_COUNTER}, the counter of an averaged model")
        content = {key: value for key, value in content.items() if key != _COUNTER}
    if isinstance(content, dict) and all(isinstance(key, str) for key in content):
        content = _own_names(content, notes)
    return check_state(content, size_bytes), notes


def _wrapper(content: Any) -> str | None:
    """Return the key that holds the state dict, if it is not bare."""
    found = content if isinstance(content, dict) else {}
    return next((key for key in WRAPPERS if isinstance(found.get(key), dict)), None)


def _prefix(content: Any) -> str | None:
    """Return the prefix that all names share, if any."""
    names = [key for key in content if key != _COUNTER] if isinstance(content, dict) else []
    is_shared = (each for each in PREFIXES if all(str(key).startswith(each) for key in names))
    return next(is_shared, None) if names else None


def _own_names(content: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """Return the tensors of the one model in a state dict, with the names that it has itself.

    Raises:
        ValueError: it holds several models.
    """
    inside = {key: key.replace(f".{_COMPILED}", ".") for key in content}
    if any(f".{_COMPILED}" in key for key in content) and len({*inside.values()}) == len(inside):
        notes.append(f"{_COMPILED!r} was removed from inside the names")
        content = {inside[key]: value for key, value in content.items()}
    prefixes = [
        key.removesuffix(name)
        for key in content
        for name in FIRST_FILTERS
        if key.endswith(f".{name}")
    ]
    if not prefixes or any(name in content for name in FIRST_FILTERS):
        return content
    if len(prefixes) > 1:
        raise ValueError(
            f"it holds several models, under {listed(sorted(prefixes))}: save the state_dict() of"
            " one of them"
        )
    (prefix,) = prefixes
    others = sorted(key for key in content if not key.startswith(prefix))
    left = f"; left out: {listed(others)}" if others else ""
    notes.append(f"taken from the names that begin with {prefix!r}{left}")
    own = ((key, value) for key, value in content.items() if key.startswith(prefix))
    return {key.removeprefix(prefix): value for key, value in own}


def _infer(state: dict[str, Tensor], changes: ImportChanges) -> ModelConfig:
    """Infer the sizes; the trained exits, which no shape shows, come from `changes`."""
    exits = changes.exit_blocks
    config = infer_config({key: tuple(tensor.shape) for key, tensor in state.items()}, exits)
    if not config.has_exit_at_every_block:
        if config.has_exits:
            return config
        if exits is not None:
            raise ConfigError(f"it is a {config.family} model without exits: it has no early exits")
        return config
    if exits is None:
        raise ConfigError(
            f"it has heads and gates after each of the blocks 0..{config.depth - 2}, and nothing in"
            " it says which were trained; name them, for example --exit-blocks 7,9,10"
        )
    return ModelConfig(**(vars(config) | {"exit_blocks": exits}))


def _resize(
    state: dict[str, Tensor], config: ModelConfig, changes: ImportChanges
) -> tuple[dict[str, Tensor], ModelConfig]:
    """Return weights and sizes at the requested image size."""
    grid = changes.filter_grid
    if changes.img_size in (None, config.img_size):
        if grid in ((), config.filter_grid):
            return state, config
        raise ConfigError(
            f"its filters have the grid {_grid(config)}, which follows from their shape;"
            f" {grid[0]}x{grid[1]} is possible only at another image size"
        )
    return at_resolution(state, config, changes.img_size or 0, grid)


def _resampled(before: ModelConfig, after: ModelConfig) -> str:
    if after.patches == before.patches and after.filter_grid == before.filter_grid:
        return (
            f"of an image's {after.img_size} px per side, {after.patches} patches of"
            f" {after.patch_size} px are read, as a convolution without padding does; its weights"
            " are unchanged"
        )
    mixed = (
        " (an approximation, since its grid mixes tokens with patches: expect a low accuracy before"
        " training)"
        if after.has_tokens
        else ""
    )
    return (
        f"positions and filters were resampled from {before.img_size} px, grid {_grid(before)}, to"
        f" {after.img_size} px, grid {_grid(after)}{mixed}; fine-tune it for its best accuracy"
    )


def _grid(config: ModelConfig) -> str:
    return ", ".join(f"{rows}x{columns}" for rows, columns in (x.grid for x in config.levels))
