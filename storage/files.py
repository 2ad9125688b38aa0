"""How a file appears under a results root: whole, durable, in one atomic step.

A file is written under a name that every reader ignores (it starts with `.tmp-`), flushed to
the disk, and renamed over its final name. A crash leaves the old file, or the new one, or a
`.tmp-` file that nobody reads.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import StorageError
from storage.schemas import VERSION_KEY, check_version

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEMPORARY_PREFIX = ".tmp-"


def publish_bytes(path: Path, content: bytes) -> None:
    """Make `path` hold `content`, atomically and durably; an older file is replaced.

    Raises: OSError: the file cannot be written; `path` is then as it was.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}")
    try:
        write_bytes(temporary, content)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def publish_table(path: Path, table: pa.Table) -> None:
    """Make `path` hold `table` as Parquet, atomically and durably.

    Raises: OSError: the file cannot be written; `path` is then as it was.
    """
    publish_bytes(path, parquet_bytes(table))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a new file and flush it to the disk; not atomic, for names nobody reads yet."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_file(path: Path) -> None:
    """Flush to the disk what another library wrote."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Flush a folder's list of names, so that a rename survives a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def parquet_bytes(table: pa.Table) -> bytes:
    """Serialise a table; its schema metadata carries the version."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def read_table(path: Path) -> pa.Table:
    """Read a whole Parquet file of ours.

    Raises:
        FileNotFoundError: there is none.
        SchemaVersionError: a newer version wrote it.
        StorageError: it is no Parquet file.
    """
    with _opened(path) as parquet:
        return parquet.read()


def check_file_version(path: Path) -> None:
    """Read no more than the footer of a Parquet file of ours; raises as `read_table`."""
    with _opened(path):
        pass


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    # Opened by us: pyarrow's own path handling guesses at file systems.
    with path.open("rb") as file:
        try:
            parquet = pq.ParquetFile(file)
            metadata = parquet.schema_arrow.metadata or {}
            check_version(metadata.get(VERSION_KEY.encode(), b"none"), str(path))
            yield parquet
        except pa.ArrowException as err:
            raise StorageError(
                f"{path} is damaged ({err}); it was published whole, so something else wrote to "
                "it: restore it or delete it (of a run: remove the run with `gfjobs rm`)"
            ) from err
