"""Image folders: one folder per class, one file per image."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from storage.errors import DatasetError
from storage.images.digests import FileState, keep_digest, known_digest, state_of_files
from storage.images.image_set import ImageSet, content_sha256

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

SUFFIXES = (
    ".bmp",
    ".gif",
    ".jpeg",
    ".jpg",
    ".pgm",
    ".png",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)
_MAX_OTHERS = 10_000
_MAX_IMAGE_BYTES = 256 * 2**20
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
        path = self.folder / self._paths[row]
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_IMAGE_BYTES + 1)
        except OSError as err:
            raise DatasetError(f"image {row} cannot be read: {err}") from err
        if len(data) > _MAX_IMAGE_BYTES:
            raise DatasetError(f"image {row}, {path}, is more than {_MAX_IMAGE_BYTES:,} bytes")
        return data


def open_folder(name: str, folder: Path, split: str) -> ImageSet:
    """Open `folder/<split>/<class>/file`, or `folder/<class>/file` if there is no such split.

    Classes are the sorted folder names of all splits together; images are in the order of their
    sorted paths.

    Raises: DatasetError: no such folder, no classes, a class without images.
    """
    if not folder.is_dir():
        raise DatasetError(
            f"data set {name}: there is no folder {folder}; give the folder that "
            "holds one folder per class, or one per split"
        )
    top = folder / split if (folder / split).is_dir() else folder
    splits = [name for name in _folders(folder) if name in _SPLITS]
    if top == folder and splits:
        raise DatasetError(
            f"data set {name}: {folder} has no split {split!r}; it has {', '.join(splits)}: write "
            f"{{name: '{name}', split: {splits[0]}}}"
        )
    classes = _folders(top)
    if not classes:
        raise DatasetError(
            f"data set {name}: {top} has no class folders; images belong in {top}/<class>/"
        )
    files, entries = {}, itertools.count(1)
    for class_name in classes:
        files[class_name] = _image_files(name, top / class_name, entries)
    empty = [class_name for class_name in classes if not files[class_name]]
    if empty:
        raise DatasetError(
            f"data set {name}: no images in class {', '.join(empty)} of {top}; remove the folder, "
            f"or put images there ({', '.join(SUFFIXES)})"
        )
    # Of all splits: a class that is missing in this one must not shift the labels after it.
    others = () if top == folder else (folder / name for name in splits)
    class_names = tuple(sorted({*classes, *(name for other in others for name in _folders(other))}))
    rows = sorted(
        (f"{class_name}/{file}", label)
        for label, class_name in enumerate(class_names)
        for file in files.get(class_name, ())
    )
    paths = tuple(path for path, _ in rows)
    labels = np.array([label for _, label in rows], dtype=np.int64)
    source = FolderSource(top, paths)
    digest = _digest(source, labels, class_names)
    return ImageSet(name, split, digest, class_names, labels, paths, source)


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


def _folders(place: Path) -> list[str]:
    """List the names of the subfolders, sorted; hidden ones are not classes."""
    return sorted(
        entry.name for entry in place.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )


def _image_files(name: str, folder: Path, entries: Iterator[int]) -> list[str]:
    """List the images below a class folder, as paths relative to it.

    Raises: DatasetError: there are too many other files for a folder of images.
    """
    found = []
    others = 0
    for place, _, files in os.walk(folder):
        for file in files:
            is_image = file.lower().endswith(SUFFIXES) and not file.startswith(".")
            if is_image and Path(place, file).is_file():  # reading a pipe would block
                found.append(Path(place, file).relative_to(folder).as_posix())
                continue
            others = next(entries)
        if others > _MAX_OTHERS:
            raise DatasetError(
                f"data set {name}: {folder} holds more than {_MAX_OTHERS:,} files that are not"
                " images; give the folder that holds one folder per class, or one per split"
            )
    return found
