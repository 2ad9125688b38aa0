"""The backend of a file system.

A file is written under a name that every reader ignores (it starts with `.tmp-`), flushed to
the disk, and renamed to its final name. A crash leaves the old file, or the new one, or a
`.tmp-` file that is never read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from storage.backends.backend import TEMPORARY_PREFIX, Backend, BackendError
from storage.backends.file_lock import FileLease, lease_holder
from storage.backends.handles import LocalFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from storage.backends.backend import Lease

_REMOVED_PREFIX = ".removed-"

# Longer than any lease is held, and than clocks of hosts that share a file system differ.
_FUTURE_NS = 30 * 24 * 3600 * 10**9


class LocalBackend(Backend):
    """A path; absolute if the root is."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def local_path(self) -> Path:
        """The path itself."""
        return self.path

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.name

    def __truediv__(self, name: str) -> LocalBackend:
        """The file or folder of a bare name in this folder."""
        return LocalBackend(self.path / name)

    def __str__(self) -> str:
        """The path."""
        return str(self.path)

    def children(self) -> list[LocalBackend]:
        """List the folder."""
        try:
            return [LocalBackend(path) for path in sorted(self.path.iterdir())]
        except FileNotFoundError:
            return []

    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.path.is_file()

    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.path.is_dir()

    def prove_writable(self) -> None:
        """Make a folder in this one, or in the nearest above it that exists, and remove it."""
        existing = self.path
        while not os.path.lexists(existing):
            existing = existing.parent
        for folder in (existing, existing / "runs"):
            if folder == existing or os.path.lexists(folder):
                with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=folder):
                    pass

    def read(self) -> bytes:
        """Read a whole file."""
        with LocalFile(self.path) as file:
            return file.read()

    def open(self) -> LocalFile:
        """Open a file."""
        return LocalFile(self.path)

    def write(self, content: bytes) -> None:
        """Write a new file and flush it to the disk."""
        with self.path.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def publish(self, content: bytes) -> None:
        """Write a temporary file next to it, and rename that."""
        temporary = LocalBackend(self.path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"))
        try:
            temporary.write(content)
            temporary.path.replace(self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.path.unlink()
            raise
        _sync(self.path.parent)

    def publish_new(self, content: bytes) -> None:
        """Write a temporary file next to it, and link: only one of two writers gets the name.

        This holds without locks: a lock may be local to a host while the folder is shared.
        """
        temporary = LocalBackend(self.path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"))
        try:
            temporary.write(content)
            _link(temporary.path, self.path)
        finally:
            with contextlib.suppress(OSError):
                temporary.path.unlink()
        try:
            _sync(self.path.parent)
        except OSError:
            # A file that may be gone after a power cut does not count as published: undo it.
            with contextlib.suppress(OSError):
                self.path.unlink()
            raise

    def publish_all_new(self, names: Sequence[str], content: bytes) -> None:
        """Write one temporary file, and give it all the names: one flush for any number of them."""
        temporary = LocalBackend(self.path / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}")
        try:
            for name in names:
                if not temporary.path.exists():  # at first, and on a disk without hard links
                    temporary.write(content)
                _link(temporary.path, self.path / name)
        finally:
            with contextlib.suppress(OSError):
                temporary.path.unlink()

    def rename(self, name: str) -> LocalBackend:
        """Rename the file, and flush the folder."""
        renamed = LocalBackend(self.path.replace(self.path.with_name(name)))
        _sync(self.path.parent)
        return renamed

    def adopt(self, file: Path) -> None:
        """Flush the file, and rename it to this path."""
        sync_file(file)
        file.replace(self.path)

    def make_folder(self) -> None:
        """Make this folder and those above it."""
        self.path.mkdir(parents=True, exist_ok=True)

    def sync(self) -> None:
        """Flush the folder, so that a rename survives a power cut."""
        _sync(self.path)

    def delete(self) -> None:
        """Delete a file or a tree."""
        if self.path.is_dir() and not self.path.is_symlink():
            shutil.rmtree(self.path)
        else:
            self.path.unlink(missing_ok=True)

    def withdraw(self, first: str, lease: Lease) -> None:  # noqa: ARG002 (all vanishes at once)
        """Rename the folder to an unused name, then delete it."""
        self._refuse_links("Nothing was removed; remove the link, and what should go, by hand")
        lease.confirm()
        removed = self.path.with_name(f"{_REMOVED_PREFIX}{uuid.uuid4().hex}")
        self.path.replace(removed)
        _sync(removed.parent)
        for leftover in removed.parent.glob(f"{_REMOVED_PREFIX}*"):  # also those of killed removals
            shutil.rmtree(leftover, ignore_errors=True)  # another removal may do the same
        if removed.exists():
            shutil.rmtree(removed)  # raises the reason

    def is_abandoned(self, lease: Lease) -> bool:
        """Whether it is older than the lease, and so left by an earlier holder.

        A newer file may belong to another writer at work, if locks are local to a host and the
        folder is shared. A file dated over 30 days after the lease was written before the clock
        was set back.
        """
        with contextlib.suppress(FileNotFoundError):
            since_ns = lease.since_ns if isinstance(lease, FileLease) else 0
            written_ns = self.path.lstat().st_mtime_ns
            return written_ns <= since_ns or written_ns > since_ns + _FUTURE_NS
        return False

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """Provide a folder in this one, so that adopting is a rename."""
        folder = self.path / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
        folder.mkdir()
        try:
            yield folder
        except Exception:  # frees a full disk; what a crash leaves, the next merge deletes
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder)

    def lease(self) -> FileLease:
        """Lock the file `lock` in this folder, whose holder writes below it and nowhere else."""
        self._refuse_links("Nothing was written; put the folder itself in its place")
        return FileLease(self.path)

    def _refuse_links(self, advice: str) -> None:
        """Refuse a folder that is a link, or holds one: what is written there would go elsewhere.

        Raises: BackendError: it names the link.
        """
        for path in (self.path, *self.path.iterdir()):
            if path.is_symlink():
                raise BackendError(
                    f"{path} is a symbolic link to {path.resolve()}: its target may belong to "
                    f"others. {advice}"
                )

    def holder(self) -> str | None:
        """Name the process that holds that lock."""
        return lease_holder(self.path)


def sync_file(path: Path) -> None:
    """Flush a file that another library wrote to the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _link(file: Path, name: Path) -> None:
    """Give a file a second name, which must be free.

    Raises: FileExistsError: another file has it.
    """
    try:
        os.link(file, name)
    except FileExistsError:
        # Over NFS the answer to our own request may be lost, and the request repeated.
        if not name.samefile(file):
            raise
    except OSError as err:
        if err.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        # No hard links, as on FAT: such a disk belongs to one host, whose lock excludes others.
        if name.exists():
            raise FileExistsError(f"{name} is there already") from err
        file.replace(name)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
