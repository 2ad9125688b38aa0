"""Reads names, shapes and numbers from files of tensors, without running any code in them.

The header of a safetensors file is read without torch. What torch.save wrote is read with
`weights_only=True`, so that no pickle runs code.
"""

from __future__ import annotations

import json
import math
import pickle  # for the highest protocol and the name of an error
import re
import stat
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from gfnet.config import Shape
from gfnet.mistaken import describe_archive, describe_folder, describe_other

if TYPE_CHECKING:
    import zipfile

    from torch import Tensor

T = TypeVar("T")

Buffer = bytes | memoryview
"""The content of a file; a view is not copied."""

_ZIP = b"PK\x03\x04"
_PROTOCOLS = tuple(bytes([protocol]) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1))
_SAFE_PROTOCOL = 2
"""The pickle protocol that torch.save uses, and torch reads without running code."""

_TAR = slice(257, 262), b"ustar"
"""Position and text of the mark in a tar archive."""

_REFUSED = re.compile(r"[Uu]nsupported (?:global: )?GLOBAL (\S+)")
"""Finds in torch's error message what it refused to load."""

FLOATING = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Bytes per number, by the name of the type in a safetensors header."""

MAX_FILE_BYTES = 4 * 2**30
"""Far beyond any model; a larger file, such as /proc/kcore, is never read."""

WRAPPERS = (
    "model",
    "state_dict",
    "model_state_dict",
    "net",
    "model_ema",
    "state_dict_ema",
    "ema",
)
"""Keys under which training scripts save a state dict; if there are several, the first counts."""

PREFIXES = ("module.", "_orig_mod.")
"""Prefixes of names, from DistributedDataParallel or an averaged model, and from torch.compile."""

FIRST_FILTERS = ("blocks.0.filter.complex_weight", "blocks.0.0.filter.complex_weight")
"""Tensors of which each model has one; what precedes it in a file is a prefix of its names."""

_PREFIXED_FILTERS = tuple(f".{name}" for name in FIRST_FILTERS)

_LENGTH = struct.Struct("<Q")
"""Length of the header, with which a safetensors file begins."""

_MAX_HEADER_BYTES = 16 * 2**20
_MAX_AXES = 8
_LISTED = 6  # names shown from a long list
_SHOWN = 200  # characters shown of a name


class CheckpointError(ValueError):
    """Raised for a checkpoint that cannot be used; the message names the file and what to do."""


def read_bytes(path: Path) -> bytes:
    """Read all bytes of a file.

    Raises:
        CheckpointError: it cannot be read, is not a regular file, or is too large.
    """
    return _read(path, lambda file, size_bytes: file.read(size_bytes))


def read_header(path: Path) -> tuple[bytes, int]:
    """Read what precedes the tensors in a safetensors file, and the size of the file.

    Of any other file, read as much as `is_torch` and `safetensors_header` need to recognise it.

    Raises:
        CheckpointError: as `read_bytes`.
    """

    def read(file: BinaryIO, size_bytes: int) -> tuple[bytes, int]:
        start = file.read(min(size_bytes, _LENGTH.size))
        length = _LENGTH.unpack(start)[0] if len(start) == _LENGTH.size else 0
        rest = min(length, _MAX_HEADER_BYTES, size_bytes - len(start))
        return start + file.read(rest), size_bytes

    return _read(path, read)


def _read(path: Path, read: Callable[[BinaryIO, int], T]) -> T:
    """Call `read` with an open regular file and its size."""
    try:
        found = path.stat()
        if stat.S_ISREG(found.st_mode) and found.st_size <= MAX_FILE_BYTES:
            with path.open("rb") as file:
                return read(file, found.st_size)  # no more than its size, whatever a device has
    except FileNotFoundError as err:
        raise CheckpointError(f"{path}: there is no such file") from err
    except OSError as err:
        raise CheckpointError(f"{path}: cannot be read: {err.strerror}") from err
    except ValueError as err:  # a NUL in the path
        raise CheckpointError(f"{str(path)!r}: cannot be read: {err}") from err
    if stat.S_ISDIR(found.st_mode):
        raise CheckpointError(f"{path}: cannot be read: {describe_folder(path)}")
    if not stat.S_ISREG(found.st_mode):  # reading a pipe would block
        raise CheckpointError(f"{path}: cannot be read: it is not a regular file")
    raise CheckpointError(
        f"{path}: holds {found.st_size:,} bytes; a checkpoint may have at most {MAX_FILE_BYTES:,}"
    )


def safetensors_header(
    data: Buffer, size_bytes: int | None = None
) -> tuple[dict[str, str], dict[str, Shape]]:
    """Read the text metadata and the shape of each tensor, and check the tensors' extents.

    Args:
        data: the file, or its beginning.
        size_bytes: of the whole file; None: the length of `data`.
    """
    size_bytes = len(data) if size_bytes is None else size_bytes
    if size_bytes < _LENGTH.size:
        raise ValueError(f"it holds {size_bytes} bytes: truncated, or not a checkpoint")
    (length,) = _LENGTH.unpack(data[: _LENGTH.size])
    if data[8:9] != b"{":
        place, mark = _TAR
        if data[place] == mark:
            raise ValueError(
                "it is a tar archive: unpack it. If torch.save wrote it, before torch 0.2, save its"
                " state_dict() again with a newer torch: this layout cannot be read without running"
                " code"
            )
        raise ValueError(describe_other(data))
    if length > size_bytes - 8:
        raise ValueError(
            f"it is truncated: its header says {length} bytes, the file holds {size_bytes - 8}"
        )
    if length > _MAX_HEADER_BYTES:
        raise ValueError(f"its header of {length:,} bytes is more than {_MAX_HEADER_BYTES:,}")
    header = parse_json(bytes(data[8 : 8 + length]))
    text = header.pop("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(text, dict) or not all(isinstance(value, str) for value in text.values()):
        raise ValueError("its header is not that of a safetensors file")
    if odd := sorted(key for key, entry in header.items() if not _is_entry(entry)):
        raise ValueError(f"its header is not that of a safetensors file: {listed(odd)}")
    shapes = {key: tuple(entry["shape"]) for key, entry in header.items()}
    kinds = {key: entry["dtype"] for key, entry in header.items()}
    end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if 8 + length + end != size_bytes:
        raise ValueError(
            f"it is truncated: its header says {8 + length + end} bytes, the file holds"
            f" {size_bytes}"
        )
    if odd := sorted(key for key, kind in kinds.items() if kind not in FLOATING):
        raise ValueError(f"these tensors are not floating-point numbers: {listed(odd)}")
    _check_extents(header, end)
    return text, shapes


def _check_extents(header: dict[str, Any], end: int) -> None:
    """Check that the file is as large as the shapes claim: a model needs as much memory."""
    if odd := sorted(key for key, entry in header.items() if not _fills_its_place(entry)):
        raise ValueError(f"the sizes of these tensors do not match their shapes: {listed(odd)}")
    extents = sorted(entry["data_offsets"] for entry in header.values())
    starts, ends = [start for start, _ in extents], [0, *(stop for _, stop in extents)]
    if starts != ends[:-1] or ends[-1] != end:
        raise ValueError("its tensors overlap, or leave gaps")


def parse_json(text: str | bytes) -> Any:
    """Parse a JSON text; excessive nesting raises the same error as invalid JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as err:
        raise ValueError(f"its header is not that of a safetensors file: {err}") from err


