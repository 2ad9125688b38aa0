"""What a bundle says of itself: its stages, their tensors, its images and its exits."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from gfnet.preprocess import Preprocessing

MANIFEST_FORMAT = 1
MANIFEST_NAME = "manifest.json"
BATCH = "batch"
"""First size of a tensor that has one row per image."""

NEVER = "inf"
"""A threshold that no score reaches; JSON has no infinity."""


@dataclass(frozen=True)
class TensorEntry:
    """One tensor that a graph takes or gives.

    Attributes:
        name: in the graph.
        dtype: as numpy names it.
        shape: sizes of its axes; the first is BATCH, if it has one row per image.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    @property
    def numbers(self) -> int:
        """Number of its values, per image if it has one row per image."""
        return math.prod(size for size in self.shape if isinstance(size, int))

    def describe(self) -> str:
        """Format type and shape for a message."""
        return f"{self.dtype} [{', '.join(map(str, self.shape))}]"

    def is_like(self, other: TensorEntry) -> bool:
        """Whether another tensor has the same type and shape."""
        return (self.dtype, self.shape) == (other.dtype, other.shape)


@dataclass(frozen=True)
class StageEntry:
    """One stage: a graph from an exit (or the image) to the next exit.

    Attributes:
        file: name of its graph in the bundle.
        sha256: digest of that file.
        exit_block: number of the block after which images exit here.
        inputs: the image in the first stage, else the state of the stage before, in its order.
        state: what the next stage takes; () in the last one.
        logits: (batch, classes).
        score: (batch), from 0 to 1; None if the stage gives none, as the last.
        multiply_adds, parameters: of this stage with its exit; None: not known.
    """

    file: str
    sha256: str
    exit_block: int
    inputs: tuple[TensorEntry, ...]
    state: tuple[TensorEntry, ...]
    logits: TensorEntry
    score: TensorEntry | None = None
    multiply_adds: int | None = None
    parameters: int | None = None

    @property
    def outputs(self) -> tuple[TensorEntry, ...]:
        """Return all that it gives: state, logits, score."""
        return (*self.state, self.logits, *([self.score] if self.score else []))


@dataclass(frozen=True)
class SingleEntry:
    """The graph that routes one image through all stages by itself.

    Attributes:
        file, sha256: as of a stage.
        image: (1, 3, H, W).
        thresholds: one per early exit, in their order.
        logits, exit_block, score: (1, classes); (1) int64; (1), NaN after the last block.
    """

    file: str
    sha256: str
    image: TensorEntry
    thresholds: tuple[TensorEntry, ...]
    logits: TensorEntry
    exit_block: TensorEntry
    score: TensorEntry

    @property
    def inputs(self) -> tuple[TensorEntry, ...]:
        """Return all that it takes."""
        return (self.image, *self.thresholds)

    @property
    def outputs(self) -> tuple[TensorEntry, ...]:
        """Return all that it gives."""
        return (self.logits, self.exit_block, self.score)


@dataclass(frozen=True)
class BundleManifest:
    """What a bundle says of itself.

    Attributes:
        name: of the model.
        preprocessing: of its images; `crop` is the side of the square input.
        classes: K.
        exit_rule: by which images exit unless another is chosen: `gate` by the stages' scores,
            any other of gfnet.EXIT_RULES by their logits.
        precision: of its matrix products; what passes between graphs has its own types.
        opset: of all graphs.
        stages: in their order.
        class_names: K names, or () if they are not known.
        thresholds: the default ones, one per early exit, or (): 0.5 each. +inf: no image exits.
        single: the graph for one image, if there is one.
        origin: what it was made of, as text.
    """

    name: str
    preprocessing: Preprocessing
    classes: int
    exit_rule: str
    precision: str
    opset: int
    stages: tuple[StageEntry, ...]
    class_names: tuple[str, ...] = ()
    thresholds: tuple[float, ...] = ()
    single: SingleEntry | None = None
    origin: str = ""

    @property
    def graphs(self) -> tuple[StageEntry | SingleEntry, ...]:
        """Return the entries of all graph files."""
        return (*self.stages, *([self.single] if self.single else []))

    @property
    def exit_blocks(self) -> tuple[int, ...]:
        """Return the blocks after which images exit early: those of all stages but the last."""
        return tuple(stage.exit_block for stage in self.stages[:-1])

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `read_bundle_manifest` reads them back."""
        stated = asdict(self)
        thresholds = [NEVER if math.isinf(limit) else limit for limit in self.thresholds]
        own = {"preprocessing": self.preprocessing.to_json(), "thresholds": thresholds}
        document: dict[str, Any] = _as_lists(stated | own)
        return {"format": MANIFEST_FORMAT} | document


def _as_lists(node: Any) -> Any:
    """Return plain values with tuples as lists, as JSON has them."""
    if isinstance(node, dict):
        return {key: _as_lists(value) for key, value in node.items()}
    return [_as_lists(value) for value in node] if isinstance(node, (list, tuple)) else node
