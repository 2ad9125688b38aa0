"""The interface of storage backends: what the rest of storage may ask of them.

A backend is one file or folder under a results root. It need not exist. Local disks and object
stores answer the same calls with the same promises, so that commits, merges and readers are
written once:

* a file appears whole or not at all, and stays when the call has returned;
* one lease a folder says who may write there;
* a file that is not there is a FileNotFoundError, and any other refusal an OSError.
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
    """The right to write in a folder; `release` or the end of the process gives it back."""

    @property
    @abstractmethod
    def is_held(self) -> bool:
        """Whether this object was not released and, as far as is known, still holds it."""

    @abstractmethod
    def confirm(self) -> None:
        """Make sure of it before something is published.

        Raises: RunLockedError: another process took it over meanwhile.
        """

    @abstractmethod
    def release(self) -> None:
        """Give the lease back; a second call does nothing."""

    def __enter__(self) -> Self:
        """Enter: it is held already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave: give the lease back."""
        self.release()


class Backend(ABC):
    """A file or a folder under a results root; `str` is what a user calls it."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The last part of its path."""

    @abstractmethod
    def __truediv__(self, name: str) -> Self:
        """What lies in this folder under a bare name."""

    @abstractmethod
    def __str__(self) -> str:
        """A path, or a URL."""

    @abstractmethod
    def children(self) -> list[Self]:
        """What lies in this folder, in order of name; nothing where there is no such folder."""

    def holding(self, name: str) -> list[Self]:
        """Those folders in this one in which a file of this name lies, in order of name."""
        return [folder for folder in self.children() if (folder / name).is_file()]

    @abstractmethod
    def is_file(self) -> bool:
        """Whether there is such a file."""

    @abstractmethod
    def is_folder(self) -> bool:
        """Whether there is such a folder."""

    @abstractmethod
    def prove_writable(self) -> None:
        """See that this folder, which need not exist, can be written; leave nothing behind.

        Raises: OSError: it cannot.
        """

    @abstractmethod
    def read(self) -> bytes:
        """Read a whole file."""

    def read_all(self, files: Sequence[Backend]) -> list[bytes]:
        """Read several files, at once where each takes a while."""
        return [file.read() for file in files]

    @abstractmethod
    def open(self) -> BackendFile:
        """Open a file for reading here and there, also by several threads."""

    def open_ahead(self, files: Sequence[Backend]) -> None:  # noqa: B027 (a disk is quick enough)
        """Make opening several files quick; those that are gone are left out."""

    @abstractmethod
    def write(self, content: bytes) -> None:
        """Make a new file that nobody reads yet; `sync` of its folder makes it durable.

        Raises: FileExistsError: there is one.
        """

    @abstractmethod
    def publish(self, content: bytes) -> None:
        """Make the file hold `content`, in one durable step; an older one is replaced.

        Raises: OSError: it cannot be written. The file is as it was, or holds `content` and may be
            as it was after a power cut; never anything else.
        """

    @abstractmethod
    def publish_new(self, content: bytes) -> None:
        """As `publish`, where no older file may be replaced: of two writers one gets the name.

        Raises:
            FileExistsError: there is one of another content.
            OSError: it cannot be written, and is not there; unless what refuses to write refuses
                to take back as well, or answers no more: look.
        """

    @abstractmethod
    def rename(self, name: str) -> Self:
        """Give this file another name in its folder, where it replaces what has the name.

        Returns: the file under its new name. An object store copies and deletes: what is
            published under the old name in between is lost.
        """

    @abstractmethod
    def adopt(self, file: Path) -> None:
        """As `write`, from a file in a folder of `scratch`, which may be gone then."""

    @abstractmethod
    def make_folder(self) -> None:
        """Make this folder and those above it."""

    @abstractmethod
    def sync(self) -> None:
        """Make the list of names in this folder durable."""

    @abstractmethod
    def delete(self) -> None:
        """Delete a file, or a folder with all that is in it; it may be gone already."""

    def delete_all(self, files: Sequence[Backend]) -> None:
        """Delete several files or folders of this folder."""
        for file in files:
            file.delete()

    @abstractmethod
    def withdraw(self, first: str, lease: Lease) -> None:
        """Delete a folder whose lease is held; its file `first` vanishes before the rest.

        Raises:
            RunLockedError: the lease was lost.
            PlaceError: the folder, or something in it, is a link; nothing was deleted.
        """

    @abstractmethod
    def is_abandoned(self, lease: Lease) -> bool:
        """Whether a file that nothing names can be deleted: no writer will yet name it.

        Args:
            lease: of the run; held.
        """

    @property
    @abstractmethod
    def local_path(self) -> Path | None:
        """Its path on this machine, where it has one."""

    @abstractmethod
    def scratch(self) -> AbstractContextManager[Path]:
        """Give a folder of this machine for files too large for memory, until they are adopted."""

    @abstractmethod
    def lease(self) -> Lease:
        """Take the lease of this folder.

        Raises:
            RunLockedError: another process (or another object of this one) holds it.
            FileNotFoundError: there is no such folder, where folders are made.
        """

    @abstractmethod
    def holder(self) -> str | None:
        """Say which process holds the lease of this folder; None where none does."""

    def is_leased(self) -> bool:
        """Whether some process holds the lease of this folder."""
        return self.holder() is not None
