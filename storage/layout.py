"""Where things lie under a results root, and which names and roots are allowed.

::

    <root>/runs/<run_id>/run.parquet       one row; its presence makes the run visible
                         cells.parquet, nodes.parquet, submission.json
                         data/*.parquet    rows, invisible until a manifest names them
                         commits/*.json    manifests
                         lock              the lease
                         cancel            there while somebody wants the run to stop
                         driver.log        what a driver on a cluster says
    <root>/images/<dataset_sha256>.parquet
    <root>/training/<training_id>.parquet  all epochs so far, replaced whole

Names that start with a dot are nobody's: half-written files and runs being removed.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from storage.errors import RootNotWritableError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True)
class RunPaths:
    """Every path that a run owns."""

    folder: Path

    @property
    def run(self) -> Path:
        """The run's row."""
        return self.folder / "run.parquet"

    @property
    def cells(self) -> Path:
        """The run's cells."""
        return self.folder / "cells.parquet"

    @property
    def nodes(self) -> Path:
        """The nodes that the run used."""
        return self.folder / "nodes.parquet"

    @property
    def submission(self) -> Path:
        """What the submitter wants back at a resume."""
        return self.folder / "submission.json"

    @property
    def cancel(self) -> Path:
        """There while somebody wants the run to stop."""
        return self.folder / "cancel"

    @property
    def log(self) -> Path:
        """What a driver says that has no terminal."""
        return self.folder / "driver.log"

    @property
    def data(self) -> Path:
        """The folder of row files."""
        return self.folder / "data"

    @property
    def commits(self) -> Path:
        """The folder of manifests."""
        return self.folder / "commits"


def checked_name(name: str, what: str) -> str:
    """Return an identifier that is safe as a file name.

    Raises: StorageError: it is not; nothing that contains it may touch a disk.
    """
    if _NAME.fullmatch(name) and ".." not in name:
        return name
    raise StorageError(
        f"{what} {name[:120]!r} is not allowed; use 1 to 100 letters, digits, '.', '_' or '-', "
        "starting with a letter or digit and without '..'"
    )


def local_root(root: str | os.PathLike[str]) -> Path:
    """Turn what the user gave as results root into an absolute path.

    Raises: RootNotWritableError: it is a URL.
    """
    text = os.fspath(root)
    if _URL.match(text):
        raise RootNotWritableError(
            f"results root {text} is a URL, and this version keeps results on local paths only; "
            "give a folder, for example --results ./results"
        )
    if not text:
        raise RootNotWritableError("the results root is empty; give a folder, say ./results")
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as err:  # ~name of nobody
        raise RootNotWritableError(f"results root {text}: {err}; give a folder") from err


def existing_root(root: str | os.PathLike[str]) -> Path:
    """Return a root that is to be read.

    Raises: StorageError: there is no such folder.
    """
    path = local_root(root)
    if not path.is_dir():
        raise StorageError(
            f"there are no results at {path}: no such folder; make some with `gfjobs submit GRID`, "
            "or name another root with --results or GFJOBS_RESULTS"
        )
    return path


@contextlib.contextmanager
def reading(root: Path) -> Iterator[None]:
    """Word what the file system refuses to show.

    Raises: StorageError: an OSError happened inside.
    """
    try:
        yield
    except OSError as err:
        raise StorageError(
            f"results at {root} cannot be read: {err}; change the permissions, or name another "
            "root with --results or GFJOBS_RESULTS"
        ) from err


def run_paths(root: Path, run_id: str) -> RunPaths:
    """Say where a run lies; the run need not exist.

    Raises: StorageError: the run_id is not allowed.
    """
    return RunPaths(root / "runs" / checked_name(run_id, "run_id"))


def images_path(root: Path, dataset_sha256: str) -> Path:
    """Say where the images of a data set are listed."""
    return root / "images" / f"{checked_name(dataset_sha256, 'dataset_sha256')}.parquet"


def training_path(root: Path, training_id: str) -> Path:
    """Say where the epochs of a training are listed."""
    return root / "training" / f"{checked_name(training_id, 'training_id')}.parquet"


def visible_files(folder: Path) -> list[Path]:
    """List the Parquet files in a folder that are published, in order of name."""
    return sorted(file for file in folder.glob("*.parquet") if not file.name.startswith("."))


def visible_runs(root: Path) -> list[str]:
    """List the run_ids under a root, in order of name."""
    try:
        names = [path.name for path in (root / "runs").iterdir()]
    except FileNotFoundError:
        return []
    return sorted(
        name for name in names if _NAME.fullmatch(name) and run_paths(root, name).run.is_file()
    )


def check_root(root: str | os.PathLike[str]) -> Path:
    """Prove that runs can be written under a root, and leave nothing behind.

    The root itself need not exist: then its nearest existing parent must take a new folder.

    Returns: the absolute root.
    Raises: RootNotWritableError: it is a URL, or the file system refuses.
    """
    path = local_root(root)
    existing = path
    try:
        while not os.path.lexists(existing):
            existing = existing.parent
        for folder in (existing, existing / "runs"):
            if folder == existing or os.path.lexists(folder):
                with tempfile.TemporaryDirectory(prefix=".tmp-", dir=folder):
                    pass
    except OSError as err:
        raise unwritable(path, err) from err
    return path


@contextlib.contextmanager
def probe(root: str | os.PathLike[str]) -> Iterator[str]:
    """Keep a file under a root for a while, for another host to look for by its name.

    Whatever is made for it, the root included, goes again.

    Raises: RootNotWritableError: it is a URL, or the file system refuses.
    """
    path = check_root(root)
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    file = path / f".tmp-{uuid.uuid4().hex}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        file.touch()
        yield file.name
    except OSError as err:
        raise unwritable(path, err) from err
    finally:
        with contextlib.suppress(OSError):  # a root that is not empty any more stays
            file.unlink(missing_ok=True)
            for folder in made:
                folder.rmdir()


def has_probe(root: str | os.PathLike[str], name: str) -> bool:
    """Whether this host sees the root of which another has a probe.

    Raises: RootNotWritableError: it sees it, and cannot write there.
    """
    if not (local_root(root) / name).is_file():
        return False
    check_root(root)
    return True


def unwritable(path: Path, err: OSError) -> RootNotWritableError:
    """Word the refusal of a file system."""
    return RootNotWritableError(
        f"results root {path} cannot be written: {err.strerror or err} ({err.filename or path}); "
        "choose another with --results or GFJOBS_RESULTS, or change its permissions"
    )
