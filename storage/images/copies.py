"""Local copies of encoded images, for reading any image without its neighbours.

Parquet unpacks a row group whole, and a shard of shuffled images has some of every group: read from
Parquet, each shard would unpack the whole data set. A copy is one file in the cache folder, named
by the digest of the data set, with each image at a known offset. It holds the images one after the
other, then the length (-1: the data has no image) and the CRC-32 of each, then the SHA-256 of these
two columns, their number, and a mark.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import struct
import zlib
from array import array
from typing import TYPE_CHECKING

import numpy as np

from storage.images.cache import Unpublished, cache_subfolder, drop_oldest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import numpy.typing as npt
    from typing_extensions import Self

FOLDER = "images"
MOST_BYTES = 32 * 2**30
"""Limit for all copies but the newest; the least recently used are removed first."""

MOST_COPIES = 1000
FREE_SHARE = 0.5
"""Largest share of the free space that one copy may take."""

_MARK = b"gfjimg01"
_FOOTER = struct.Struct("<32sq8s")


class DamagedCopyError(Exception):
    """A copy is not as it was written."""


class ImageCopy:
    """One copy; its index is held in memory, its images are not."""

    def __init__(self, path: Path) -> None:
        """Open a copy.

        Raises:
            OSError: there is no such file.
            DamagedCopyError: it is not as it was written.
        """
        self._path = path
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(size - _FOOTER.size, 0))
            footer = file.read(_FOOTER.size)
            if len(footer) < _FOOTER.size:
                raise DamagedCopyError(path)
            digest, count, mark = _FOOTER.unpack(footer)
            index_bytes = count * 12
            if mark != _MARK or not 0 <= index_bytes <= size - _FOOTER.size:
                raise DamagedCopyError(path)
            file.seek(size - _FOOTER.size - index_bytes)
            index = file.read(index_bytes)
        if hashlib.sha256(index).digest() != digest:
            raise DamagedCopyError(path)
        self._lengths = np.frombuffer(index, "<i8", count)
        self._sums = np.frombuffer(index, "<u4", count, offset=count * 8)
        self._ends = np.cumsum(np.maximum(self._lengths, 0))
        if count and self._ends[-1] + index_bytes + _FOOTER.size != size:
            raise DamagedCopyError(path)

    def read(self, image_ids: npt.NDArray[np.int64]) -> list[bytes | None]:
        """Read encoded images by row, in the order asked.

        Raises:
            OSError: the copy is gone.
            DamagedCopyError: one of the images is not as it was written.
        """
        images: list[bytes | None] = [None] * len(image_ids)
        with self._path.open("rb", buffering=0) as file:
            for slot in np.argsort(image_ids).tolist():  # in their order on the disk
                row = int(image_ids[slot])
                length = int(self._lengths[row])
                if length < 0:
                    continue
                image = os.pread(file.fileno(), length, int(self._ends[row]) - length)
                if len(image) != length or zlib.crc32(image) != self._sums[row]:
                    raise DamagedCopyError(self._path)
                images[slot] = image
        return images

    def remove(self) -> None:
        """Remove it from the cache."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def find_copy(dataset_sha256: str) -> ImageCopy | None:
    """Open the copy of a data set; None if there is no complete copy."""
    folder = cache_subfolder(FOLDER)
    if folder is None:
        return None
    path = folder / dataset_sha256
    try:
        copy = ImageCopy(path)
        with contextlib.suppress(OSError):
            os.utime(path)  # the least recently used is removed first
    except OSError:
        return None
    except DamagedCopyError:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        return None
    return copy


class CopyWriter:
    """Writes a copy of a stream of images; if writing fails, the stream continues without a copy.

    A context manager: a copy that is not published leaves nothing behind.
    """

    def __init__(self, size_bytes: int) -> None:
        """Begin a copy of images of `size_bytes` bytes in all, if there is room for it."""
        self._lengths, self._sums = array("q"), array("I")
        self._room_bytes = 0.0
        self._unpublished: Unpublished | None = None
        self._folder = cache_subfolder(FOLDER)
        if self._folder is None:
            return
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._room_bytes = shutil.disk_usage(self._folder).free * FREE_SHARE
            if size_bytes <= self._room_bytes:
                self._unpublished = Unpublished(self._folder)

    def passing(self, images: Iterable[bytes | None]) -> Iterator[bytes | None]:
        """Yield the images, and write each of them to the copy."""
        for image in images:
            if self._unpublished:
                self._add(image)
            yield image

    def publish(self, dataset_sha256: str) -> bool:
        """Publish what was written as the copy of a data set; return whether that succeeded."""
        if self._unpublished is None or self._folder is None:
            return False
        # The arrays have the machine's byte order; the file is little-endian.
        lengths = np.frombuffer(self._lengths, np.int64).astype("<i8")
        sums = np.frombuffer(self._sums, np.uint32).astype("<u4")
        index = lengths.tobytes() + sums.tobytes()
        footer = _FOOTER.pack(hashlib.sha256(index).digest(), len(lengths), _MARK)
        try:
            self._unpublished.file.write(index + footer)
            self._unpublished.publish(dataset_sha256)
            drop_oldest(self._folder, MOST_BYTES, MOST_COPIES)
        except OSError:
            return False
        return True

    def __enter__(self) -> Self:
        """Return the writer, which is open already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the copy unless it was published."""
        if self._unpublished:
            self._unpublished.__exit__()
            self._unpublished = None

    def _add(self, image: bytes | None) -> None:
        assert self._unpublished  # `passing`
        self._lengths.append(-1 if image is None else len(image))
        self._sums.append(zlib.crc32(image or b""))
        self._room_bytes -= len(image or b"")
        if self._room_bytes < 0:  # in Parquet, a million equal images are few bytes
            self.__exit__()
            return
        try:
            self._unpublished.file.write(image or b"")
        except OSError:  # the images are still passed on
            self.__exit__()
