"""Precisions in which a bundle can be exported, and how far its answers may then be off."""

from __future__ import annotations

from typing import NamedTuple


class Tolerance(NamedTuple):
    """How far answers may be from those of the model in float32.

    Attributes:
        logits: of a logit; in proportion where logits are larger than 100.
        scores: a score this near to its threshold may fall on either side of it.
    """

    logits: float
    scores: float


BUNDLE_PRECISIONS = {"float32": Tolerance(logits=1e-4, scores=1e-5)}
