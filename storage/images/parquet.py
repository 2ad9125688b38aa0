"""Images in Parquet, in the layout of the Hugging Face `datasets` library."""

from __future__ import annotations

import json
import logging
import math
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from storage.errors import DatasetError
from storage.images.cache import CACHE_VARIABLE
from storage.images.copies import CopyWriter, DamagedCopyError, ImageCopy, find_copy
from storage.images.digests import keep_digest, known_digest, state_of_file
from storage.images.image_set import ImageSet, check_labels, content_sha256

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

_LOG = logging.getLogger(__name__)

_LAYOUT = "image: struct<bytes: binary, path: string>, label: integer"

# Rows decoded at a time when a whole file is read.
_BATCH_ROWS = 256

SMALL_BYTES = 8 * 2**20
"""Most bytes of images in a file that is read without a copy, in some hundredths of a second."""

_MAX_CLASSES = 100_000

_MAX_ROWS = 20_000_000  # fourteen times ImageNet
_MAX_GROUP_BYTES = 4 * 2**30


class ParquetSource:
    """Reads rows of one memory-mapped file, or of a local copy if that is faster.

    A copy saves unpacking whole row groups for a few rows of each. If the data set was opened
    without a copy, one is made as soon as as many bytes were unpacked needlessly as it would cost.

    Attributes:
        sha256: digest of the data set.
        read_bytes: bytes of images that were read so far, or unpacked to reach requested images.
    """

    def __init__(
        self, path: Path, labels: npt.NDArray[np.int64], class_names: Sequence[str]
    ) -> None:
        """Open `path`, whose labels and class names are known."""
        self._path, self._labels, self._class_names = path, labels, class_names
        with pq.ParquetFile(path, memory_map=True) as file:
            column = _column_index(file.metadata)
            groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
            counts = [group.num_rows for group in groups]
            sizes = [group.column(column).total_uncompressed_size for group in groups]
        self._starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        self._sizes = np.array(sizes, dtype=np.int64)
        self._size_bytes = int(self._sizes.sum())
        self._copy: ImageCopy | None = None
        self._wasted_bytes = 0.0
        self.sha256 = ""
        self.read_bytes = 0

    def digest(self, *, is_copied: bool) -> str:
        """Compute the digest; in the same pass copy the data set, if asked and large enough."""
        if not is_copied or self._is_small:
            return content_sha256(self.read_all(), self._labels, self._class_names)
        with CopyWriter(self._size_bytes) as writer:
            images = writer.passing(self.read_all())
            digest = content_sha256(images, self._labels, self._class_names)
            writer.publish(digest)
        return digest

    def read(self, image_ids: npt.NDArray[np.int64]) -> list[bytes | None]:
        """Read encoded images by row, in the order asked.

        Raises: DatasetError: the file is gone, or has changed.
        """
        try:
            return self._read(image_ids)
        except (pa.ArrowException, OSError) as err:
            raise DatasetError(f"{self._path} cannot be read as Parquet: {err}") from err

    def _read(self, image_ids: npt.NDArray[np.int64]) -> list[bytes | None]:
        if not self._is_small:
            self._copy = self._copy or find_copy(self.sha256)
        groups = np.unique(np.searchsorted(self._starts, image_ids, side="right") - 1)
        if not self._copy and self._is_worth_copying(groups, len(image_ids)):
            self._make_copy()
        if self._copy:
            try:
                images = self._copy.read(image_ids)
            except OSError:  # another process has removed it
                self._copy = None
            except DamagedCopyError:
                self._copy.remove()
                self._copy = None
            else:
                self.read_bytes += sum(map(len, filter(None, images)))
                return images
        return self._read_groups(groups, image_ids)

    def read_all(self) -> Iterator[bytes | None]:
        """Read all, a batch at a time."""
        for batch in self._batches(np.arange(len(self._sizes))):
            yield from batch.to_pylist()

    @property
    def _is_small(self) -> bool:
        return self._size_bytes <= SMALL_BYTES

    def _is_worth_copying(self, groups: npt.NDArray[np.int64], count: int) -> bool:
        """Whether as many bytes have been unpacked needlessly as a copy would cost."""
        used_bytes = self._size_bytes * count / max(len(self._labels), 1)
        self._wasted_bytes += max(int(self._sizes[groups].sum()) - used_bytes, 0)
        return not self._is_small and self._wasted_bytes > self._size_bytes

    def _make_copy(self) -> None:
        if self.digest(is_copied=True) != self.sha256:
            raise DatasetError(f"{self._path} has changed since it was opened; start again")
        self._copy = find_copy(self.sha256)
        if not self._copy:
            _LOG.warning(
                "%s is read slowly: each shard of shuffled images unpacks most of the file, since"
                " the cache folder has no room for a copy of %d MiB or cannot be written: free"
                " space there, or set %s to another folder",
                self._path,
                self._size_bytes >> 20,
                CACHE_VARIABLE,
            )
            self._wasted_bytes = -math.inf  # do not try again

    def _read_groups(
        self, groups: npt.NDArray[np.int64], image_ids: npt.NDArray[np.int64]
    ) -> list[bytes | None]:
        """Read from the file, a batch at a time: a row group may be the whole data set."""
        images: list[bytes | None] = [None] * len(image_ids)
        slots = np.argsort(image_ids)
        asked = image_ids[slots]
        rows = np.concatenate(
            [np.arange(self._starts[group], self._starts[group + 1]) for group in groups]
            or [np.zeros(0, dtype=np.int64)]
        )
        for batch in self._batches(groups):
            here, rows = rows[: len(batch)], rows[len(batch) :]
            first, last = np.searchsorted(asked, here[0]), np.searchsorted(asked, here[-1], "right")
            found = np.searchsorted(here, asked[first:last])
            for slot, image in zip(slots[first:last], batch.take(pa.array(found)), strict=True):
                images[slot] = image.as_py()
        return images

    def _batches(self, groups: npt.NDArray[np.int64]) -> Iterator[pa.Array]:
        """Yield the encoded images of some row groups."""
        with pq.ParquetFile(self._path, memory_map=True) as file:
            for batch in file.iter_batches(
                _BATCH_ROWS, row_groups=groups.tolist(), columns=["image.bytes"]
            ):
                images = pc.struct_field(batch.column("image"), "bytes")
                self.read_bytes += images.nbytes
                yield images


