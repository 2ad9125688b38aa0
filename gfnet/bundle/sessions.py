"""Runs a bundle's graphs with ONNX Runtime on a CPU, on arrays: to check it, and to compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gfnet.bundle.errors import BundleError, library_message, shortened
from gfnet.bundle.manifest import BATCH, SingleEntry, StageEntry
from gfnet.bundle.reader import Bundle
from gfnet.runtimes.onnxruntime_module import load_onnxruntime

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FATAL = 4


class StageArrays(NamedTuple):
    """What one exit gives for a batch: (B, K) logits; (B,) scores, or None."""

    logits: NDArray[Any]
    scores: NDArray[Any] | None


class BundleSessions:
    """A bundle's graphs in ONNX Runtime.

    Args:
        bundle: checked by `load_bundle`.
        threads: of each session; 0: as ONNX Runtime chooses.

    Raises:
        BundleError: ONNX Runtime is not installed, or cannot run a graph.
    """

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self._bundle, self._threads = bundle, threads
        manifest = bundle.manifest
        self._stages = [(entry, self._session(entry)) for entry in manifest.stages]
        self._single = (
            (manifest.single, self._session(manifest.single)) if manifest.single else None
        )

    def exits(self, images: NDArray[Any]) -> list[StageArrays]:
        """Return what every exit gives for (B, 3, H, W) images, in one pass."""
        state: Sequence[NDArray[Any]] = [images]
        found = []
        for entry, session in self._stages:
            given = self._run(entry, session, state)
            count = len(entry.state)
            state = given[:count]
            found.append(StageArrays(given[count], given[count + 1] if entry.score else None))
        return found

    def single(self, image: NDArray[Any], thresholds: Sequence[float]) -> Sequence[NDArray[Any]]:
        """Route one (1, 3, H, W) image by itself: its logits, exit block and score."""
        assert self._single is not None
        entry, session = self._single
        limits = [np.array([limit], np.float32) for limit in thresholds]
        return self._run(entry, session, [image, *limits])

    def _session(self, entry: StageEntry | SingleEntry) -> Any:
        try:
            ort = load_onnxruntime()
        except ImportError as err:
            raise BundleError(
                f"{self._bundle.where}: running it needs ONNX Runtime: pip install 'gfjobs[onnx]'"
            ) from err
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = _FATAL  # what is wrong is said once, by an error
        content = self._bundle.files[entry.file]
        try:
            return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as err:  # its errors have no common class of their own
            raise self._error(entry, "cannot load it", err) from err

    def _run(
        self, entry: StageEntry | SingleEntry, session: Any, arrays: Sequence[NDArray[Any]]
    ) -> list[NDArray[Any]]:
        names = [tensor.name for tensor in entry.outputs]
        taken = [tensor.name for tensor in entry.inputs]
        try:
            found: list[NDArray[Any]] = session.run(names, dict(zip(taken, arrays, strict=True)))
        except Exception as err:  # as above
            raise self._error(entry, "cannot run it", err) from err
        for tensor, array in zip(entry.outputs, found, strict=True):
            wanted = [len(arrays[0]) if size == BATCH else size for size in tensor.shape]
            if (str(array.dtype), list(array.shape)) != (tensor.dtype, wanted):
                raise BundleError(
                    f"{self._bundle.where}: {entry.file}: for {len(arrays[0])} images"
                    f" {shortened(tensor.name)} is {array.dtype} {list(array.shape)}, not"
                    f" {tensor.dtype} {wanted}"
                )
        return found

    def _error(self, entry: StageEntry | SingleEntry, what: str, err: Exception) -> BundleError:
        return BundleError(
            f"{self._bundle.where}: {entry.file}: ONNX Runtime {what}: {library_message(err)}"
        )
