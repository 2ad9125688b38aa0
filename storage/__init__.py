"""Rows in, rows out: Arrow schemas, atomic commits, DuckDB views and queries, encoded images.

The only package that uses DuckDB and pyarrow. Names are loaded when they are first used
(PEP 562), so that `import storage` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.backends import Root, checked_root
    from storage.backends.file_lock import HeldError, lock_holder, take_lock
    from storage.errors import (
        DamagedError,
        DatasetError,
        QueryError,
        RootNotWritableError,
        RunExistsError,
        RunLockedError,
        RunNotFoundError,
        SchemaVersionError,
        StorageError,
    )
    from storage.images import ImageSet, open_images
    from storage.images.digests import keep_digest, known_digest, state_of_file
    from storage.images.names import DATA_VARIABLE, DOWNLOADABLE, cache_folder, named_file
    from storage.images.writing import EncodedImage, write_images
    from storage.maintenance.compaction import Compaction, compact
    from storage.maintenance.fsck import Problem, fsck
    from storage.maintenance.restore import Remains, Replanned
    from storage.results.connection import connect, named_query, query
    from storage.results.export import FORMATS, encode, table_values
    from storage.runs.judgements import save_regressions
    from storage.runs.layout import check_root, checked_name, has_probe, has_results, probe
    from storage.runs.listing import (
        ask_to_cancel,
        find_run,
        holder,
        is_locked,
        list_runs,
        log_of,
        read_cells,
        remove_run,
        resolve_run,
    )
    from storage.runs.manifests import CommitEntry
    from storage.runs.store import RunStore
    from storage.runs.submission import read_submission, run_names
    from storage.runs.training_log import TrainingLog
    from storage.tables.answers import ANSWERS, unanswered
    from storage.tables.kinds import KINDS, CellKind, Kind, rows_per_image
    from storage.tables.records import (
        CellRow,
        CellStatus,
        FindingKind,
        Judgement,
        Metric,
        NodeRow,
        RegressionRow,
        RunRow,
        RunStatus,
        TrainingRow,
        rows_to_table,
        table_to_rows,
    )
    from storage.tables.schemas import SCHEMA_VERSION, TABLES, build_table
    from storage.tables.wire import image_digest, pack_tables, unpack_tables

_MODULES = {
    "ANSWERS": "tables.answers",
    "CellKind": "tables.kinds",
    "CellRow": "tables.records",
    "CellStatus": "tables.records",
    "CommitEntry": "runs.manifests",
    "Compaction": "maintenance.compaction",
    "DATA_VARIABLE": "images.names",
    "DOWNLOADABLE": "images.names",
    "DamagedError": "errors",
    "DatasetError": "errors",
    "EncodedImage": "images.writing",
    "FORMATS": "results.export",
    "FindingKind": "tables.records",
    "HeldError": "backends.file_lock",
    "ImageSet": "images",
    "KINDS": "tables.kinds",
    "Kind": "tables.kinds",
    "Judgement": "tables.records",
    "Metric": "tables.records",
    "NodeRow": "tables.records",
    "Problem": "maintenance.fsck",
    "QueryError": "errors",
    "Remains": "maintenance.restore",
    "Replanned": "maintenance.restore",
    "Root": "backends",
    "RegressionRow": "tables.records",
    "RootNotWritableError": "errors",
    "RunExistsError": "errors",
    "RunLockedError": "errors",
    "RunNotFoundError": "errors",
    "RunRow": "tables.records",
    "RunStatus": "tables.records",
    "RunStore": "runs.store",
    "SCHEMA_VERSION": "tables.schemas",
    "SchemaVersionError": "errors",
    "StorageError": "errors",
    "TABLES": "tables.schemas",
    "TrainingLog": "runs.training_log",
    "TrainingRow": "tables.records",
    "ask_to_cancel": "runs.listing",
    "holder": "runs.listing",
    "lock_holder": "backends.file_lock",
    "log_of": "runs.listing",
    "read_cells": "runs.listing",
    "has_probe": "runs.layout",
    "probe": "runs.layout",
    "find_run": "runs.listing",
    "build_table": "tables.schemas",
    "cache_folder": "images.names",
    "check_root": "runs.layout",
    "checked_name": "runs.layout",
    "checked_root": "backends",
    "compact": "maintenance.compaction",
    "connect": "results.connection",
    "encode": "results.export",
    "has_results": "runs.layout",
    "fsck": "maintenance.fsck",
    "image_digest": "tables.wire",
    "keep_digest": "images.digests",
    "known_digest": "images.digests",
    "is_locked": "runs.listing",
    "list_runs": "runs.listing",
    "named_file": "images.names",
    "named_query": "results.connection",
    "open_images": "images",
    "pack_tables": "tables.wire",
    "query": "results.connection",
    "read_submission": "runs.submission",
    "remove_run": "runs.listing",
    "resolve_run": "runs.listing",
    "rows_per_image": "tables.kinds",
    "rows_to_table": "tables.records",
    "run_names": "runs.submission",
    "save_regressions": "runs.judgements",
    "state_of_file": "images.digests",
    "table_to_rows": "tables.records",
    "table_values": "results.export",
    "take_lock": "backends.file_lock",
    "unanswered": "tables.answers",
    "unpack_tables": "tables.wire",
    "write_images": "images.writing",
}

__all__ = [
    "ANSWERS",
    "DATA_VARIABLE",
    "DOWNLOADABLE",
    "FORMATS",
    "KINDS",
    "SCHEMA_VERSION",
    "TABLES",
    "CellKind",
    "CellRow",
    "CellStatus",
    "CommitEntry",
    "Compaction",
    "DamagedError",
    "DatasetError",
    "EncodedImage",
    "FindingKind",
    "HeldError",
    "ImageSet",
    "Judgement",
    "Kind",
    "Metric",
    "NodeRow",
    "Problem",
    "QueryError",
    "RegressionRow",
    "Remains",
    "Replanned",
    "Root",
    "RootNotWritableError",
    "RunExistsError",
    "RunLockedError",
    "RunNotFoundError",
    "RunRow",
    "RunStatus",
    "RunStore",
    "SchemaVersionError",
    "StorageError",
    "TrainingLog",
    "TrainingRow",
    "ask_to_cancel",
    "build_table",
    "cache_folder",
    "check_root",
    "checked_name",
    "checked_root",
    "compact",
    "connect",
    "encode",
    "find_run",
    "fsck",
    "has_probe",
    "has_results",
    "holder",
    "image_digest",
    "is_locked",
    "keep_digest",
    "known_digest",
    "list_runs",
    "lock_holder",
    "log_of",
    "named_file",
    "named_query",
    "open_images",
    "pack_tables",
    "probe",
    "query",
    "read_cells",
    "read_submission",
    "remove_run",
    "resolve_run",
    "rows_per_image",
    "rows_to_table",
    "run_names",
    "save_regressions",
    "state_of_file",
    "table_to_rows",
    "table_values",
    "take_lock",
    "unanswered",
    "unpack_tables",
    "write_images",
]


def __getattr__(name: str) -> object:
    """Load the module that owns a public name, when the name is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module 'storage' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"storage.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
