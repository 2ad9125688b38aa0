"""Creates the folder of a run, whole or not at all, or opens it again for writing."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from storage.backends import TEMPORARY_PREFIX
from storage.errors import RunExistsError, RunNotFoundError, StorageError
from storage.runs.history import unseal
from storage.runs.layout import unwritable
from storage.tables.parquet import publish_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa

    from storage.backends import Backend, Lease
    from storage.runs.layout import RunPaths

# Tries if a removal comes between making a folder and locking it; a few in a row are plausible.
_ATTEMPTS = 20


def make_run(
    root: Backend,
    paths: RunPaths,
    run: pa.Table,
    cells: pa.Table,
    submission: Mapping[str, str],
) -> Lease:
    """Make a run's folder and its small tables; the run becomes visible whole, or not at all.

    Returns: its lease, which is held.

    Raises:
        RootNotWritableError: the root is not writable; nothing was written.
        RunExistsError: the name is taken.
        RunLockedError: another process is making this run.
        StorageError: something cannot be written.
    """
    run_id = paths.folder.name
    try:
        lease = _made_and_leased(paths)
    except OSError as err:
        raise unwritable(root, err) from err
    with released_on_error(lease):
        if paths.run.is_file():
            raise RunExistsError(
                f"run {run_id} exists under {root / 'runs'}; continue it with "
                f"`gfjobs resume {run_id}`, remove it with `gfjobs rm {run_id}`, or "
                "choose another name with --run"
            )
        try:
            unseal(root, run_id)  # left by a run of that name whose folder is gone
            for folder in (paths.commits, paths.data):  # left by an interrupted removal
                folder.delete_all(folder.children())
            publish_table(paths.cells, cells)
            paths.submission.publish(json.dumps(dict(submission)).encode())
            publish_table(paths.run, run)
            (root / "runs").sync()
        except OSError as err:
            raise StorageError(f"run {run_id} cannot be created: {err}") from err
    return lease


def _made_and_leased(paths: RunPaths) -> Lease:
    """Make the folders of a run and take its lease, even while a run of that name is removed."""
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(FileNotFoundError):
            for folder in (paths.data, paths.commits):
                folder.make_folder()
            lease = paths.folder.lease()
            with released_on_error(lease):
                for folder in (paths.data, paths.commits):
                    folder.make_folder()
            return lease
    raise FileNotFoundError(f"{paths.folder} was removed again and again while it was made")


def take_run(root: Backend, paths: RunPaths) -> Lease:
    """Take the lease of an existing run, and delete temporary files of its last holder.

    Raises:
        RunNotFoundError: there is no such run.
        RunLockedError: another process holds the lease.
        StorageError: the file system refuses.
    """
    run_id = paths.folder.name
    gone = RunNotFoundError(
        f"there is no run {run_id!r} under {root}; list them with `gfjobs runs`"
    )
    if not paths.run.is_file():
        raise gone
    try:
        lease = paths.folder.lease()
        with released_on_error(lease):
            if not paths.run.is_file():  # removed after the first look
                raise gone
            beside = paths.folder.children()  # left by a writer killed while replacing a table
            paths.folder.delete_all([p for p in beside if p.name.startswith(TEMPORARY_PREFIX)])
    except FileNotFoundError as err:
        raise gone from err
    except OSError as err:
        raise StorageError(f"run {run_id} cannot be opened: {err}") from err
    return lease


@contextlib.contextmanager
def released_on_error(lease: Lease) -> Iterator[None]:
    """Release a lease if the block fails."""
    try:
        yield
    except BaseException:
        lease.release()
        raise
