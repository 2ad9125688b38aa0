"""Checkpoints: weights in safetensors, and all that an evaluation needs in its JSON header.

A header is read and verified without torch. A `.pth` file is read with `weights_only=True`, so
that no pickle runs code; what it lacks is inferred from the shapes of its tensors.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gfnet.atomic import replace_file
from gfnet.config import ConfigError, ModelConfig, Shape
from gfnet.infer import infer_config
from gfnet.metadata import Metadata

if TYPE_CHECKING:
    from torch import Tensor

    from gfnet.model import GFNet

METADATA_KEY = "gfnet"
FLOATING = {"F64", "F32", "F16", "BF16"}
_LISTED = 6  # names shown of a long list


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file, and what to do."""


@dataclass(frozen=True)
class CheckpointInfo:
    """A checkpoint's header, verified against the tensors it names.

    Attributes:
        path: where it was read.
        sha256: digest of the whole file.
        size_bytes: size of the file.
        metadata: what it says of itself, or what its shapes say.
    """

    path: Path
    sha256: str
    size_bytes: int
    metadata: Metadata


def inspect_checkpoint(path: str | Path) -> CheckpointInfo:
    """Read and verify a checkpoint's header; torch is loaded only for a `.pth` file.

    Raises:
        CheckpointError: the file is missing, truncated, not a checkpoint, of another kind of
            model, or its tensors are not those that its sizes ask for.
    """
    data = _read(Path(path))
    metadata, _ = _metadata_of(data, str(path))
    return CheckpointInfo(Path(path), hashlib.sha256(data).hexdigest(), len(data), metadata)


def load_checkpoint(
    source: str | Path | bytes, *, exit_blocks: tuple[int, ...] | None = None
) -> GFNet:
    """Load a model, in eval mode, float32; `model.metadata` holds what the file says.

    Args:
        source: a path, or the bytes of such a file.
        exit_blocks: enable these exits only; they must be among those that were trained.

    Raises:
        CheckpointError: as `inspect_checkpoint`, or the exits cannot be enabled.
    """
    from gfnet.model import build  # only loading needs torch

    data = source if isinstance(source, bytes) else _read(Path(source))
    name = "checkpoint" if isinstance(source, bytes) else str(source)
    metadata, state = _metadata_of(data, name)
    metadata = with_exits(metadata, exit_blocks, name)
    model = build(metadata.config)
    model.load_state_dict(state if state is not None else _tensors(data))
    model.metadata = metadata
    return model


def with_exits(metadata: Metadata, exit_blocks: tuple[int, ...] | None, name: str) -> Metadata:
    """The metadata with only some of the trained exits enabled.

    Raises:
        CheckpointError: an exit that was not trained, or that no such model can have.
    """
    trained = metadata.config.exit_blocks
    if exit_blocks is None or exit_blocks == trained:
        return metadata
    try:
        config = replace(metadata.config, exit_blocks=exit_blocks)
    except ConfigError as err:
        raise CheckpointError(f"{name}: {err}") from err
    if metadata.training and (untrained := sorted(set(exit_blocks) - set(trained))):
        raise CheckpointError(
            f"{name}: exit_blocks {list(exit_blocks)} enables {untrained}, whose heads and gates"
            f" were not trained; trained: {list(trained)}"
        )
    kept = dict(zip(trained, metadata.thresholds, strict=False))
    thresholds = tuple(kept[b] for b in exit_blocks) if set(exit_blocks) <= set(kept) else ()
    return replace(metadata, config=config, thresholds=thresholds)


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
        path: where; a file that is there is replaced whole.
        metadata: what to say beside the weights; default: what the model was loaded with.
        weights: torch's name of the type on disk, such as `float16`; a model is loaded as float32.
    """
    import torch
    from safetensors.torch import save  # only saving needs torch

    metadata = metadata or model.metadata
    state = {
        name: tensor.detach().to("cpu", getattr(torch, weights)).contiguous()
        for name, tensor in model.state_dict().items()
    }
    data = save(state, {METADATA_KEY: json.dumps(metadata.to_json())})
    replace_file(Path(path), data)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as err:
        raise CheckpointError(f"{path}: there is no such file") from err
    except OSError as err:
        raise CheckpointError(f"{path}: cannot be read: {err.strerror}") from err
    except ValueError as err:  # a NUL in the path
        raise CheckpointError(f"{str(path)!r}: cannot be read: {err}") from err


def _metadata_of(data: bytes, name: str) -> tuple[Metadata, dict[str, Tensor] | None]:
    """Metadata of a file's bytes, and its tensors where reading the one took the other."""
    try:
        if data[:4] == b"PK\x03\x04" or data[:2] == b"\x80\x02":  # torch.save: zip, or bare pickle
            state = _torch_tensors(data)
            shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
            metadata = Metadata.default(infer_config(shapes))
        else:
            state = None
            text, shapes = _safetensors_header(data)
            if METADATA_KEY in text:
                metadata = Metadata.from_json(_json(text[METADATA_KEY]))
            else:
                metadata = Metadata.default(infer_config(shapes))
        _verify(shapes, metadata.config)
    except ValueError as err:
        raise CheckpointError(f"{name}: {err}") from err
    return metadata, state


