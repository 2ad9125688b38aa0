"""The layout of a results root, and which names and roots are allowed.

::

    <root>/runs/<run_id>/run.parquet       one row; its presence makes the run visible
                         cells.parquet, nodes.parquet, submission.json
                         regressions.parquet  the verdicts on the run, replaced whole
                         data/*.parquet    rows, invisible until a manifest names them
                         commits/*.json    manifests
                         lock              the lease
                         cancel            exists while the run is asked to stop
                         driver.log        log of a driver on a cluster
                         grid.yaml         the grid, if no file of the user's has it
    <root>/images/<dataset_sha256>.parquet
    <root>/training/<training_id>.parquet  all epochs so far, replaced whole
    <root>/history/                        copies of the small files of finished runs

Readers ignore names that start with a dot: half-written files and runs being removed. An object
store has the same names below its prefix; there `lock` is the lease's heartbeat.
"""

from __future__ import annotations

import contextlib
import re
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from storage.backends import TEMPORARY_PREFIX, BackendError, open_backend
from storage.backends.local import LocalBackend
from storage.errors import RootNotWritableError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from storage.backends import Backend, Root

_T = TypeVar("_T")

# How often one file that was just listed may be gone, and how often any file may be: while many
# runs are merged, it may be another file each time.
_LOST, _ATTEMPTS, _PAUSE_S = 2, 100, 0.01

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

RUN_FILE, REGRESSIONS_FILE = "run.parquet", "regressions.parquet"


@dataclass(frozen=True)
class RunPaths:
    """The files and folders of a run."""

    folder: Backend

    @property
    def run(self) -> Backend:
        """The run's row."""
        return self.folder / RUN_FILE

    @property
    def cells(self) -> Backend:
        """The run's cells."""
        return self.folder / "cells.parquet"

    @property
    def nodes(self) -> Backend:
        """The nodes that the run used."""
        return self.folder / "nodes.parquet"

    @property
    def submission(self) -> Backend:
        """What the submitter needs to resume the run."""
        return self.folder / "submission.json"

    @property
    def regressions(self) -> Backend:
        """The verdicts on the run."""
        return self.folder / REGRESSIONS_FILE

    @property
    def cancel(self) -> Backend:
        """Exists while the run is asked to stop."""
        return self.folder / "cancel"

    @property
    def log(self) -> Backend:
        """The log of a driver without a terminal."""
        return self.folder / "driver.log"

    @property
    def grid(self) -> Backend:
        """The grid of a run that was made of options."""
        return self.folder / "grid.yaml"

    @property
    def data(self) -> Backend:
        """The folder of row files."""
        return self.folder / "data"

    @property
    def commits(self) -> Backend:
        """The folder of manifests."""
        return self.folder / "commits"


def checked_name(name: str, what: str) -> str:
    """Return an identifier if it is safe as a file name.

    Raises: StorageError: it is not safe, and must not be part of a path.
    """
    if _NAME.fullmatch(name) and ".." not in name:
        return name
    raise StorageError(
        f"{what} {name[:120]!r} is not allowed; use 1 to 100 letters, digits, '.', '_' or '-', "
        "starting with a letter or digit and without '..'"
    )


def existing_root(root: Root) -> Backend:
    """Open a root for reading.

    Raises: StorageError: there is no such folder or bucket.
    """
    backend = open_backend(root)
    with reading(backend):
        if not backend.is_folder():
            raise StorageError(
                f"there are no results at {backend}: no such folder; create some with `gfjobs"
                " submit GRID`, or name another root with --results or GFJOBS_RESULTS"
            )
    return backend


def has_results(root: Root) -> bool:
    """Whether anything was ever written under a root.

    Raises: StorageError: the root cannot be read.
    """
    backend = open_backend(root)
    with reading(backend):
        return backend.is_folder()


@contextlib.contextmanager
def reading(root: Backend) -> Iterator[None]:
    """Turn errors while reading a root into messages.

    Raises: StorageError: an OSError was raised in the block.
    """
    try:
        yield
    except BackendError as err:
        raise StorageError(f"results at {root} cannot be read: {err}") from err
    except OSError as err:
        raise StorageError(
            f"results at {root} cannot be read: {err}; change the permissions, or name another "
            "root with --results or GFJOBS_RESULTS"
        ) from err


