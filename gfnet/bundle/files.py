"""Reads the files of a bundle, from a folder or a zip, never more than a bundle may have.

Nothing is unpacked to a disk, and no link is followed out of a folder.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from gfnet.bundle.errors import BundleError, shortened
from gfnet.bundle.manifest import MANIFEST_NAME

MAX_GRAPH_BYTES = 2**30
"""Of one graph; protobuf itself ends at 2 GiB."""

MAX_BUNDLE_BYTES = 2**31
"""Of all files together."""

MAX_ENTRIES = 66
"""Of a zip: a manifest, 64 stages and the graph for one image."""

SUFFIX = ".gfbundle"
_MAX_DIRECTORY_BYTES = 2**16
_END = struct.Struct("<4s4H2LH")
"""Record that ends a zip: signature, disks, entries here and in all, size and place of the
directory, length of a comment."""

_END_64 = b"PK\x06\x07", 20
"""Signature and length of what precedes it in a zip of 4 GiB or more."""

_MADE_BY_UNIX = 3
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, OSError),
    *(ValueError, KeyError, IndexError, RuntimeError, OverflowError),
)


class BundleFiles(Protocol):
    """The files of a bundle by name, wherever they lie."""

    def read(self, name: str, most: int) -> bytes:
        """Return a file's content.

        Raises:
            BundleError: there is no such regular file, or it has more bytes than `most`.
        """

    def size_bytes(self, name: str, most: int) -> int:
        """Return the number of bytes of a file that is not read.

        Raises:
            BundleError: as of `read`.
        """

    def check_listed(self, names: Collection[str]) -> None:
        """Check that nothing else travels with the files that the manifest lists.

        Raises:
            BundleError: there is more.
        """


@contextlib.contextmanager
def open_files(source: str | Path | bytes, where: str) -> Iterator[BundleFiles]:
    """Open a folder, a zip, or the bytes of a zip; a zip is not read as a whole.

    Raises:
        BundleError: it is none of them.
    """
    if isinstance(source, bytes):
        yield ZipFiles(io.BytesIO(source), where)
        return
    path = Path(source)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as err:
        raise BundleError(f"{where}: there is no such file or folder") from err
    except (OSError, ValueError) as err:  # ValueError: a NUL in the path
        why = getattr(err, "strerror", None) or err
        raise BundleError(f"{shortened(where)}: cannot be read: {why}") from err
    if stat.S_ISDIR(mode):
        yield FolderFiles(path, where)
        return
    if not stat.S_ISREG(mode):  # reading a pipe would block
        raise BundleError(f"{where}: neither a folder nor a regular file; a bundle is one of them")
    path = Path(os.path.realpath(path))  # the user may name a link; within a folder is none
    with _open_regular(path, where, MAX_BUNDLE_BYTES) as file:
        yield ZipFiles(file, where)


class FolderFiles:
    """The files of a folder; what else lies there is not read."""

    def __init__(self, path: Path, where: str) -> None:
        self._path, self._where = path, where

    def read(self, name: str, most: int) -> bytes:
        """Return the content of a file that is no link."""
        where = f"{self._where}: {name}"
        with _open_regular(self._path / name, where, most) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            try:
                content = file.read(size_bytes + 1)
            except OSError as err:
                raise BundleError(f"{where}: cannot be read: {err.strerror}") from err
        if len(content) > most:
            raise _too_large(where, len(content), most)
        return content

    def size_bytes(self, name: str, most: int) -> int:
        """Return the size of a file that is no link."""
        with _open_regular(self._path / name, f"{self._where}: {name}", most) as file:
            return os.fstat(file.fileno()).st_size

    def check_listed(self, names: Collection[str]) -> None:
        """Accept a folder with other files: they are not read, and do not travel."""


class ZipFiles:
    """The entries of a zip."""

    def __init__(self, file: BinaryIO, where: str) -> None:
        self._where = where
        try:
            _check_end(file, where)
            self._zip = zipfile.ZipFile(file)
            entries = self._zip.infolist()
        except BundleError:
            raise
        except _BROKEN as err:
            raise BundleError(f"{where}: not a zip that can be read: {err}") from err
        self._entries = {entry.filename: entry for entry in entries}
        folded = {name.casefold() for name in self._entries}
        if len(folded) < len(entries):
            raise BundleError(f"{where}: two of its entries have the same name; keep one")
        if (declared := sum(entry.file_size for entry in entries)) > MAX_BUNDLE_BYTES:
            raise BundleError(
                f"{where}: its entries unpack to {declared:,} bytes; allowed: {MAX_BUNDLE_BYTES:,}"
            )
        for entry in entries:
            self._check(entry)

    def _check(self, entry: zipfile.ZipInfo) -> None:
        kind = stat.S_IFMT(entry.external_attr >> 16) if entry.create_system == _MADE_BY_UNIX else 0
        name = f"{self._where}: {shortened(entry.filename)}"
        if entry.compress_type not in _METHODS or entry.flag_bits & 1:
            raise BundleError(f"{name}: is encrypted or packed by another method than deflate")
        if kind not in {0, stat.S_IFREG}:
            raise BundleError(f"{name}: is no regular file; a bundle has only manifest and graphs")

    def _entry(self, name: str, most: int) -> zipfile.ZipInfo:
        where = f"{self._where}: {name}"
        entry = self._entries.get(name)
        if entry is None:
            found = ", ".join(map(shortened, sorted(self._entries)[:9])) or "nothing"
            raise BundleError(f"{where} is missing; the zip holds {found}, and must hold no folder")
        if entry.file_size > most:
            raise BundleError(f"{where}: holds {entry.file_size:,} bytes; allowed: {most:,}")
        return entry

    def size_bytes(self, name: str, most: int) -> int:
        """Return how much an entry declares to unpack to."""
        return self._entry(name, most).file_size

    def read(self, name: str, most: int) -> bytes:
        """Return the content of an entry, unpacked no further than allowed."""
        where, entry = f"{self._where}: {name}", self._entry(name, most)
        try:
            with self._zip.open(entry) as file:
                content = file.read(entry.file_size + 1)
        except _BROKEN as err:
            raise BundleError(f"{where}: cannot be unpacked: {err}") from err
        if len(content) != entry.file_size:
            raise BundleError(
                f"{where}: unpacks to other than the {entry.file_size:,} bytes that it declares"
            )
        return content

    def check_listed(self, names: Collection[str]) -> None:
        """Refuse entries that no digest covers."""
        if odd := sorted(self._entries.keys() - set(names)):
            raise BundleError(
                f"{self._where}: holds {', '.join(map(shortened, odd[:9]))}, which {MANIFEST_NAME}"
                " does not list; a zip has only manifest and graphs, in no folder"
            )


def pack(files: dict[str, bytes]) -> bytes:
    """Return a zip of files, always the same for the same content.

    Weights hardly shrink, and how far depends on the version of zlib: so they are stored.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system = _MADE_BY_UNIX
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


