"""The history of a root: the small tables and summaries of finished runs, in one file each.

`<root>/history/index.json` names the files, and for each run in them its data files. The runs
themselves stay where they are; the history is a copy of what would otherwise be read from hundreds
of small files. A run in it counts while its seal exists, an empty file in `history/seals` named
`<run_id>@<random>`. A process that is about to change or remove the run deletes the seal first, and
no seal name is used twice. So a stale copy is never read, and a lost copy only costs time.
"""

from __future__ import annotations

import dataclasses
import json
import uuid
from typing import TYPE_CHECKING, Any

from storage.errors import StorageError
from storage.runs.manifests import bare_names
from storage.tables.schemas import SCHEMA_VERSION, check_version

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from typing_extensions import Self

    from storage.backends import Backend

COPIED_TABLES = ("runs", "cells", "nodes")

INDEX, SEALS = "index.json", "seals"


@dataclasses.dataclass(frozen=True)
class SealedRun:
    """One run of a history: the name of its seal, and its data files by table."""

    seal: str
    files: Mapping[str, tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class History:
    """An index, with the runs that count at this moment.

    `files` are by table or summarised view; `stale` runs are in the files but no longer count;
    `definition` is the digest of the SQL of the summaries (storage.sql.macros.definition).
    """

    folder: Backend
    files: Mapping[str, str]
    digests: Mapping[str, str]
    definition: str
    runs: Mapping[str, SealedRun]
    stale: Collection[str] = ()

    @classmethod
    def read(cls, root: Backend) -> Self | None:
        """Read the history of a root; None if it was never compacted.

        Raises:
            StorageError: the index is damaged.
            SchemaVersionError: a newer version wrote it.
        """
        # Index before seals: a run that is still sealed then has not changed since the index.
        backend = _index(root)
        try:
            content = backend.read()
        except FileNotFoundError:
            return None
        history = cls._parsed(root, content)
        standing = {seal.name for seal in _seals(root).children()}
        folders = {folder.name for folder in (root / "runs").children()}
        current = {
            run_id: run
            for run_id, run in history.runs.items()
            if run.seal in standing and run_id in folders
        }
        stale = sorted(history.runs.keys() - current.keys())
        return dataclasses.replace(history, runs=current, stale=stale)

    @classmethod
    def _parsed(cls, root: Backend, content: bytes) -> Self:
        try:
            index = json.loads(content)
            check_version(index["schema_version"], str(_index(root)))
            bare_names(index["files"].values())
            return cls(
                root / "history",
                dict(index["files"]),
                dict(index["digests"]),
                str(index["definition"]),
                {run_id: _sealed(run) for run_id, run in index["runs"].items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError) as err:
            raise StorageError(
                f"{_index(root)} is damaged ({type(err).__name__}: {err}); it is a copy: delete "
                "it, and make it again with `gfjobs compact`"
            ) from err

    def publish(self) -> None:
        """Make it the root's history, in one step; the caller holds the lease of the folder.

        Raises: OSError: it cannot be written; the earlier history still counts.
        """
        content = {
            "schema_version": SCHEMA_VERSION,
            "files": dict(self.files),
            "digests": dict(self.digests),
            "definition": self.definition,
            "runs": {run_id: dataclasses.asdict(run) for run_id, run in self.runs.items()},
        }
        (self.folder / INDEX).publish(json.dumps(content).encode())

    def file(self, table: str) -> Backend:
        """Return the file with the copied rows of a table or view."""
        return self.folder / self.files[table]

    def named(self) -> set[str]:
        """Return the names of all its files."""
        return set(self.files.values())


def seal(root: Backend, run_id: str) -> str:
    """Mark a run as unchanged for as long as the seal exists; the caller holds the run's lease.

    Returns: the name of the seal, an existing one or a new one.
    """
    for name in list_seals(root, run_id):
        return name
    name = f"{run_id}@{uuid.uuid4().hex}"
    _seals(root).make_folder()
    (_seals(root) / name).publish(b"")
    return name


def unseal(root: Backend, run_id: str) -> None:
    """Delete a run's seal before the run changes; the caller holds the run's lease.

    Raises: OSError: the seal cannot be deleted, so the run must not change.
    """
    names = list_seals(root, run_id)
    for name in names:
        (_seals(root) / name).delete()
    if names:
        _seals(root).sync()


def unseal_gone(root: Backend) -> None:
    """Delete the seals of runs whose folders are gone for any reason."""
    seals = _seals(root).children()  # first, so that the folders include a run made meanwhile
    folders = {folder.name for folder in (root / "runs").children()}
    for seal in seals:
        if sealed_run(seal.name) not in folders:
            seal.delete()


def list_seals(root: Backend, run_id: str) -> list[str]:
    """List the existing seals of a run: one, or none."""
    return [seal.name for seal in _seals(root).children() if sealed_run(seal.name) == run_id]


def sealed_run(seal_name: str) -> str:
    """Return the run_id in the name of a seal."""
    return seal_name.rpartition("@")[0]


def _seals(root: Backend) -> Backend:
    return root / "history" / SEALS


def _index(root: Backend) -> Backend:
    return root / "history" / INDEX


def _sealed(content: dict[str, Any]) -> SealedRun:
    files = {table: bare_names(names) for table, names in content["files"].items()}
    return SealedRun(str(content["seal"]), files)
