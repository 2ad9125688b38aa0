"""A checkpoint's metadata: sizes, preprocessing, classes, thresholds, training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gfnet.config import ModelConfig
from gfnet.preprocess import Preprocessing

FORMAT_VERSION = 1

_NEVER = "inf"


@dataclass(frozen=True)
class Metadata:
    """What a checkpoint holds in addition to its weights.

    Attributes:
        config: family and sizes; exit_blocks are the enabled exits.
        preprocessing: how images are prepared.
        class_names: K names, or empty if they are not known.
        thresholds: the default thresholds, one per gate, or empty: 0.5 each. +inf: no image exits
            there.
        training: how it was trained, free JSON.
    """

    config: ModelConfig
    preprocessing: Preprocessing
    class_names: tuple[str, ...] = ()
    thresholds: tuple[float, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def default(cls, config: ModelConfig) -> Metadata:
        """Return what is assumed for a model without metadata: ImageNet's preprocessing."""
        return cls(config, Preprocessing(size=config.img_size, crop=config.img_size))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` reads them back."""
        return {
            "format": FORMAT_VERSION,
            "config": self.config.to_json(),
            "preprocessing": self.preprocessing.to_json(),
            "class_names": list(self.class_names),
            # JSON has no infinity.
            "thresholds": [_NEVER if math.isinf(limit) else limit for limit in self.thresholds],
            "training": dict(self.training),
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Metadata:
        """Read what `to_json` wrote.

        Raises:
            ValueError: a later format, or a field that is missing or impossible.
        """
        if not isinstance(fields, dict):
            raise ValueError("its metadata is not a JSON object")  # noqa: TRY004 - a file's fault
        if fields.get("format") != FORMAT_VERSION:
            raise ValueError(
                f"its metadata has format {fields.get('format')!r}; this version reads"
                f" format {FORMAT_VERSION}"
            )
        try:
            metadata = cls(
                ModelConfig.from_json(fields["config"]),
                Preprocessing.from_json(fields["preprocessing"]),
                tuple(fields["class_names"]),
                tuple(math.inf if limit == _NEVER else limit for limit in fields["thresholds"]),
                fields["training"],
            )
        except (KeyError, TypeError, AttributeError) as err:
            raise ValueError(f"its metadata is invalid: {err!r}") from err
        _check(metadata)
        return metadata


def _check(metadata: Metadata) -> None:
    """Check metadata from a file for consistency.

    Raises:
        ValueError: a part is invalid, or parts contradict each other.
    """
    if not isinstance(metadata.training, dict):
        raise ValueError(  # noqa: TRY004 - a file's fault, not a caller's
            "its metadata is invalid: training is not a JSON object"
        )
    if not all(isinstance(name, str) for name in metadata.class_names):
        raise ValueError("its metadata is invalid: class_names are not all strings")
    if metadata.preprocessing.crop != metadata.config.img_size:
        raise ValueError(
            f"its images are cropped to {metadata.preprocessing.crop} pixels, but its model takes"
            f" {metadata.config.img_size}"
        )
    classes, gates = metadata.config.num_classes, len(metadata.config.exit_blocks)
    if len(metadata.class_names) not in (0, classes):
        raise ValueError(f"it has {len(metadata.class_names)} class names for {classes} classes")
    if len(metadata.thresholds) not in (0, gates):
        raise ValueError(f"it has {len(metadata.thresholds)} thresholds for {gates} gates")
    for threshold in metadata.thresholds:
        is_number = isinstance(threshold, (int, float))
        if not is_number or not (0 <= threshold <= 1 or threshold == math.inf):
            raise ValueError(f"its threshold {threshold!r} is not a number from 0 to 1, or 'inf'")