def _column_index(metadata: pq.FileMetaData) -> int:
    """Return the index of the images' bytes among the columns stored in the file."""
    paths = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
    return paths.index("image.bytes")


def open_parquet(name: str, path: Path, split: str, *, is_shuffled: bool = False) -> ImageSet:
    """Open a Parquet file of images, or `<split>.parquet` in a folder of them.

    Args:
        name: data set name as requested.
        path: path of the file or folder.
        split: the file in a folder.
        is_shuffled: whether its images will be read in another order than they are stored.

    Class names come from the `huggingface` metadata; without it they are "0".."K-1", K being
    the largest label + 1. A row without bytes is kept: decoding it fails later and reports it.

    Raises: DatasetError: no such file, another layout, no rows, a label outside the classes.
    """
    file = path / f"{split}.parquet" if path.is_dir() else path
    if not file.is_file():
        raise DatasetError(_missing(name, path, file))
    try:
        state = state_of_file(file)
        parquet = pq.ParquetFile(file, memory_map=True)
        with parquet:
            schema = parquet.schema_arrow
            _check_layout(name, file, schema)
            _check_claims(name, file, parquet.metadata)
            table = parquet.read(columns=["image.path", "label"])
        if not table.num_rows:
            raise DatasetError(f"data set {name}: {file} has no images")
        labels = _labels(name, file, table.column("label"))
        found = pc.struct_field(table.column("image").combine_chunks(), "path").to_pylist()
        paths = tuple(str(row) if path is None else path for row, path in enumerate(found))
        class_names = _class_names(schema) or _numbered(name, file, int(labels.max()) + 1)
        check_labels(name, labels, paths, len(class_names))
        source = ParquetSource(file, labels, class_names)
        digest = known_digest("images", file, state)
        if digest is None:
            digest = source.digest(is_copied=is_shuffled)
            if state == state_of_file(file):
                keep_digest("images", file, state, digest)
        source.sha256 = digest
    except (pa.ArrowException, OSError) as err:
        raise DatasetError(f"data set {name}: {file} cannot be read as Parquet: {err}") from err
    return ImageSet(name, split, digest, class_names, labels, paths, source)


def _missing(name: str, path: Path, file: Path) -> str:
    if not path.is_dir():
        return f"data set {name}: there is no file or folder {path}"
    splits = ", ".join(sorted(entry.stem for entry in path.glob("*.parquet"))) or "none"
    return f"data set {name}: there is no {file}; splits in that folder: {splits}"


def _check_layout(name: str, file: Path, schema: pa.Schema) -> None:
    def kind(column: str) -> pa.DataType:
        return schema.field(column).type if column in schema.names else pa.null()

    image = kind("image")
    parts = {field.name: field.type for field in image} if pa.types.is_struct(image) else {}
    is_image = parts.get("bytes") in (pa.binary(), pa.large_binary())
    is_image &= parts.get("path") in (pa.string(), pa.large_string(), pa.null())
    if is_image and pa.types.is_integer(kind("label")):
        return
    found = ", ".join(f"{field.name}: {field.type}" for field in schema)
    raise DatasetError(f"data set {name}: {file} has columns {found}; required: {_LAYOUT}")


def _check_claims(name: str, file: Path, metadata: pq.FileMetaData) -> None:
    """Refuse a file that would unpack to more than fits in memory, before unpacking anything."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    unpacked = max((group.total_byte_size for group in groups), default=0)
    if metadata.num_rows > _MAX_ROWS or unpacked > _MAX_GROUP_BYTES:
        raise DatasetError(
            f"data set {name}: {file} claims {metadata.num_rows:,} images, and row groups of up to"
            f" {unpacked:,} bytes; at most {_MAX_ROWS:,} images and {_MAX_GROUP_BYTES:,} bytes per"
            " row group are allowed: split it, or write smaller row groups"
        )


def _labels(name: str, file: Path, column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    missing = np.flatnonzero(column.is_null().to_numpy())
    if missing.size:
        raise DatasetError(
            f"data set {name}: {file} has no label in row {missing[0]} and "
            f"{missing.size - 1} more; label these rows, or leave them out"
        )
    return np.asarray(column.cast(pa.int64()).to_numpy())


def _numbered(name: str, file: Path, classes: int) -> tuple[str, ...]:
    """Number the classes of a file that does not name them."""
    if classes > _MAX_CLASSES:
        raise DatasetError(
            f"data set {name}: {file} has labels up to {classes - 1} and names no classes; at most "
            f"{_MAX_CLASSES} classes are allowed without names"
        )
    return tuple(str(label) for label in range(max(classes, 1)))


def _class_names(schema: pa.Schema) -> tuple[str, ...]:
    """Read the class names that `datasets` stores in the schema, if they are there."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features["label"]["names"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()
