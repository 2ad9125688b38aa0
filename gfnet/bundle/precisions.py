"""Precisions in which a bundle can be exported, and how far its answers may then be off.

Not bfloat16: ONNX Runtime has no product of matrices in it on a CPU, so nothing could check such a
bundle where it is written.
"""

from __future__ import annotations

from typing import NamedTuple


class Tolerance(NamedTuple):
    """How far answers may be from those of the model in float32.

    Attributes:
        logits: of a logit.
        relative: of a logit, in proportion to the largest one; the larger of both counts.
        scores: a score this near to its threshold may fall on either side of it.
        moved: share of the other images that may take another exit.
    """

    logits: float
    relative: float
    scores: float
    moved: float = 0.0


BUNDLE_PRECISIONS = {
    "float32": Tolerance(logits=1e-4, relative=1e-6, scores=1e-5),
    "float16": Tolerance(logits=1e-2, relative=1e-2, scores=2e-3),
    "int8": Tolerance(logits=0.1, relative=0.25, scores=0.0, moved=0.25),
}
"""In int8 these bounds only catch a broken graph: what int8 costs a model, a grid measures."""


def closeness(precision: str) -> float:
    """Return how near two runs of a bundle's graphs must be, in proportion to the largest logit.

    An engine may fuse the same operations otherwise in another graph or for another batch, and so
    round elsewhere.
    """
    return 1e-4 if precision == "float32" else 0.02
