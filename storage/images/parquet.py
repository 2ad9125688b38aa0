"""Images in Parquet, in the layout of the Hugging Face `datasets` library."""

from __future__ import annotations

import itertools
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
from storage.images.digests import FileState, keep_digest, known_digest, state_of_files
from storage.images.image_set import ImageSet, check_labels, content_sha256
from storage.images.parquet_layout import Columns, find_columns, find_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

_LOG = logging.getLogger(__name__)

# Rows decoded at a time when a whole file is read.
_BATCH_ROWS = 256

SMALL_BYTES = 8 * 2**20
"""Most bytes of images in a file that is read without a copy, in some hundredths of a second."""

_MAPPED_BYTES = 64 * 2**20
"""Bytes of images after which a file is opened again: pages that were mapped count as memory."""

_MAX_CLASSES = 100_000

_LFS = b"version https://git-lfs"

_MAX_ROWS = 20_000_000  # fourteen times ImageNet
_MAX_GROUP_BYTES = 4 * 2**30


class ParquetSource:
    """Reads rows of memory-mapped files, or of a local copy if that is faster.

    A copy saves unpacking whole row groups for a few rows of each. If the data set was opened
    without a copy, one is made as soon as as many bytes were unpacked needlessly as it would cost.

    Attributes:
        sha256: digest of the data set.
        read_bytes: bytes of images that were read so far, or unpacked to reach requested images.
    """

    def __init__(
        self,
        files: Sequence[Path],
        columns: Columns,
        labels: npt.NDArray[np.int64],
        class_names: Sequence[str],
    ) -> None:
        """Open `files`, one after the other, whose labels and class names are known."""
        self._path, self._files, self._columns = files[0], files, columns
        self._labels, self._class_names = labels, class_names
        counts: list[int] = []
        sizes: list[int] = []
        self._groups: list[tuple[int, int]] = []  # index of the file, and in the file
        for number, path in enumerate(files):
            with pq.ParquetFile(path, memory_map=True) as file:
                leaf = _column_index(file.metadata, columns.leaf)
                for i in range(file.num_row_groups):
                    group = file.metadata.row_group(i)
                    counts.append(group.num_rows)
                    sizes.append(group.column(leaf).total_uncompressed_size)
                    self._groups.append((number, i))
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
        passed = np.cumsum(self._sizes[groups]) // _MAPPED_BYTES
        place = dict(zip(groups.tolist(), passed.tolist(), strict=True))
        for (number, _), part in itertools.groupby(
            groups.tolist(), lambda i: (self._groups[i][0], place[i])
        ):
            with pq.ParquetFile(self._files[number], memory_map=True) as file:
                for batch in file.iter_batches(
                    _BATCH_ROWS,
                    row_groups=[self._groups[i][1] for i in part],
                    columns=[self._columns.leaf],
                ):
                    images = batch.column(self._columns.image)
                    if self._columns.has_bytes:
                        images = pc.struct_field(images, "bytes")
                    self.read_bytes += images.nbytes
                    yield images


def _column_index(metadata: pq.FileMetaData, leaf: str) -> int:
    """Return the index of the images' bytes among the columns stored in a file."""
    paths = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
    return paths.index(leaf)


