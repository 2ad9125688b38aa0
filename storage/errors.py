"""The errors of storage: every failure that a caller may want to distinguish.

::

    StorageError
    ├── RootNotWritableError   the results root cannot be made or written
    ├── RunNotFoundError       no such run under the root
    ├── RunExistsError         a new run would take an old one's name
    ├── RunLockedError         another process holds the run's lease
    ├── SchemaVersionError     a file was written by a newer version
    ├── DamagedError           a file of ours does not hold what was written
    ├── QueryError             DuckDB refused a statement
    ├── BackendError           a storage backend refused (in storage.backends; an OSError too)
    └── DatasetError           a data set is missing or not as described
"""

from __future__ import annotations


class StorageError(Exception):
    """Base of all errors of this package."""


class RootNotWritableError(StorageError):
    """The results root cannot be created or written."""


class RunNotFoundError(StorageError):
    """The root holds no run of that name."""


class RunExistsError(StorageError):
    """The root already holds a run of that name."""


class RunLockedError(StorageError):
    """Another process holds the lease of the run."""


class SchemaVersionError(StorageError):
    """A file has a schema version that this program does not know."""


class DamagedError(StorageError):
    """A file does not hold what was written to it; other files can still be read."""


class QueryError(StorageError):
    """DuckDB refused a statement, or a statement failed while it ran."""


class DatasetError(StorageError):
    """A data set is unknown, missing, empty or not as described."""
