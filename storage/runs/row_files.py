"""Writes the row files of a run, which no reader sees until a manifest names them."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

import pyarrow as pa

from storage.tables.parquet import brief_parquet_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from storage.runs.layout import RunPaths


def join_shards(shards: Iterable[Mapping[str, pa.Table]]) -> dict[str, pa.Table]:
    """Join the tables of several shards by name; empty ones are left out."""
    parts: dict[str, list[pa.Table]] = {}
    for tables in shards:
        for name, table in tables.items():
            if table.num_rows:
                parts.setdefault(name, []).append(table)
    return {name: pa.concat_tables(tables) for name, tables in parts.items()}


def write_row_files(
    paths: RunPaths, tables: Mapping[str, pa.Table], suffix: str
) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """Write tables durably, as files that count once a manifest names them; skip empty tables.

    Args:
        paths: those of the run.
        tables: by name.
        suffix: of the files' names; never used before.

    Returns: file names by table, and SHA-256 by file name, as in a manifest.
    Raises: OSError: a file cannot be written.
    """
    files: dict[str, tuple[str, ...]] = {}
    digests: dict[str, str] = {}
    try:
        for name, table in tables.items():
            if table.num_rows:
                file = f"{name}-{suffix}.parquet"
                files[name] = (file,)
                content = brief_parquet_bytes(table)
                (paths.data / file).write(content)
                digests[file] = hashlib.sha256(content).hexdigest()
        paths.data.sync()
    except OSError:
        with contextlib.suppress(OSError):  # frees a full disk
            paths.data.delete_all([paths.data / file for (file,) in files.values()])
        raise
    return files, digests