def _is_entry(entry: object) -> bool:
    """Whether a header's entry describes a tensor: its type, shape and range of bytes."""
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str):
        return False
    shape, extent = entry.get("shape"), entry.get("data_offsets")
    if not isinstance(shape, list) or not isinstance(extent, list):
        return False
    if len(extent) != len(("begin", "end")) or len(shape) > _MAX_AXES:
        return False
    return all(type(n) is int and 0 <= n < 2**63 for n in (*shape, *extent))


def _fills_its_place(entry: dict[str, Any]) -> bool:
    """Whether a tensor has as many bytes in the file as its shape requires."""
    begin, end = entry["data_offsets"]
    return bool(end - begin == math.prod(entry["shape"]) * FLOATING[entry["dtype"]])


def safetensors_tensors(data: bytes) -> dict[str, Tensor]:
    """Load the tensors of a safetensors file.

    Raises:
        CheckpointError: safetensors refuses it.
    """
    from safetensors import SafetensorError  # only loading needs it
    from safetensors.torch import load

    try:
        return load(data)
    except SafetensorError as err:
        raise CheckpointError(f"the checkpoint's tensors cannot be read: {err}") from err


def safetensors_views(data: Buffer) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file whose header was verified, without copying them.

    They are views of the file's bytes, only to be read, in the types that the file has.
    """
    import warnings

    import torch

    kinds = {
        "F64": torch.float64,
        "F32": torch.float32,
        "F16": torch.float16,
        "BF16": torch.bfloat16,
    }
    (length,) = _LENGTH.unpack(data[: _LENGTH.size])
    start = _LENGTH.size + length
    views = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the bytes are not writable
        for name, entry in parse_json(bytes(data[_LENGTH.size : start])).items():
            if name != "__metadata__":
                shape, offset = entry["shape"], start + entry["data_offsets"][0]
                kind, count = kinds[entry["dtype"]], math.prod(entry["shape"])
                flat = torch.frombuffer(data, dtype=kind, count=count, offset=offset)
                views[name] = flat.view(shape)
    return views


def read_tensors(data: bytes) -> tuple[Any, dict[str, str]]:
    """Read the content of a file of tensors, whatever its names, and its text metadata.

    Returns: a state dict, or mappings around one; and safetensors' text metadata.

    Raises:
        ValueError: its format is unknown, it holds more than tensors and plain values, or it is
            broken.
    """
    if is_torch(data):
        return _torch_content(data), {}
    text, _ = safetensors_header(data)
    return safetensors_tensors(data), text


def is_torch(data: Buffer) -> bool:
    """Whether torch.save wrote the data: a zip file, or bare pickles from before torch 1.6."""
    return data[:4] == _ZIP or (data[:1] == b"\x80" and data[1:2] in _PROTOCOLS)


def _torch_content(data: Buffer) -> Any:
    """Load what torch.save wrote, without running any code in it."""
    import argparse
    import io
    import warnings

    import torch

    protocol = _check_archive(data) if data[:4] == _ZIP else data[1]
    if protocol != _SAFE_PROTOCOL:
        raise ValueError(
            f"it was saved with pickle protocol {protocol}, and torch reads only protocol"
            f" {_SAFE_PROTOCOL} without running code; save its state_dict() again with"
            " torch.save(..., FILE), without pickle_protocol"
        )
    try:
        # Training scripts save their parsed options with the weights: plain values in a Namespace,
        # which only stores them.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about the types in the file
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as err:
        if refused := _REFUSED.search(str(err)):
            raise ValueError(
                f"it holds a pickle of more than tensors ({refused[1]}), which could run code, so"
                " it was not opened. Save only its state_dict(), or convert it to safetensors if"
                " you trust it"
            ) from err
        raise ValueError(f"torch cannot read it safely: {_last_sentence(err)}") from err
    except Exception as err:  # a broken zip or pickle can raise any exception
        raise ValueError(f"torch cannot read it (truncated?): {err}") from err


def _last_sentence(err: Exception) -> str:
    """Return the reason from torch's message, without its advice to load the file unsafely."""
    return str(err).replace("\n", " ").partition("WeightsUnpickler error: ")[2][:_SHOWN] or str(err)


