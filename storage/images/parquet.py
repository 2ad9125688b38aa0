"""Images in Parquet, in the layout of the Hugging Face `datasets` library."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from storage.errors import DatasetError
from storage.images.image_set import ImageSet, check_labels, content_sha256

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

_LAYOUT = "image: struct<bytes: binary, path: string>, label: integer"

# Rows decoded at a time when a whole file is read.
_BATCH_ROWS = 256

_MAX_CLASSES = 100_000

_MAX_ROWS = 20_000_000  # fourteen times ImageNet
_MAX_GROUP_BYTES = 4 * 2**30


class ParquetSource:
    """Reads one row group at a time; the file is mapped, not held."""

    def __init__(self, path: Path) -> None:
        """Read rows of `path`."""
        self._path = path
        with pq.ParquetFile(path, memory_map=True) as file:
            counts = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])

    def read(self, image_ids: npt.NDArray[np.int64]) -> list[bytes | None]:
        """Read encoded images by row, in the order asked."""
        images: list[bytes | None] = [None] * len(image_ids)
        groups = np.searchsorted(self._starts, image_ids, side="right") - 1
        with pq.ParquetFile(self._path, memory_map=True) as file:
            for group in np.unique(groups):
                column = file.read_row_group(int(group), columns=["image.bytes"]).column("image")
                values = pc.struct_field(column.combine_chunks(), "bytes")
                for slot in np.flatnonzero(groups == group):
                    images[slot] = values[int(image_ids[slot] - self._starts[group])].as_py()
        return images

    def read_all(self) -> Iterator[bytes | None]:
        """Read all, a batch at a time."""
        with pq.ParquetFile(self._path, memory_map=True) as file:
            for batch in file.iter_batches(_BATCH_ROWS, columns=["image.bytes"]):
                yield from pc.struct_field(batch.column("image"), "bytes").to_pylist()


def open_parquet(name: str, path: Path, split: str) -> ImageSet:
    """Open a Parquet file of images, or `<split>.parquet` in a folder of them.

    Class names come from the `huggingface` metadata; without it they are "0".."K-1", K being
    the largest label + 1. A row without bytes stays: it will fail to decode, and be named.

    Raises: DatasetError: no such file, another layout, no rows, a label outside the classes.
    """
    file = path / f"{split}.parquet" if path.is_dir() else path
    if not file.is_file():
        raise DatasetError(_missing(name, path, file))
    try:
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
        source = ParquetSource(file)
        digest = content_sha256(source.read_all(), labels, class_names)
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
    raise DatasetError(f"data set {name}: {file} has columns {found}; needed are {_LAYOUT}")


def _check_claims(name: str, file: Path, metadata: pq.FileMetaData) -> None:
    """Refuse what would unpack to more than a machine has, before anything is unpacked."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    unpacked = max((group.total_byte_size for group in groups), default=0)
    if metadata.num_rows > _MAX_ROWS or unpacked > _MAX_GROUP_BYTES:
        raise DatasetError(
            f"data set {name}: {file} claims {metadata.num_rows:,} images, and row groups of up to"
            f" {unpacked:,} bytes; at most {_MAX_ROWS:,} images and {_MAX_GROUP_BYTES:,} bytes a"
            " row group are read: split it, or write smaller row groups"
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
    """Names for classes that the file does not name."""
    if classes > _MAX_CLASSES:
        raise DatasetError(
            f"data set {name}: {file} has labels up to {classes - 1} and names no classes; at most "
            f"{_MAX_CLASSES} classes are believed without their names"
        )
    return tuple(str(label) for label in range(max(classes, 1)))


def _class_names(schema: pa.Schema) -> tuple[str, ...]:
    """Read the class names that `datasets` keeps with the schema, if it does."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features["label"]["names"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()
