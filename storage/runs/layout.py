"""Where things lie under a results root, and which names and roots are allowed.

::

    <root>/runs/<run_id>/run.parquet       one row; its presence makes the run visible
                         cells.parquet, nodes.parquet, submission.json
                         regressions.parquet  what was judged of the run, replaced whole
                         data/*.parquet    rows, invisible until a manifest names them
                         commits/*.json    manifests
                         lock              the lease
                         cancel            there while somebody wants the run to stop
                         driver.log        what a driver on a cluster says
    <root>/images/<dataset_sha256>.parquet
    <root>/training/<training_id>.parquet  all epochs so far, replaced whole
    <root>/history/                        copies of what finished runs have in small files

Names that start with a dot are nobody's: half-written files and runs being removed. An object
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

# How often one file may be gone that was just listed, and files in all: each time another one may
# be, where many runs are merged.
_LOST, _ATTEMPTS, _PAUSE_S = 2, 100, 0.01

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

RUN_FILE, REGRESSIONS_FILE = "run.parquet", "regressions.parquet"


@dataclass(frozen=True)
class RunPaths:
    """Every place that a run owns."""

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
        """What the submitter wants back at a resume."""
        return self.folder / "submission.json"

    @property
    def regressions(self) -> Backend:
        """What was judged of the run."""
        return self.folder / REGRESSIONS_FILE

    @property
    def cancel(self) -> Backend:
        """There while somebody wants the run to stop."""
        return self.folder / "cancel"

    @property
    def log(self) -> Backend:
        """What a driver says that has no terminal."""
        return self.folder / "driver.log"

    @property
    def data(self) -> Backend:
        """The folder of row files."""
        return self.folder / "data"

    @property
    def commits(self) -> Backend:
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


def existing_root(root: Root) -> Backend:
    """Return a root that is to be read.

    Raises: StorageError: there is no such folder or bucket.
    """
    backend = open_backend(root)
    with reading(backend):
        if not backend.is_folder():
            raise StorageError(
                f"there are no results at {backend}: no such folder; make some with `gfjobs submit"
                " GRID`, or name another root with --results or GFJOBS_RESULTS"
            )
    return backend


def has_results(root: Root) -> bool:
    """Whether something was ever written under a root.

    Raises: StorageError: that cannot be known.
    """
    backend = open_backend(root)
    with reading(backend):
        return backend.is_folder()


@contextlib.contextmanager
def reading(root: Backend) -> Iterator[None]:
    """Word what a place refuses to show.

    Raises: StorageError: an OSError happened inside.
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
    """Read again while merges, compactions and removals take files away that were just listed.

    Args:
        read: lists, then reads.
        stale: what it raises where a file was gone.

    Raises: `stale`: the same is gone again and again, so it is lost; or something always is.
    """
    gone = Counter[str]()
    while True:
        try:
            return read()
        except stale as err:  # to try again is the point
            gone[str(err)] += 1
            if gone[str(err)] > _LOST or gone.total() > _ATTEMPTS:
                raise
            time.sleep(_PAUSE_S * (gone.total() - 1))  # the first time at once


def run_paths(root: Backend, run_id: str) -> RunPaths:
    """Say where a run lies; the run need not exist.

    Raises: StorageError: the run_id is not allowed.
    """
    return RunPaths(root / "runs" / checked_name(run_id, "run_id"))


def images_path(root: Backend, dataset_sha256: str) -> Backend:
    """Say where the images of a data set are listed."""
    return root / "images" / f"{checked_name(dataset_sha256, 'dataset_sha256')}.parquet"


def training_path(root: Backend, training_id: str) -> Backend:
    """Say where the epochs of a training are listed."""
    return root / "training" / f"{checked_name(training_id, 'training_id')}.parquet"


def visible_files(folder: Backend) -> list[Backend]:
    """List the Parquet files in a folder that are published, in order of name."""
    return [
        backend
        for backend in folder.children()
        if backend.name.endswith(".parquet") and not backend.name.startswith(".")
    ]


def visible_runs(root: Backend, without: Collection[str] = ()) -> list[str]:
    """List the run_ids under a root, in order of name, but some that are known already."""
    names = [backend.name for backend in (root / "runs").holding(RUN_FILE)]
    return [name for name in names if name not in without and _NAME.fullmatch(name)]


def is_visible(root: Backend, run_id: str) -> bool:
    """Whether there is a run of that name."""
    return bool(_NAME.fullmatch(run_id)) and run_paths(root, run_id).run.is_file()


def check_root(root: Root) -> Backend:
    """Prove that runs can be written under a root, and leave nothing behind.

    A folder need not exist: then its nearest existing parent must take a new folder. A bucket must.

    Raises: RootNotWritableError: it is no root, or the place refuses.
    """
    backend = open_backend(root)
    try:
        backend.prove_writable()
    except OSError as err:
        raise unwritable(backend, err) from err
    return backend


@contextlib.contextmanager
def probe(root: Root) -> Iterator[str]:
    """Keep a file under a root for a while, for another host to look for by its name.

    Whatever is made for it, the root included, goes again. An object store has the same name
    everywhere, and needs none: the name is empty.

    Raises: RootNotWritableError: it is no root, or the place refuses.
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
        with contextlib.suppress(OSError):  # a root that is not empty any more stays
            file.unlink(missing_ok=True)
            for folder in made:
                folder.rmdir()


def has_probe(root: Root, name: str) -> bool:
    """Whether this host sees the root of which another has a probe.

    Raises: RootNotWritableError: it sees it, and cannot write there.
    """
    if name and not (open_backend(root) / name).is_file():
        return False
    check_root(root)
    return True


def unwritable(root: Backend, err: OSError) -> RootNotWritableError:
    """Word the refusal of a place."""
    if isinstance(err, BackendError):
        return RootNotWritableError(f"results root {root} cannot be written: {err}")
    return RootNotWritableError(
        f"results root {root} cannot be written: {err.strerror or err} ({err.filename or root}); "
        "choose another with --results or GFJOBS_RESULTS, or change its permissions"
    )
