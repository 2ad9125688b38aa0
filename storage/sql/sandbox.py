"""The sandbox of a DuckDB connection: it can only read the files of one root, by name.

A file system of ours is registered under its own scheme, with an explicit map of the files that
count. A locked connection may use only this scheme, whatever a statement says: it cannot write,
reach another file or address, load an extension, or undo the restriction.
"""

from __future__ import annotations

import contextlib
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from fsspec import AbstractFileSystem

from storage.backends.handles import BackendFile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import duckdb

    from storage.backends import Backend

SCHEME = "results"

# A file never changes under its name, so what DuckDB caches of it stays valid.
_LONG_AGO = datetime(2000, 1, 1, tzinfo=timezone.utc)


def open_duckdb(config: Mapping[str, str] | None = None) -> duckdb.DuckDBPyConnection:
    """Open a database in memory, whose slow statements draw no progress bar on stdout.

    Rows go there, and the bar of a query or of a merge would be among them.
    """
    import duckdb

    connection = duckdb.connect(config=dict(config or {}))
    # In a notebook DuckDB refuses the setting without ipywidgets, and then has no bar either.
    with contextlib.suppress(duckdb.InvalidInputException):
        connection.execute("SET enable_progress_bar = false")
    return connection


class Mount:
    """The files of a root on one connection.

    Args:
        connection: reads them.
        root: their names are relative to it.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, root: Backend) -> None:
        self._root = root
        self._files = _ReadOnlyFiles()
        connection.register_filesystem(self._files)

    def name_of(self, file: Backend) -> str:
        """Make a file readable, and return its name on the connection."""
        name = f"{SCHEME}://{str(file).removeprefix(str(self._root)).lstrip('/')}"
        self._files.by_name[name] = file
        return name

    def open_ahead(self, files: Sequence[Backend]) -> None:
        """Prefetch files, if opening each of them is slow."""
        self._root.open_ahead(files)

    @property
    def refusal(self) -> OSError | None:
        """The last error of reading or writing a file; None if there was none."""
        return self._files.refusal

    @property
    def is_stale(self) -> bool:
        """Whether a file vanished since it was listed."""
        return isinstance(self._files.refusal, FileNotFoundError)


def restrict(connection: duckdb.DuckDBPyConnection, *, is_locked: bool = True) -> None:
    """Confine a connection to the files of its mount, irreversibly.

    It cannot spill to a disk: DuckDB lets every statement write in the folder that it spills to.

    Args:
        connection: as `Mount` has it.
        is_locked: whether no statement can change a setting any more, as for those of users.
    """
    connection.execute("SET temp_directory = ''")
    connection.execute("SET python_enable_replacements = false")  # else `FROM x` finds variables
    connection.execute(f"SET allowed_directories = ['{SCHEME}://']")
    connection.execute("SET enable_external_access = false")
    if is_locked:
        connection.execute("SET lock_configuration = true")


class _ReadOnlyFiles(AbstractFileSystem):  # type: ignore[misc] # fsspec ships no types
    """The file system interface that DuckDB uses, with the files of a map."""

    protocol = SCHEME
    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self.by_name: dict[str, Backend] = {}
        self.refusal: OSError | None = None

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path

    def open(self, path: str, mode: str = "rb", **_: Any) -> BackendFile:
        """Open for reading; anything else is refused."""
        try:
            if mode != "rb":
                raise PermissionError(f"{path} can only be read")
            if path not in self.by_name:
                raise PermissionError(f"{path} is not a file of these results")
            return _WatchedFile(self, self.by_name[path].open())
        except OSError as err:
            self.refusal = err
            raise

    def exists(self, path: str, **_: Any) -> bool:
        """Whether it is in the map."""
        return path in self.by_name

    isfile = exists

    def isdir(self, path: str) -> bool:  # noqa: ARG002 (of fsspec)
        """Return False: there are no folders."""
        return False

    def glob(self, path: str, **_: Any) -> list[str]:
        """Return the file of this name: a name is not a pattern."""
        return [path] if path in self.by_name else []

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:  # noqa: ARG002 (of fsspec)
        """Return nothing: there are no folders."""
        return []

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return name, size and type."""
        with contextlib.closing(self.open(path)) as file:
            return {"name": path, "size": file.size_bytes, "type": "file"}

    def modified(self, path: str) -> datetime:  # noqa: ARG002 (of fsspec)
        """Return a fixed time: files never change."""
        return _LONG_AGO


class _WatchedFile(BackendFile):
    """A file that records read errors, which DuckDB would hide."""

    def __init__(self, files: _ReadOnlyFiles, file: BackendFile) -> None:
        super().__init__(file.size_bytes)
        self._files, self._file = files, file

    def read_at(self, position: int, size: int) -> bytes:
        """Read, and record an error."""
        try:
            return self._file.read_at(position, size)
        except OSError as err:
            self._files.refusal = err
            raise

    def close(self) -> None:
        """Close this file and the one it wraps."""
        self._file.close()
        super().close()
