"""The ledger's file: an SQLite database, checked to be a ledger, undamaged, and of this version.

It uses a rollback journal and `synchronous=FULL`: a transaction's writes are on the disk when it
ends, and a kill leaves the state either before or after it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from jobs.common.errors import UsageError

VERSION = 1
APPLICATION = 0x67666E31
"""Application id in the file's header: tells a ledger from other programs' databases."""

BUSY_S = 30.0
"""How long a writer waits for another one; each write takes milliseconds."""

VARIABLE = "GFJOBS_LEDGER"

TABLES = """
CREATE TABLE schedules (
    name TEXT PRIMARY KEY,
    text TEXT NOT NULL,
    path TEXT NOT NULL,
    results TEXT NOT NULL,
    horizon TEXT NOT NULL
);
CREATE TABLE nights (
    night_id INTEGER PRIMARY KEY,
    schedule TEXT NOT NULL,
    due_at TEXT NOT NULL,
    run_id TEXT,
    state TEXT NOT NULL,
    note TEXT,
    text TEXT NOT NULL,
    path TEXT NOT NULL,
    results TEXT NOT NULL,
    began_at TEXT,
    ended_at TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    is_news INTEGER NOT NULL DEFAULT 0,
    found TEXT,
    report TEXT,
    tell_at TEXT,
    tells INTEGER NOT NULL DEFAULT 0,
    told_at TEXT,
    tell_error TEXT,
    UNIQUE (schedule, due_at)
);
"""


def _keep_private(path: Path) -> None:
    """Create the ledger for this user alone, or close an older one to others."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        with contextlib.suppress(OSError):  # another user's: reading it says what is wrong
            path.chmod(0o600)


class Database:
    """An open ledger file, created if there is none.

    Args:
        path: path of the file.

    Raises:
        UsageError: it cannot be created or read, is damaged, of another program, or of a later
            version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        other = f"choose another with --ledger FILE or ${VARIABLE}"
        try:
            if self.path.exists() and not self.path.is_file():  # SQLite would put files next to it
                raise UsageError(f"the ledger {self.path} is not a file; {other}")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _keep_private(self.path)
        except OSError as err:
            raise UsageError(
                f"the ledger {self.path} cannot be created: {err.strerror}; {other}"
            ) from err
        with self._speaking():
            self._database = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)
            try:
                self._database.row_factory = sqlite3.Row
                self._database.execute("PRAGMA synchronous=FULL")
                self._prepare()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def run(self, statement: str, *values: object) -> sqlite3.Cursor:
        """Run one statement that returns no rows; outside `transaction` it is one by itself."""
        with self._speaking():
            return self._database.execute(statement, values)

    def rows(self, statement: str, *values: object) -> list[sqlite3.Row]:
        """The rows of a query."""
        with self._speaking():
            return self._database.execute(statement, values).fetchall()

    def _prepare(self) -> None:
        """Create the tables of a new file; check that an existing file is a ledger."""
        if self._is_new():
            with self.transaction():
                if self._is_new():  # no other process was quicker
                    for statement in filter(str.strip, TABLES.split(";")):
                        self.run(statement)
                    self.run(f"PRAGMA user_version = {VERSION}")
                    self.run(f"PRAGMA application_id = {APPLICATION}")
        ((version,),) = self.rows("PRAGMA user_version")
        ((application,),) = self.rows("PRAGMA application_id")
        if application != APPLICATION:
            raise UsageError(
                f"{self.path} is a database of another program, not a ledger of nights; choose"
                f" another with --ledger FILE or ${VARIABLE}"
            )
        if version != VERSION:
            raise UsageError(
                f"the ledger {self.path} is of version {version}, and this gfjobs knows version"
                f" {VERSION}; update gfjobs, or choose another with --ledger FILE"
            )
        ((check, *_),) = self.rows("PRAGMA quick_check(1)")
        if check != "ok":
            raise sqlite3.DatabaseError(check)

    def _is_new(self) -> bool:
        """Whether the file is empty."""
        ((version,),) = self.rows("PRAGMA user_version")
        ((tables,),) = self.rows("SELECT count(*) FROM sqlite_master")
        return not (version or tables)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything in the `with` block, or nothing if it raises."""
        with self._speaking():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    @contextlib.contextmanager
    def _speaking(self) -> Iterator[None]:
        """Turn errors of SQLite into UsageErrors that say what to do."""
        try:
            yield
        except sqlite3.OperationalError as err:  # a problem of the disk, the folder or the lock
            raise UsageError(
                f"the ledger {self.path} cannot be used: {err}; choose another with --ledger FILE"
                f" or ${VARIABLE}, or repair its folder"
            ) from err
        except sqlite3.DatabaseError as err:
            raise UsageError(
                f"the ledger {self.path} is damaged: {' '.join(str(err).split())}. The runs are"
                " stored elsewhere and have lost nothing. Move the ledger away, or replace it by a"
                " copy, and add the schedules again with `gfjobs schedule add`"
            ) from err
