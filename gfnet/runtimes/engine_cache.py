"""Keeps engines that TensorRT has built on disk, each in a folder named by all that determines it.

ONNX Runtime names the file of an engine by the names in its graph, so that two models of the same
sizes would share one, with the weights of the first. Hence a folder for each.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TypeVar

from gfnet.runtimes.availability import WrongEngineError
from gfnet.runtimes.kept import graph_folder

MOST_ENGINE_BYTES = 4 * 2**30
"""Limit of all engines together; one has about the size of its weights."""

Built = TypeVar("Built")


@dataclass(frozen=True)
class EngineKey:
    """What determines an engine, apart from its graph and the sizes of batches.

    Attributes:
        gpu: its name; engines are tuned to it.
        capability: its compute capability.
        onnxruntime: wheel and version.
        tensorrt: version.
    """

    gpu: str
    capability: tuple[int, int]
    onnxruntime: str
    tensorrt: str

    def digest(self, graph: bytes, profile: Mapping[str, str]) -> str:
        """Return the name of an engine.

        The graph has weights, sizes and precision in it, and is as its exporter wrote it.
        """
        digest = hashlib.sha256(repr((astuple(self), sorted(profile.items()))).encode())
        digest.update(graph)
        return digest.hexdigest()


def cached_engine(name: str, build: Callable[[Path | None], Built]) -> Built:
    """Load an engine that any process has kept under a name, or else build and keep it.

    Args:
        name: digest of all that determines the engine.
        build: builds it, or loads it if the folder has it, and writes it there; given None, it
            keeps nothing.

    Raises: WrongEngineError: it cannot be built.
    """
    graphs = graph_folder()
    if graphs is None:
        return build(None)
    folder = graphs.with_name("engines") / name
    if folder.is_dir():
        with suppress(OSError):
            os.utime(folder)  # the least recently used is removed first
        try:
            return build(folder)
        except WrongEngineError:  # perhaps damaged: build it again, once
            shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
    except OSError:
        return build(None)
    try:
        built = build(unfinished)
        with suppress(OSError):  # another process was faster
            unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    drop_oldest_engines(folder.parent)
    return built


def drop_oldest_engines(folder: Path) -> None:
    """Remove the least recently used engines, also unfinished ones, down to MOST_ENGINE_BYTES."""
    with suppress(OSError):
        engines = sorted(folder.iterdir(), key=lambda each: each.stat().st_mtime, reverse=True)
        total_bytes = 0
        for engine in engines:
            total_bytes += sum(file.stat().st_size for file in engine.rglob("*"))
            if total_bytes > MOST_ENGINE_BYTES:
                shutil.rmtree(engine, ignore_errors=True)
