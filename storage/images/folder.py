"""Image folders: one folder per class, one file per image."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from storage.errors import DatasetError
from storage.images.digests import FileState, keep_digest, known_digest, state_of_files
from storage.images.image_set import ImageSet, content_sha256

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    import numpy.typing as npt

SUFFIXES = (
    ".apng",
    ".bmp",
    ".gif",
    ".jfif",
    ".jpe",
    ".jpeg",
    ".jpg",
    ".pbm",
    ".pgm",
    ".png",
    ".pnm",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)

_IMAGE_BEGINS = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8[79]a|RIFF....WEBP|II\*\0|MM\0\*"
    rb"|....ftyp(?:avi[fs]|hei[cfmsx]|hev[cx]|mi[af]1|msf1)|\0\0\0\x0c(?:jP  |JXL )",
    re.DOTALL,
)
"""How files of JPEG, PNG, GIF, WebP, TIFF, AVIF, HEIC, JPEG 2000 and JPEG XL begin."""

_BEGIN_BYTES = 12
_MAX_OTHERS = 10_000
_NAMED = 5
_MAX_IMAGE_BYTES = 256 * 2**20
_Identity = tuple[int, int]
"""Device and inode of a folder."""

_SPLITS = ("test", "train", "val", "valid", "validation")


class FolderSource:
    """Reads image files on request."""

    def __init__(self, folder: Path, paths: tuple[str, ...]) -> None:
        """Read `paths`, by row, below `folder`."""
        self.folder = folder
        self._paths = paths

    def state(self, class_names: tuple[str, ...]) -> FileState:
        """Return the state of all image files; class names may be those of other splits.

        Raises: OSError: an image is gone.
        """
        files = ((path, os.stat(f"{self.folder}/{path}")) for path in self._paths)  # noqa: PTH116 - many
        return state_of_files(files, salt="\0".join(class_names))

    def read(self, image_ids: npt.NDArray[np.int64]) -> list[bytes | None]:
        """Read encoded images by row, in the order asked."""
        return [self._read_one(int(i)) for i in image_ids]

    def read_all(self) -> Iterator[bytes]:
        """Read all, one at a time."""
        return (self._read_one(i) for i in range(len(self._paths)))

    def _read_one(self, row: int) -> bytes:
        path = f"{self.folder}/{self._paths[row]}"
        data = None
        try:
            # A million files: without a buffer, and without a path, each takes a tenth of the time.
            with open(path, "rb", buffering=0) as file:  # noqa: PTH123
                if os.fstat(file.fileno()).st_size <= _MAX_IMAGE_BYTES:
                    data = file.read()
        except OSError as err:
            raise DatasetError(f"image {row} cannot be read: {err}") from err
        if data is None or len(data) > _MAX_IMAGE_BYTES:
            raise DatasetError(f"image {row}, {path}, is more than {_MAX_IMAGE_BYTES:,} bytes")
        return data


def open_folder(name: str, folder: Path, split: str) -> ImageSet:
    """Open `folder/<split>/<class>/file`, or `folder/<class>/file` if it has no splits.

    Classes are the sorted folder names of all splits together; images are in the order of their
    sorted paths. As in torchvision's `ImageFolder`, images may lie in folders of a class folder,
    and links to folders are followed.

    Raises: DatasetError: no such folder, no classes, a class without images, or a folder that is
        probably another than the one meant.
    """
    if not folder.is_dir():
        raise DatasetError(
            f"data set {name}: there is no folder {folder}; give the folder that holds one folder"
            " per class, or one per split"
        )
    splits = [each for each in _folders(folder) if _is_split(folder / each)]
    top = folder / split if split in splits else folder
    if top == folder and splits:
        raise DatasetError(
            f"data set {name}: {folder} has no split {split!r}; it has {', '.join(splits)}: ask for"
            f" one of these, such as split: {splits[0]}"
        )
    classes = _folders(top)
    if not classes:
        raise DatasetError(
            f"data set {name}: {top} has no class folders; images belong in {top}/<class>/"
        )
    files, entries = {}, itertools.count(1)
    unread: list[str] = []
    for class_name in classes:
        files[class_name] = _image_files(name, top / class_name, entries, unread)
    if unread:
        raise DatasetError(
            f"data set {name}: images in {top} under names that are not read: {len(unread):,}, such"
            f" as {_shown(min(unread))}. They would be missing: rename those of a format that is"
            f" read ({', '.join(SUFFIXES)}), convert others, such as HEIC and AVIF, or move them"
            " out of the folder"
        )
    empty = [class_name for class_name in classes if not files[class_name]]
    if empty:
        raise DatasetError(
            f"data set {name}: no images in class {', '.join(map(_shown, empty))} of {top}; remove"
            f" the folder, or put images there ({', '.join(SUFFIXES)})"
        )
    _check_level(name, folder, top, files)
    # Of all splits: a class that is missing in this one must not shift the labels after it.
    others = () if top == folder else (folder / name for name in splits)
    class_names = tuple(sorted({*classes, *(name for other in others for name in _folders(other))}))
    rows = sorted(
        (f"{class_name}/{file}", label)
        for label, class_name in enumerate(class_names)
        for file in files.pop(class_name, ())
    )
    labels = np.array([label for _, label in rows], dtype=np.int64)
    source = FolderSource(top, tuple(path for path, _ in rows))
    paths = tuple(_shown(path) for path, _ in rows)
    del rows  # of a million images, a hundred megabytes
    class_names = tuple(map(_shown, class_names))
    digest = _digest(source, labels, class_names)
    return ImageSet(name, split, digest, class_names, labels, paths, source)


def _shown(name: str) -> str:
    r"""A file name as text; bytes that are not UTF-8 as in `caf\xe9.png`."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name).decode("utf-8", "backslashreplace")
    return name  # the same object: a million paths are kept once


