"""Writes images as Parquet, in the layout of the Hugging Face `datasets` library."""

from __future__ import annotations

import itertools
import json
import os
import uuid
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from storage.backends import TEMPORARY_PREFIX
from storage.backends.local import sync_file
from storage.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_ROWS = 1000
"""Rows per row group, which are read and held at a time."""


class EncodedImage(NamedTuple):
    """One image as it will be stored.

    Attributes:
        encoded: the bytes of an image file.
        path: name of the image, unique in its data set.
        label: index into the class names.
    """

    encoded: bytes
    path: str
    label: int


def image_schema(class_names: Sequence[str]) -> pa.Schema:
    """Return the schema of a file of images; its metadata names the classes."""
    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(class_names), "_type": "ClassLabel"},
    }
    return pa.schema(
        [
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("label", pa.int64()),
        ],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )


def write_images(path: Path, images: Iterable[EncodedImage], class_names: Sequence[str]) -> None:
    """Write a file of images, which appears whole or not at all; an older file is replaced.

    Args:
        path: the file; its folder is made if needed.
        images: in the order of their ids; held 1,000 at a time.
        class_names: in the order of their labels.

    Raises:
        DatasetError: the file system refuses.
    """
    schema = image_schema(class_names)
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
                for rows in _groups(images):
                    writer.write_table(_table(rows, schema))
            sync_file(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as err:
        reason = os.strerror(err.errno) if err.errno else str(err)
        raise DatasetError(f"{path} cannot be written: {reason}") from err


def _groups(images: Iterable[EncodedImage]) -> Iterator[list[EncodedImage]]:
    every = iter(images)
    while rows := list(itertools.islice(every, _ROWS)):
        yield rows


def _table(rows: Sequence[EncodedImage], schema: pa.Schema) -> pa.Table:
    column = [{"bytes": row.encoded, "path": row.path} for row in rows]
    return pa.table([column, [row.label for row in rows]], schema=schema)
