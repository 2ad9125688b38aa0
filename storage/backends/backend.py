"""The interface of storage backends.

A backend is one file or folder under a results root. It need not exist. Local disks and object
stores implement the same calls with the same guarantees, so that commits, merges and readers are
written once:

* a file appears whole or not at all, and persists once the call has returned;
* one lease per folder decides which process may write there;
* a missing file is a FileNotFoundError, and any other refusal an OSError.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from storage.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from typing_extensions import Self

    from storage.backends.handles import BackendFile

TEMPORARY_PREFIX = ".tmp-"


class BackendError(StorageError, OSError):
    """A backend refused; the message says what was asked, what was found and what to do."""


class Lease(ABC):
    """The right to write in a folder, until `release` or the end of the process."""

    @property
    @abstractmethod
    def is_held(self) -> bool:
        """Whether this object was not released and, as far as is known, still holds the lease."""

    @abstractmethod
    def confirm(self) -> None:
        """Check before publishing that the lease is still held.

        Raises: RunLockedError: another process has taken it over.
        """

    @abstractmethod
    def release(self) -> None:
        """Release the lease; a second call does nothing."""

    def __enter__(self) -> Self:
        """Return the lease, which is held already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Release the lease."""
        self.release()


class Backend(ABC):
    """A file or a folder under a results root; `str` gives its name for users."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The last part of its path."""

    @abstractmethod
    def __truediv__(self, name: str) -> Self:
        """The file or folder of a bare name in this folder."""

    @abstractmethod
    def __str__(self) -> str:
        """A path, or a URL."""

    @abstractmethod
    def children(self) -> list[Self]:
        """List the contents of this folder, in order of name; empty if there is no such folder."""

    def holding(self, name: str) -> list[Self]:
        """List the folders in this one that contain a file of this name, in order of name."""
        return [folder for folder in self.children() if (folder / name).is_file()]

    @abstractmethod
    def is_file(self) -> bool:
        """Whether there is such a file."""

    @abstractmethod
    def is_folder(self) -> bool:
        """Whether there is such a folder."""

    @abstractmethod
    def prove_writable(self) -> None:
        """Check that this folder, which need not exist, is writable; leave nothing behind.

        Raises: OSError: it is not.
        """

    @abstractmethod
    def read(self) -> bytes:
        """Read a whole file."""

    def read_all(self, files: Sequence[Backend]) -> list[bytes]:
        """Read several files, concurrently if reading one is slow."""
        return [file.read() for file in files]

    @abstractmethod
    def open(self) -> BackendFile:
        """Open a file for random access, also by several threads."""

    def open_ahead(self, files: Sequence[Backend]) -> None:  # noqa: B027 (a disk is quick enough)
        """Prefetch several files so that opening them is quick; missing files are skipped."""

    @abstractmethod
    def write(self, content: bytes) -> None:
        """Make a new file that no reader opens yet; `sync` of its folder makes it durable.

        Raises: FileExistsError: the file exists.
        """

    @abstractmethod
    def publish(self, content: bytes) -> None:
        """Make the file hold `content`, in one durable step; an older file is replaced.

        Raises: OSError: it cannot be written. The file is unchanged, or holds `content` and may
            revert to its old content after a power cut; never anything else.
        """

    @abstractmethod
    def publish_new(self, content: bytes) -> None:
        """As `publish`, but never replaces a file: only one of two writers gets the name.

        Raises:
            FileExistsError: the file exists with other content.
            OSError: it cannot be written, and is not there. If the backend also refuses to undo
                the write, or stops answering, the file may be there: check.
        """

    @abstractmethod
    def publish_all_new(self, names: Sequence[str], content: bytes) -> None:
        """Make several new files of one content in this folder; `sync` of it makes them durable.

        Raises:
            FileExistsError: one of them exists with other content.
            OSError: one cannot be written. In both cases others may be there.
        """

    @abstractmethod
    def rename(self, name: str) -> Self:
        """Rename this file within its folder, replacing any file of that name.

        Returns: the file under its new name. An object store copies and deletes: a file that is
            published under the old name in between is lost.
        """

    @abstractmethod
    def adopt(self, file: Path) -> None:
        """As `write`, from a file in a folder of `scratch`, which may be moved away."""

    @abstractmethod
    def make_folder(self) -> None:
        """Make this folder and those above it."""

    @abstractmethod
    def sync(self) -> None:
        """Make the list of names in this folder durable."""

    @abstractmethod
    def delete(self) -> None:
        """Delete a file, or a folder with its contents; it may be gone already."""

    def delete_all(self, files: Sequence[Backend]) -> None:
        """Delete several files or folders of this folder."""
        for file in files:
            file.delete()

    @abstractmethod
    def withdraw(self, first: str, lease: Lease) -> None:
        """Delete a folder whose lease is held; its file `first` is deleted before the rest.

        Raises:
            RunLockedError: the lease was lost.
            BackendError: the folder, or something in it, is a link; nothing was deleted.
        """

    @abstractmethod
    def is_abandoned(self, lease: Lease) -> bool:
        """Whether a file that no manifest names can be deleted: no writer will name it later.

        Args:
            lease: that of the run; held.
        """

    @property
    @abstractmethod
    def local_path(self) -> Path | None:
        """The path on this machine, if there is one."""

    @abstractmethod
    def scratch(self) -> AbstractContextManager[Path]:
        """Provide a local folder for files too large for memory, until they are adopted."""

    @abstractmethod
    def lease(self) -> Lease:
        """Take the lease of this folder.

        Raises:
            RunLockedError: another process (or another object of this one) holds it.
            FileNotFoundError: there is no such folder, on a backend that has real folders.
        """

    @abstractmethod
    def holder(self) -> str | None:
        """Name the process that holds the lease of this folder; None if no process does."""

    def is_leased(self) -> bool:
        """Whether some process holds the lease of this folder."""
        return self.holder() is not None
