"""A data set as the rest of the program sees it: labels in memory, encoded images on request."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa

from storage.errors import DatasetError
from storage.tables.schemas import build_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

# Most bad rows that an error names.
_NAMED_ROWS = 5


class ImageSource(Protocol):
    """Reads encoded images."""

    def read(self, image_ids: npt.NDArray[np.int64]) -> list[bytes | None]:
        """Read encoded images by row, in the order asked; None if the data has no image."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """An opened data set.

    Attributes:
        name: as requested.
        split: as requested.
        sha256: digest of the content, the same for any file format; see `content_sha256`.
        class_names: (K,) in label order.
        labels: (N,) int64, each in 0..K-1; the row number is the image_id.
        paths: (N,) path of each image in its source, for people.
        source: reads the encoded bytes.
    """

    name: str
    split: str
    sha256: str
    class_names: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    paths: tuple[str, ...]
    source: ImageSource

    def __len__(self) -> int:
        """Count the images."""
        return len(self.paths)

    def read(self, image_ids: Sequence[int] | npt.NDArray[np.int64]) -> pa.Table:
        """Read images, in the order asked.

        Returns: columns image_id int64, path string, label int64, image binary (the encoded
            bytes; NULL if the data set has none: such an image cannot be decoded).
        Raises: DatasetError: an image_id outside 0..N-1, or a file that is gone.
        """
        ids = np.asarray(image_ids, dtype=np.int64)
        outside = ids[(ids < 0) | (ids >= len(self))]
        if outside.size:
            raise DatasetError(
                f"data set {self.name} has no image {outside[0]}; its images are 0..{len(self) - 1}"
            )
        return pa.table(
            {
                "image_id": pa.array(ids, pa.int64()),
                "path": pa.array([self.paths[i] for i in ids], pa.string()),
                "label": pa.array(self.labels[ids], pa.int64()),
                "image": pa.array(self.source.read(ids), pa.binary()),
            }
        )

    def images_table(self) -> pa.Table:
        """List all images as rows of the table `images`."""
        return build_table(
            "images",
            {
                "dataset_sha256": self.sha256,
                "image_id": np.arange(len(self)),
                "path": list(self.paths),
                "label": self.labels,
                "class_name": [self.class_names[label] for label in self.labels],
            },
        )


def content_sha256(
    images: Iterable[bytes | None], labels: npt.NDArray[np.int64], class_names: Sequence[str]
) -> str:
    """Return the SHA-256 of a data set's content, which is the same for any file format.

    Per row it covers the length of the encoded bytes (-1 for none), the bytes and the label,
    integers as little-endian int64; then each class name in UTF-8 after its length.
    """
    digest = hashlib.sha256()
    for image, label in zip(images, labels, strict=True):
        digest.update(struct.pack("<q", -1 if image is None else len(image)))
        digest.update(image or b"")
        digest.update(struct.pack("<q", int(label)))
    for name in class_names:
        encoded = name.encode()
        digest.update(struct.pack("<q", len(encoded)))
        digest.update(encoded)
    return digest.hexdigest()


def check_labels(
    name: str, labels: npt.NDArray[np.int64], paths: Sequence[str], classes: int
) -> None:
    """Refuse labels outside 0..classes-1.

    Raises: DatasetError: there are such rows; the message names the first ones.
    """
    bad = np.flatnonzero((labels < 0) | (labels >= classes))
    if not bad.size:
        return
    rows = ", ".join(f"row {i} ({paths[i]}): {labels[i]}" for i in bad[:_NAMED_ROWS])
    more = f" and {bad.size - _NAMED_ROWS} more" if bad.size > _NAMED_ROWS else ""
    raise DatasetError(
        f"data set {name} has labels outside its {classes} classes (0..{classes - 1}): {rows}"
        f"{more}; correct the labels, or leave these rows out"
    )