def open_parquet(
    name: str,
    path: Path,
    split: str,
    *,
    is_shuffled: bool = False,
    image: str | None = None,
    label: str | None = None,
) -> ImageSet:
    """Open the Parquet files of a data set.

    Args:
        name: data set name as requested.
        path: path of a file or folder, or a pattern of files: see `find_files`.
        split: of a folder.
        is_shuffled: whether its images will be read in another order than they are stored.
        image: the column of images; None: see `find_columns`.
        label: that of labels, likewise.

    Class names come from the `huggingface` metadata; without it they are "0".."K-1", K being
    the largest label + 1. A row without bytes is kept: decoding it fails later and reports it.

    Raises: DatasetError: no such file, another layout, no rows, a label outside the classes.
    """
    files = find_files(name, path, split)
    file = files[0]
    try:
        state = _state(files, image, label)
        columns, tables = None, []
        for file in files:
            _check_pointer(name, file)
            with pq.ParquetFile(file, memory_map=True) as parquet:
                found = find_columns(name, file, parquet.schema_arrow, image, label)
                if columns not in (None, found):
                    raise DatasetError(
                        f"data set {name}: {file} has other columns or classes than {files[0]}"
                    )
                columns = found
                _check_claims(name, file, parquet.metadata)
                tables.append(_read_small(parquet, columns))
        table = pa.concat_tables(tables)
        if not table.num_rows or columns is None:
            raise DatasetError(f"data set {name}: {file} has no images")
        if columns.has_bytes and not any(map(_has_images, files, itertools.repeat(columns.leaf))):
            raise DatasetError(
                f"data set {name}: {files[0]} has no images, but at most paths of files, such as"
                f" {table.column('path')[0]}: write the files' bytes into it (datasets:"
                " embed_table_storage), or name their folder, imagefolder:PATH"
            )
        labels = _labels(name, file, table.column("label"))
        known = table.column("path").to_pylist()
        paths = tuple(str(row) if path is None else path for row, path in enumerate(known))
        class_names = columns.class_names or _numbered(name, file, int(labels.max()) + 1)
        check_labels(name, labels, paths, len(class_names))
        source = ParquetSource(files, columns, labels, class_names)
        digest = known_digest("images", files[0], state)
        if digest is None:
            digest = source.digest(is_copied=is_shuffled)
            if state == _state(files, image, label):
                keep_digest("images", files[0], state, digest)
        source.sha256 = digest
    except (pa.ArrowException, OSError) as err:
        raise DatasetError(f"data set {name}: {file} cannot be read as Parquet: {err}") from err
    return ImageSet(name, split, digest, class_names, labels, paths, source)


def _state(files: Sequence[Path], image: str | None, label: str | None) -> FileState:
    """Return the state of all files; requested columns make another data set of them."""
    found = ((file.name if number else "", file.stat()) for number, file in enumerate(files))
    return state_of_files(found, salt=f"{image}\0{label}" if image or label else "")


def _read_small(parquet: pq.ParquetFile, columns: Columns) -> pa.Table:
    """Read the labels, and the paths of the images if the file has them."""
    wanted = [columns.label, *([f"{columns.image}.path"] if columns.has_path else [])]
    table = parquet.read(columns=wanted)
    path = pa.nulls(table.num_rows, pa.string())
    if columns.has_path:
        path = pc.struct_field(table.column(columns.image).combine_chunks(), "path")
    label = table.column(columns.label).cast(pa.int64())
    return pa.table({"label": label, "path": path.cast(pa.string())})


def _check_pointer(name: str, file: Path) -> None:
    """Refuse what a clone without Git LFS has in the place of a file."""
    with file.open("rb") as opened:
        is_pointer = opened.read(len(_LFS)) == _LFS
    if is_pointer:
        raise DatasetError(
            f"data set {name}: {file} is a pointer of Git LFS, not the file itself: fetch it with"
            " `git lfs pull`"
        )


def _has_images(file: Path, leaf: str) -> bool:
    """Whether any row has bytes, by the file's statistics; a file without these may have some."""
    metadata = pq.read_metadata(file)
    column = _column_index(metadata, leaf)
    for i in range(metadata.num_row_groups):
        group = metadata.row_group(i)
        found = group.column(column).statistics
        if not found or not found.has_null_count or found.null_count < group.num_rows:
            return True
    return False


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
    return np.asarray(column.to_numpy())


def _numbered(name: str, file: Path, classes: int) -> tuple[str, ...]:
    """Number the classes of a file that does not name them."""
    if classes > _MAX_CLASSES:
        raise DatasetError(
            f"data set {name}: {file} has labels up to {classes - 1} and names no classes; at most "
            f"{_MAX_CLASSES} classes are allowed without names"
        )
    return tuple(str(label) for label in range(max(classes, 1)))