def _check_end(file: BinaryIO, where: str) -> None:
    """Check how many entries a zip claims, before an object is made for each.

    Raises:
        BundleError: it is not a plain zip, or claims more than a bundle has.
    """
    hint = f"a bundle is a folder with {MANIFEST_NAME}, or a zip of its files ({SUFFIX})"
    signature, length = _END_64
    start = file.read(2)
    size_bytes = file.seek(0, os.SEEK_END)
    file.seek(max(size_bytes - _END.size - length, 0))
    tail = file.read()
    if size_bytes < _END.size or start != b"PK":
        raise BundleError(f"{where}: is no zip; {hint}")
    mark, _, _, here, entries, size, _, comment = _END.unpack(tail[-_END.size :])
    if mark != b"PK\x05\x06" or comment:
        raise BundleError(f"{where}: is truncated, or more follows its end; {hint}")
    is_64 = tail.startswith(signature)
    if is_64 or max(here, entries) > MAX_ENTRIES or size > _MAX_DIRECTORY_BYTES:
        raise BundleError(f"{where}: claims {entries} entries; allowed: {MAX_ENTRIES}, below 4 GiB")


def _open_regular(path: Path, where: str, most: int) -> BinaryIO:
    """Open a regular file, without following a link and without waiting for a pipe.

    Raises:
        BundleError: there is none, or it has more bytes than `most`.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    flags |= getattr(os, "O_NOFOLLOW", 0)
    try:
        if path.is_symlink():
            raise BundleError(f"{where}: is a symbolic link; put the file itself there")
        with contextlib.ExitStack() as opened:
            file = opened.enter_context(os.fdopen(os.open(path, flags), "rb"))
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise BundleError(f"{where}: is no regular file")
            if found.st_size > most:
                raise _too_large(where, found.st_size, most)
            opened.pop_all()
    except FileNotFoundError as err:
        raise BundleError(f"{where} is missing: {_missing_hint(path)}") from err
    except OSError as err:
        raise BundleError(f"{where}: cannot be read: {err.strerror}") from err
    return file


def _too_large(where: str, size_bytes: int, most: int) -> BundleError:
    return BundleError(f"{where}: holds {size_bytes:,} bytes or more; allowed: {most:,}")


def _missing_hint(path: Path) -> str:
    if path.name == MANIFEST_NAME:
        return f"a bundle is a folder with {MANIFEST_NAME}, or a zip of its files"
    return f"{MANIFEST_NAME} lists it"
