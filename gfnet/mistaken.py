"""Says what a file is that was given as a checkpoint and is none, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_BEGINNINGS = (
    (
        b"version https://git-lfs",
        "it is a pointer of Git LFS, not the file itself: fetch it with `git lfs pull`",
    ),
    (b"<", "it is a page of a web site, as a download that failed leaves it: download it again"),
    (b"\x1f\x8b", "it is compressed by gzip: unpack it"),
    (b"{", "it is JSON. If it is the index of a model in several files, save all as one file"),
    (b"\x89HDF", "it is HDF5, as Keras writes it; needed is a state_dict() of PyTorch"),
)
_START_BYTES = 256
_PART = re.compile(r"-\d{5}-of-\d{5}\b")
_DISTRIBUTED = ".metadata"


def describe_other(data: bytes | memoryview) -> str:
    """What a file is by its first bytes, if it holds no tensors that can be read."""
    start = bytes(data[:_START_BYTES]).lstrip()
    known = (text for begin, text in _BEGINNINGS if start.startswith(begin))
    return next(known, "it is neither a safetensors file nor one that torch.save wrote")


def describe_archive(names: Iterable[str]) -> str | None:
    """What a zip archive is that torch.save did not write; None for one that it wrote."""
    files = [name.rpartition("/")[2] for name in names]
    if "constants.pkl" in files:
        return (
            "it is a TorchScript archive, which holds code: load it with torch.jit.load if you"
            " trust it, and save its state_dict() with torch.save"
        )
    if files.count("data.pkl") == 1:
        return None
    held = ", ".join(sorted(files)[:3]) or "nothing"
    return f"it is a zip archive that torch.save did not write (it holds {held}): unpack it"


def describe_folder(folder: Path) -> str:
    """What a folder is that was given as a checkpoint."""
    if (folder / _DISTRIBUTED).exists():
        return (
            "it is a folder that torch.distributed.checkpoint wrote: make one file of it, with"
            " `python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE`"
        )
    return "it is a folder; give the file of the weights"


def part_hint(name: str) -> str:
    """Advice for a file that is one part of a model by its name; else an empty text."""
    if _PART.search(name):
        return ". By its name it is one part of several: save all of them as one file"
    return ""
