"""Writes tables to Parquet files of ours, and reads them back."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from storage.backends import BackendError
from storage.errors import DamagedError, StorageError
from storage.tables.schemas import TABLES, VERSION_KEY, check_version

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from storage.backends import Backend
    from storage.backends.handles import BackendFile

_BLOCK_BYTES = 1 << 20


def publish_table(backend: Backend, table: pa.Table) -> None:
    """Make a file hold `table` as Parquet, atomically and durably.

    Raises: OSError: the file cannot be written; it is then unchanged.
    """
    backend.publish(parquet_bytes(table))


def parquet_bytes(table: pa.Table, row_group_rows: int | None = None) -> bytes:
    """Serialise a table as Parquet; its schema metadata carries the version."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        row_group_size=row_group_rows,
        compression="zstd",
        write_statistics=[name for name in table.column_names if not _has_nan(table[name])],
        write_page_checksum=True,  # footer and page headers have no checksum
    )
    return bytes(sink.getvalue())


def brief_parquet_bytes(table: pa.Table) -> bytes:
    """Serialise rows that a merge soon writes anew: as Parquet that takes little time to write.

    Numbers have no dictionaries, and only text has minimum and maximum. Of 1,000 timed rows that
    takes 0.43 of the time of `parquet_bytes`, and 13 % more bytes.
    """
    sink = pa.BufferOutputStream()
    texts = [field.name for field in table.schema if pa.types.is_string(field.type)]
    pq.write_table(
        table,
        sink,
        compression="lz4",
        use_dictionary=texts,
        write_statistics=texts,
        write_page_checksum=True,
    )
    return bytes(sink.getvalue())


def _has_nan(column: pa.ChunkedArray) -> bool:
    """Whether a column holds NaN, so that it must have no minimum and maximum in its statistics.

    Such statistics leave NaN out, and DuckDB then filters as if it were not in the column.
    """
    import pyarrow.compute as pc  # a reader needs none of it

    return pa.types.is_floating(column.type) and bool(pc.any(pc.is_nan(column)).as_py())


def read_table(backend: Backend, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet file of ours, or some of its columns.

    Raises:
        FileNotFoundError: there is no such file.
        SchemaVersionError: a newer version wrote it.
        DamagedError: it is not a Parquet file, or not as it was written.
    """
    return parse_table(backend.read(), str(backend), columns)


def parse_table(content: bytes, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table from the bytes of a Parquet file of ours; raises like `read_table`."""
    with _parsed(pa.BufferReader(content), name) as parquet:
        table = parquet.read(columns, use_threads=False)
        table.validate(full=True)  # strings in a damaged file may be invalid
        return table


def keep_aside(folder: Backend, name: str) -> str:
    """Copy a damaged file to a name that no reader opens, before it is replaced.

    Returns: the name of the copy.
    Raises: OSError: it cannot be copied.
    """
    aside = f"{name}.damaged"
    (folder / aside).publish((folder / name).read())
    return aside


def compute_digest(backend: Backend) -> str:
    """Return the SHA-256 of a file, in hex.

    Raises: OSError: it does not exist, or cannot be read.
    """
    digest = hashlib.sha256()
    with backend.open() as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def check_columns(backend: Backend, table: str, owner: str | None = None) -> None:
    """Check by the footer of a Parquet file that it has the columns of a table.

    Args:
        backend: the file.
        table: a key of TABLES.
        owner: what all rows must have in the first column, which says whose they are. Another
            value is that of a file that was copied or renamed: its rows would count twice.

    Raises:
        FileNotFoundError, SchemaVersionError: as `read_table`.
        StorageError: it is not a Parquet file, columns are missing, or it was copied.
    """
    key, others = TABLES[table].names[0], set[str]()
    # Opened by us: pyarrow's own path handling guesses at file systems.
    with backend.open() as file, _parsed(file, str(backend)) as parquet:
        missing = set(TABLES[table].names).difference(parquet.schema_arrow.names)
        if owner is not None and not missing:
            others = _values(parquet, key).difference([owner])
    if missing:
        raise StorageError(
            f"{backend} is not a file of the table `{table}`, so something else wrote it: it has no"
            f" column {', '.join(sorted(missing))}; move it away or delete it"
        )
    if others:
        raise StorageError(
            f"{backend} has rows of {key} {min(others)}, not of {owner}: it was copied or renamed,"
            " and its rows would count twice; rename it back, move it away or delete it"
        )


def _values(parquet: pq.ParquetFile, column: str) -> set[str]:
    """Return values of a column of text; if there are several, at least two of them."""
    groups = [parquet.metadata.row_group(number) for number in range(parquet.num_row_groups)]
    chunks = [group.column(place) for group in groups for place in range(group.num_columns)]
    found = [chunk.statistics for chunk in chunks if chunk.path_in_schema == column]
    if all(each and each.has_min_max and not each.null_count for each in found):
        return {str(value) for each in found for value in (each.min, each.max)}
    values = parquet.read([column], use_threads=False)[column].unique()
    return {str(value) for value in values.to_pylist()}


@contextlib.contextmanager
def _parsed(file: pa.BufferReader | BackendFile, name: str) -> Iterator[pq.ParquetFile]:
    try:
        # In this thread alone: a thread of Arrow that touches Python objects while the interpreter
        # exits aborts the process (this happened in a command with no other threads than Arrow's).
        parquet = pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False)
        metadata = parquet.schema_arrow.metadata or {}
        check_version(metadata.get(VERSION_KEY.encode(), b"none"), name)
        yield parquet
    except (pa.ArrowException, OSError, UnicodeDecodeError) as err:
        # Arrow's own OSErrors, from thrift and zstd, have no errno; those from files do.
        if isinstance(err, OSError) and (err.errno is not None or isinstance(err, BackendError)):
            raise
        reason = " ".join(str(err).split())
        raise DamagedError(
            f"{name} is damaged ({reason}); it was published whole, so something else wrote to it:"
            " `gfjobs fsck` says what can be repaired; else restore it or delete it (of a run:"
            " remove the run with `gfjobs rm`)"
        ) from err