def retry_until_stable(read: Callable[[], _T], stale: type[Exception]) -> _T:
    """Retry a read while merges, compactions and removals delete files that were just listed.

    Args:
        read: lists, then reads.
        stale: the exception that `read` raises if a file is gone.

    Raises: `stale`: the same file is gone repeatedly, so it is lost; or each try misses some file.
    """
    gone = Counter[str]()
    while True:
        try:
            return read()
        except stale as err:  # try again
            gone[str(err)] += 1
            if gone[str(err)] > _LOST or gone.total() > _ATTEMPTS:
                raise
            time.sleep(_PAUSE_S * (gone.total() - 1))  # the first retry at once


def run_paths(root: Backend, run_id: str) -> RunPaths:
    """Return the paths of a run; the run need not exist.

    Raises: StorageError: the run_id is not allowed.
    """
    return RunPaths(root / "runs" / checked_name(run_id, "run_id"))


def images_path(root: Backend, dataset_sha256: str) -> Backend:
    """Return the file that lists the images of a data set."""
    return root / "images" / f"{checked_name(dataset_sha256, 'dataset_sha256')}.parquet"


def training_path(root: Backend, training_id: str) -> Backend:
    """Return the file that lists the epochs of a training."""
    return root / "training" / f"{checked_name(training_id, 'training_id')}.parquet"


def files_by_id(folder: Backend) -> dict[str, Backend]:
    """List the published Parquet files in a folder by what they are named after, in order."""
    return {
        backend.name.removesuffix(".parquet"): backend
        for backend in folder.children()
        if backend.name.endswith(".parquet") and not backend.name.startswith(".")
    }


def visible_runs(root: Backend, without: Collection[str] = ()) -> list[str]:
    """List the run_ids under a root, in order of name, except those in `without`."""
    names = [backend.name for backend in (root / "runs").holding(RUN_FILE)]
    return [name for name in names if name not in without and _NAME.fullmatch(name)]


def is_visible(root: Backend, run_id: str) -> bool:
    """Whether a run of that name exists."""
    return bool(_NAME.fullmatch(run_id)) and run_paths(root, run_id).run.is_file()


def check_root(root: Root) -> Backend:
    """Check that runs can be written under a root, and leave nothing behind.

    A folder need not exist: then its nearest existing parent must accept a new folder. A bucket
    must exist.

    Raises: RootNotWritableError: it is not a root, or the storage backend refuses.
    """
    backend = open_backend(root)
    try:
        backend.prove_writable()
    except OSError as err:
        raise unwritable(backend, err) from err
    return backend


@contextlib.contextmanager
def probe(root: Root) -> Iterator[str]:
    """Keep a file under a root during the block, so that another host can look for it by name.

    All that is made for it, the root included, is removed afterwards. An object store is the same
    on every host and needs no file: the name is empty.

    Raises: RootNotWritableError: it is not a root, or the storage backend refuses.
    """
    backend = check_root(root)
    if not isinstance(backend, LocalBackend):
        yield ""
        return
    path = backend.path
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    file = path / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        file.touch()
        yield file.name
    except OSError as err:
        raise unwritable(backend, err) from err
    finally:
        with contextlib.suppress(OSError):  # a root that is no longer empty stays
            file.unlink(missing_ok=True)
            for folder in made:
                folder.rmdir()


def has_probe(root: Root, name: str) -> bool:
    """Whether this host sees the same root as the host that made the probe.

    Raises: RootNotWritableError: this host sees the root, but cannot write there.
    """
    if name and not (open_backend(root) / name).is_file():
        return False
    check_root(root)
    return True


def unwritable(root: Backend, err: OSError) -> RootNotWritableError:
    """Describe why a root cannot be written."""
    if isinstance(err, BackendError):
        return RootNotWritableError(f"results root {root} cannot be written: {err}")
    return RootNotWritableError(
        f"results root {root} cannot be written: {err.strerror or err} ({err.filename or root}); "
        "choose another with --results or GFJOBS_RESULTS, or change its permissions"
    )
