"""Checkpoints: weights in safetensors, with all that an evaluation needs in the JSON header.

A header is read and verified without torch. A `.pth` file is read with `weights_only=True`, so
that no pickle runs code; its missing metadata is inferred from the shapes of its tensors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gfnet.atomic import replace_file
from gfnet.config import ModelConfig, Shape
from gfnet.exit_choice import tensors_with_exits, with_exits
from gfnet.finite import check_finite, weights_of_file, weights_of_state
from gfnet.infer import infer_config
from gfnet.metadata import Metadata
from gfnet.mistaken import part_hint
from gfnet.tensors import (
    Buffer,
    CheckpointError,
    is_torch,
    listed,
    parse_json,
    read_bytes,
    read_header,
    safetensors_header,
    safetensors_tensors,
    safetensors_views,
    torch_tensors,
)

if TYPE_CHECKING:
    from torch import Tensor

    from gfnet.model import GFNet

METADATA_KEY = "gfnet"


@dataclass(frozen=True)
class CheckpointInfo:
    """A checkpoint's header, verified against the tensors it names.

    Attributes:
        path: the file.
        sha256: digest of the whole file.
        size_bytes: size of the file.
        metadata: as the file has it, or inferred from its shapes.
    """

    path: Path
    sha256: str
    size_bytes: int
    metadata: Metadata


def inspect_checkpoint(path: str | Path, sha256: str | None = None) -> CheckpointInfo:
    """Read and verify a checkpoint; torch is loaded only for a `.pth` file.

    Args:
        path: the file.
        sha256: its digest, if the file is known not to have changed since it was verified; of a
            safetensors file, only the header is then read.

    Raises:
        CheckpointError: the file is missing, truncated, not a checkpoint, or of another kind of
            model; or its tensors do not match its sizes, or have values that are not finite.
    """
    if sha256 is not None:
        header, size_bytes = read_header(Path(path))
        if not is_torch(header):
            metadata, _ = _metadata_of(header, str(path), size_bytes)
            return CheckpointInfo(Path(path), sha256, size_bytes, metadata)
    data = read_bytes(Path(path))
    metadata, _ = _metadata_of(data, str(path))
    return CheckpointInfo(Path(path), hashlib.sha256(data).hexdigest(), len(data), metadata)


def load_checkpoint(
    source: str | Path | Buffer, *, exit_blocks: tuple[int, ...] | None = None
) -> GFNet:
    """Load a model, in eval mode, float32; `model.metadata` holds the file's metadata.

    Args:
        source: a path, or the bytes of a checkpoint.
        exit_blocks: enable only these exits, which must be among the trained ones.

    Raises:
        CheckpointError: as `inspect_checkpoint`, or the exits cannot be enabled.
    """
    from gfnet.model import build_unfilled  # only loading needs torch

    data: Buffer
    if isinstance(source, (bytes, memoryview)):
        data, name = source, "checkpoint"
    else:
        data, name = read_bytes(Path(source)), str(source)
    metadata, state = _metadata_of(data, name)
    state = safetensors_views(data) if state is None else state
    state, metadata = _with_exits(state, metadata, exit_blocks, name)
    model = build_unfilled(metadata.config)
    model.load_state_dict(state)
    model.metadata = metadata
    return model


def save_checkpoint(
    model: GFNet,
    path: str | Path,
    metadata: Metadata | None = None,
    *,
    weights: str = "float32",
) -> None:
    """Write a model as safetensors, in one atomic step.

    Args:
        model: what to save.
        path: where to write; an existing file is replaced whole.
        metadata: written with the weights; default: that with which the model was loaded.
        weights: torch's name of the type on disk, such as `float16`; a model is loaded as float32.

    Raises:
        CheckpointError: weights are not finite, or too large for the type on disk. Nothing is
            written then.
        OSError: it cannot be written; an existing file is kept.
    """
    import torch
    from safetensors.torch import save  # only saving needs torch

    metadata = metadata or model.metadata
    state = {
        name: tensor.detach().to("cpu", getattr(torch, weights)).contiguous()
        for name, tensor in model.state_dict().items()
    }
    try:
        check_finite(weights_of_state(state))
    except ValueError as err:
        raise CheckpointError(f"{path} was not written: as {weights}, {err}") from err
    data = save(state, {METADATA_KEY: json.dumps(metadata.to_json())})
    replace_file(Path(path), data)


def save_thresholds(
    source: str | Path,
    path: str | Path,
    thresholds: Sequence[float],
    *,
    exit_blocks: tuple[int, ...] | None = None,
) -> None:
    """Write a copy of a checkpoint with new default thresholds; its weights stay bit for bit.

    Args:
        source: the checkpoint.
        path: where to write. An existing file, the source included, is replaced only if it has
            these weights and exits.
        thresholds: one per gate, from 0 to 1, or +inf: no image exits there.
        exit_blocks: enable only these exits, as `load_checkpoint` does.

    Raises:
        CheckpointError: the source cannot be used, the exits cannot be enabled, the thresholds
            are not one per gate, or `path` has another file.
    """
    from safetensors.torch import save  # only saving needs torch

    metadata, tensors = _content(Path(source))
    tensors, metadata = _with_exits(tensors, metadata, exit_blocks, str(source))
    if Path(path).exists():
        _check_replaceable(Path(path), metadata.config, tensors)
    try:
        fields = replace(metadata, thresholds=tuple(thresholds)).to_json()
        metadata = Metadata.from_json(fields)
    except ValueError as err:
        raise CheckpointError(f"{source}: {err}") from err
    replace_file(Path(path), save(tensors, {METADATA_KEY: json.dumps(metadata.to_json())}))


def _check_replaceable(path: Path, config: ModelConfig, tensors: Mapping[str, Tensor]) -> None:
    """Check that replacing a file loses nothing but thresholds.

    Raises:
        CheckpointError: it is not a checkpoint of these sizes, exits and weights.
    """
    try:
        there, weights = _content(path)
        is_same = there.config == config and all(
            weights[name].equal(tensor) for name, tensor in tensors.items()
        )
    except CheckpointError:
        is_same = False
    if not is_same:
        raise CheckpointError(
            f"{path} already exists, and is not a checkpoint with these weights and exits; choose"
            " another name, or remove it first"
        )


def _with_exits(
    tensors: dict[str, Tensor], metadata: Metadata, exit_blocks: tuple[int, ...] | None, name: str
) -> tuple[dict[str, Tensor], Metadata]:
    """Return tensors and metadata with only some of the trained exits enabled."""
    chosen = with_exits(metadata, exit_blocks, name)
    return tensors_with_exits(tensors, metadata.config, chosen.config), chosen


def _content(path: Path) -> tuple[Metadata, dict[str, Tensor]]:
    """Read metadata and tensors of a checkpoint, each tensor in the type it has in the file."""
    data = read_bytes(path)
    metadata, state = _metadata_of(data, str(path))
    return metadata, state if state is not None else safetensors_tensors(data)


def _metadata_of(
    data: Buffer, name: str, size_bytes: int | None = None
) -> tuple[Metadata, dict[str, Tensor] | None]:
    """Read the metadata from a file's bytes, and the tensors if the metadata required them.

    For a safetensors file, its header is enough, with the size of the whole file.
    """
    try:
        if is_torch(data):
            state = torch_tensors(data)
            shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
            metadata = Metadata.default(infer_config(shapes))
        else:
            state = None
            text, shapes = safetensors_header(data, size_bytes)
            if METADATA_KEY in text:
                metadata = Metadata.from_json(parse_json(text[METADATA_KEY]))
            else:
                metadata = Metadata.default(infer_config(shapes))
        verify(shapes, metadata.config)
        check_finite(weights_of_file(data) if state is None else weights_of_state(state))
    except ValueError as err:
        raise CheckpointError(f"{name}: {err}{part_hint(name)}") from err
    return metadata, state


def verify(shapes: Mapping[str, Shape], config: ModelConfig) -> None:
    """Check the tensors against the sizes: no key missing, none extra, every shape right.

    Raises:
        ValueError: names each tensor that does not match.
    """
    expected = config.state_shapes()
    missing = sorted(expected.keys() - shapes.keys())
    extra = sorted(shapes.keys() - expected.keys())
    wrong = [
        f"{key} {list(shapes[key])}, expected {list(shape)}"
        for key, shape in expected.items()
        if key in shapes and shapes[key] != shape
    ]
    if missing or extra or wrong:
        found = (("missing", missing), ("extra", extra), ("of wrong shape", wrong))
        lists = "; ".join(f"{what}: {listed(names)}" for what, names in found if names)
        raise ValueError(f"its tensors do not match a {config.family} of its sizes: {lists}")