def _is_split(folder: Path) -> bool:
    """Whether a folder is a split: named as one, with class folders and no image of its own."""
    if folder.name not in _SPLITS:
        return False
    with os.scandir(folder) as entries:
        return not any(_is_image(entry) for entry in entries) and bool(_folders(folder))


def _check_level(name: str, folder: Path, top: Path, files: Mapping[str, Sequence[str]]) -> None:
    """Refuse a folder whose folders are data sets, or hold splits, instead of being classes.

    Raises: DatasetError: it names what was probably meant.
    """
    folders = {each: {file.rpartition("/")[0] for file in files[each]} for each in files}
    first, inside = next(iter(folders.items()))
    if len(files) == 1 and inside and "" not in inside:
        above = os.path.commonpath(inside)
        meant = top / first / (above.rpartition("/")[0] if above in inside else above)
        below = meant.relative_to(folder).as_posix()
        raise DatasetError(
            f"data set {name}: the only class folder of {top}, {_shown(first)}, holds no images but"
            f" folders: {', '.join(map(_shown, _folders(meant)[:_NAMED]))}. Give the folder that"
            f" holds one folder per class: probably {name.rstrip('/')}/{_shown(below)}"
        )
    for each, inside in folders.items():
        if inside and all(path.split("/")[0] in _SPLITS for path in inside):
            split, shown = min(inside).split("/")[0], _shown(each)
            raise DatasetError(
                f"data set {name}: {top / shown} holds splits, such as {split}, which would be"
                f" mixed: splits stand above classes, as in {split}/{shown}/"
            )


def _digest(
    source: FolderSource, labels: npt.NDArray[np.int64], class_names: tuple[str, ...]
) -> str:
    """Return the digest of the data set: from the cache, or by reading all files."""
    state = source.state(class_names)
    digest = known_digest("images", source.folder, state)
    if digest is None:
        digest = content_sha256(source.read_all(), labels, class_names)
        if state.is_settled and state == source.state(class_names):
            keep_digest("images", source.folder, state, digest)
    return digest


def _folders(folder: Path) -> list[str]:
    """List the names of the subfolders, sorted; hidden ones are not classes."""
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def _is_image(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a file with the name of an image; reading a pipe would block."""
    is_named = entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith(".")
    return is_named and entry.is_file()


def _begins_as_image(entry: os.DirEntry[str]) -> bool:
    """Whether a file that is not named as an image is one; reading a pipe would block."""
    if entry.name.startswith(".") or not entry.is_file():
        return False
    try:
        with open(entry.path, "rb") as file:  # noqa: PTH123 - many
            return bool(_IMAGE_BEGINS.match(file.read(_BEGIN_BYTES)))
    except OSError:
        return False


def _image_files(name: str, folder: Path, entries: Iterator[int], unread: list[str]) -> list[str]:
    """List the images below a class folder, as paths relative to it.

    Hidden folders are passed over: network drives and notebooks keep thumbnails in them. Images
    that are not named as such are added to `unread`.

    Raises: DatasetError: there are too many other files for a folder of images.
    """
    found = []
    others = 0
    for path, entry in _walk(folder, "", {_identity(folder.parent), _identity(folder)}):
        if _is_image(entry):
            found.append(path)
            continue
        others = next(entries)
        if others > _MAX_OTHERS:
            raise DatasetError(
                f"data set {name}: {folder} holds more than {_MAX_OTHERS:,} files that are not"
                " images; give the folder that holds one folder per class, or one per split"
            )
        if _begins_as_image(entry):
            unread.append(f"{folder.name}/{path}")
    return found


def _walk(
    folder: Path, start: str, above: AbstractSet[_Identity]
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """The files below a folder, with their paths in it.

    Links are followed, but for one to a folder that it lies in.
    """
    with os.scandir(folder / start) as entries:
        for entry in entries:
            if not entry.is_dir():
                yield start + entry.name, entry
            elif not entry.name.startswith("."):
                identity = _identity(entry)
                if identity not in above:
                    yield from _walk(folder, f"{start}{entry.name}/", above | {identity})


def _identity(entry: Path | os.DirEntry[str]) -> _Identity:
    found = entry.stat()
    return found.st_dev, found.st_ino
