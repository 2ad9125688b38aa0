"""Parquet files of ours: how a table becomes one, and how it is read back."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import StorageError
from storage.schemas import VERSION_KEY, check_version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from storage.places import Place


def publish_table(place: Place, table: pa.Table) -> None:
    """Make a file hold `table` as Parquet, atomically and durably.

    Raises: OSError: the file cannot be written; it is then as it was.
    """
    place.publish(parquet_bytes(table))


def parquet_bytes(table: pa.Table) -> bytes:
    """Serialise a table; its schema metadata carries the version."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def read_table(place: Place) -> pa.Table:
    """Read a whole Parquet file of ours.

    Raises:
        FileNotFoundError: there is none.
        SchemaVersionError: a newer version wrote it.
        StorageError: it is no Parquet file.
    """
    with _opened(place) as parquet:
        return parquet.read()


def check_file_version(place: Place) -> None:
    """Read no more than the footer of a Parquet file of ours; raises as `read_table`."""
    with _opened(place):
        pass


@contextlib.contextmanager
def _opened(place: Place) -> Iterator[pq.ParquetFile]:
    # Opened by us: pyarrow's own path handling guesses at file systems.
    with place.open() as file:
        try:
            parquet = pq.ParquetFile(file)
            metadata = parquet.schema_arrow.metadata or {}
            check_version(metadata.get(VERSION_KEY.encode(), b"none"), str(place))
            yield parquet
        except pa.ArrowException as err:
            raise StorageError(
                f"{place} is damaged ({err}); it was published whole, so something else wrote to "
                "it: restore it or delete it (of a run: remove the run with `gfjobs rm`)"
            ) from err