def _check_archive(data: Buffer) -> int:
    """Refuse an archive that unpacks to more than the file holds: torch.save never compresses.

    Returns: the protocol of its pickle.
    """
    import io
    import zipfile

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            other = describe_archive(entry.filename for entry in entries)
            claimed = sum(entry.file_size for entry in entries)
            protocol = _SAFE_PROTOCOL if other else _protocol(archive)
    except Exception as err:  # a broken archive can raise any exception
        raise ValueError(f"torch cannot read it (truncated?): {err}") from err
    if other:
        raise ValueError(other)
    if claimed > len(data):
        raise ValueError(
            f"it would unpack to {claimed:,} bytes, the file holds {len(data):,}: torch.save"
            " compresses nothing, so this could be a decompression bomb"
        )
    return protocol


def _protocol(archive: zipfile.ZipFile) -> int:
    """Return the protocol of the pickle that a file of torch.save has."""
    names = archive.namelist()
    (content,) = (name for name in names if name.rpartition("/")[2] == "data.pkl")
    with archive.open(content) as file:
        return file.read(2)[1]


def torch_tensors(data: Buffer) -> dict[str, Tensor]:
    """Load the state dict from what torch.save wrote.

    Raises:
        ValueError: it is not one, or it is wrapped: `gfnet.convert` unwraps it.
    """
    content = _torch_content(data)
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if isinstance(content, dict):
        wrapped = [
            str(key)
            for key in content
            if key in WRAPPERS
            or str(key).startswith(PREFIXES)
            or str(key).replace("_orig_mod.", "").endswith(_PREFIXED_FILTERS)
        ]
        if wrapped:
            raise ValueError(
                f"its weights are wrapped ({listed(wrapped)}): `gfjobs import FILE` makes a"
                " checkpoint of it"
            )
    return check_state(content, len(data))


def check_state(content: Any, size_bytes: int) -> dict[str, Tensor]:
    """Check that something is a state dict of dense floating-point tensors.

    Args:
        content: what a file holds.
        size_bytes: of the file. Tensors that claim more are views of few numbers, which a model
            would expand into many.

    Raises:
        ValueError: it is not.
    """
    import torch

    if not isinstance(content, dict) or not all(
        isinstance(key, str) and torch.is_tensor(value) for key, value in content.items()
    ):
        held = sorted(map(str, content)) if isinstance(content, dict) else [type(content).__name__]
        raise ValueError(
            "it holds no state dict: expected names and tensors, bare or under one of the keys"
            f" {', '.join(WRAPPERS)} (it holds {listed(held) or 'nothing'})"
        )
    odd = sorted(
        key
        for key, tensor in content.items()
        if tensor.layout != torch.strided
        or not tensor.is_floating_point()
        or tensor.device.type != "cpu"  # a "meta" tensor has a shape but no numbers
    )
    if odd:
        raise ValueError(f"these tensors are not dense floating-point numbers: {listed(odd)}")
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in content.values())
    if claimed > size_bytes:
        raise ValueError(
            f"its tensors claim {claimed:,} bytes, the file holds {size_bytes:,}: some share"
            " their numbers; save each one separately"
        )
    return content


def listed(names: Iterable[str]) -> str:
    """Join the first of many names, and say how many more there are; long names are cut."""
    every = [name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..." for name in names]
    more = f" and {len(every) - _LISTED} more" if len(every) > _LISTED else ""
    return ", ".join(every[:_LISTED]) + more