def _safetensors_header(data: bytes) -> tuple[dict[str, str], dict[str, Shape]]:
    """The text metadata, and the shape of each tensor; the tensors' extent is checked."""
    if len(data) < 8:  # noqa: PLR2004 - the length of the header is a 64-bit number
        raise ValueError(f"it holds {len(data)} bytes: truncated, or not a checkpoint")
    (length,) = struct.unpack("<Q", data[:8])
    if data[8:9] != b"{":
        raise ValueError("it is neither a safetensors file nor one that torch.save wrote")
    if length > len(data) - 8:
        raise ValueError(
            f"it is truncated: its header says {length} bytes, the file holds {len(data) - 8}"
        )
    header = _json(data[8 : 8 + length])
    text = header.pop("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(text, dict) or not all(isinstance(value, str) for value in text.values()):
        raise ValueError("its header is not that of a safetensors file")
    if odd := sorted(key for key, entry in header.items() if not _is_entry(entry)):
        raise ValueError(f"its header is not that of a safetensors file: {_listed(odd)}")
    shapes = {key: tuple(entry["shape"]) for key, entry in header.items()}
    kinds = {key: entry["dtype"] for key, entry in header.items()}
    end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if 8 + length + end != len(data):
        raise ValueError(
            f"it is truncated: its header says {8 + length + end} bytes, the file holds {len(data)}"
        )
    if odd := sorted(key for key, kind in kinds.items() if kind not in FLOATING):
        raise ValueError(f"these tensors are not floating-point numbers: {_listed(odd)}")
    return text, shapes


def _json(text: str | bytes) -> Any:
    """What a JSON text says; nesting without end is an error like any other."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as err:
        raise ValueError(f"its header is not that of a safetensors file: {err}") from err


def _is_entry(entry: object) -> bool:
    """Whether a header's entry describes a tensor: its type, its shape, where its bytes lie."""
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str):
        return False
    shape, extent = entry.get("shape"), entry.get("data_offsets")
    if not isinstance(shape, list) or not isinstance(extent, list):
        return False
    numbers = [*shape, *extent]
    return len(extent) == 2 and all(type(n) is int and 0 <= n < 2**63 for n in numbers)  # noqa: PLR2004


def _tensors(data: bytes) -> dict[str, Tensor]:
    from safetensors import SafetensorError  # only loading needs it
    from safetensors.torch import load

    try:
        return load(data)
    except SafetensorError as err:
        raise CheckpointError(f"the checkpoint's tensors cannot be read: {err}") from err


def _torch_tensors(data: bytes) -> dict[str, Tensor]:
    """The state dict of what torch.save wrote, without running anything in it."""
    import io
    import pickle  # for the name of the error alone

    import torch

    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as err:
        raise ValueError(
            "it holds a pickle of more than tensors, which could run code; it was not opened."
            " Save its state_dict() alone, or convert it to safetensors where you trust it"
        ) from err
    except Exception as err:  # a broken zip or pickle raises whatever its reader does
        raise ValueError(f"torch cannot read it (truncated?): {err}") from err
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and torch.is_tensor(value) for key, value in content.items()
    ):
        raise ValueError(
            "it holds no state dict: names and tensors, or those under the key 'model'"
        )
    odd = sorted(
        key
        for key, tensor in content.items()
        if tensor.layout != torch.strided or not tensor.is_floating_point()
    )
    if odd:
        raise ValueError(f"these tensors are not dense floating-point numbers: {_listed(odd)}")
    return content


def _verify(shapes: Mapping[str, Shape], config: ModelConfig) -> None:
    """Hold the tensors to the sizes: no key missing, none extra, each of its shape."""
    expected = config.state_shapes()
    missing = sorted(expected.keys() - shapes.keys())
    extra = sorted(shapes.keys() - expected.keys())
    wrong = [
        f"{key} {list(shapes[key])}, expected {list(shape)}"
        for key, shape in expected.items()
        if key in shapes and shapes[key] != shape
    ]
    if missing or extra or wrong:
        found = (("missing", missing), ("extra", extra), ("of another shape", wrong))
        lists = "; ".join(f"{what}: {_listed(names)}" for what, names in found if names)
        raise ValueError(f"it is not a {config.family} of its own sizes: {lists}")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
