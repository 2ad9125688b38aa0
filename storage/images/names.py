"""Resolves the name of a data set in a grid."""

from __future__ import annotations

import os
import re
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from storage.errors import DatasetError
from storage.images.cache import GENERAL_VARIABLE
from storage.images.folder import open_folder
from storage.images.image_set import ImageSet
from storage.images.parquet import open_parquet
from storage.tables.schemas import nearest

if TYPE_CHECKING:
    from collections.abc import Callable

DATA_VARIABLE = "GFJOBS_DATA"

_EMBEDDED = ("digits",)
DOWNLOADABLE = ("cifar10", "cifar100")
"""Named data sets that torchvision can fetch; the caller fetches them, as it has torchvision."""

_FORMS = ("imagefolder:PATH", "parquet:PATH")
_PARQUET = ".parquet"
_LONGEST = 4096
_SHOWN = 120
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def open_images(
    name: str,
    split: str = "test",
    base: Path | None = None,
    *,
    is_shuffled: bool = False,
    image: str | None = None,
    label: str | None = None,
) -> ImageSet:
    """Open a data set by its name.

    Args:
        name: `digits` (embedded), `cifar10` or any other `<name>/<split>.parquet` below the
            folder `$GFJOBS_DATA` or the cache, `imagefolder:PATH`, or `parquet:PATH`.
        split: `train` or `test` for the named ones.
        base: the folder that a relative PATH starts from; default the working directory.
        is_shuffled: whether its images will be read in another order than they are stored; then
            a large Parquet file is copied into the cache while its digest is computed.
        image: the column of images in Parquet files; None: as they say, or a usual name.
        label: that of labels, likewise.

    Raises: DatasetError: unknown, missing, empty, or not as described; the message says where
        it was looked for and what exists.
    """
    form, colon, path = name.partition(":")
    if not _WORD.fullmatch(split):
        raise DatasetError(
            f"data set {name}: split {split!r} is not allowed; use letters, digits, "
            "'_' or '-', for example test"
        )
    if len(name) > _LONGEST or len(split) > _LONGEST:
        raise DatasetError(
            f"data set {name[:_SHOWN]}...: a name or path of more than {_LONGEST} characters"
        )
    if colon:
        parquet = partial(open_parquet, is_shuffled=is_shuffled, image=image, label=label)
        openers: dict[str, Callable[[str, Path, str], ImageSet]] = {
            "imagefolder": open_folder,
            "parquet": parquet,
        }
        if form not in openers or not path:
            raise DatasetError(_unknown(name))
        try:
            return openers[form](name, (base or Path.cwd()) / Path(path).expanduser(), split)
        except (ArithmeticError, LookupError, OSError, RuntimeError, ValueError) as err:
            # Readers of third-party files may raise any of these.
            raise DatasetError(f"data set {name} cannot be read: {err}") from err
    if name in _EMBEDDED:
        return _open_digits(name, split)
    if not _WORD.fullmatch(name):
        raise DatasetError(_unknown(name))
    try:
        return _open_named(name, split, is_shuffled=is_shuffled)
    except (ArithmeticError, LookupError, OSError, RuntimeError, ValueError) as err:
        raise DatasetError(f"data set {name} cannot be read: {err}") from err


def absolute_name(text: str) -> str:
    """Turn what a user calls a data set into a name that means the same from every folder.

    Args:
        text: a name as of `open_images`, or a path without a form. A folder becomes `imagefolder:`,
            or `parquet:` if it holds .parquet files; a .parquet file becomes `parquet:`. A name
            that is known stays one, even if a folder is called so: that is `./NAME`.

    Returns: the name, with an absolute PATH; what is neither a name nor a path is left as it is.
    """
    form, _, path = text.partition(":")
    if f"{form}:PATH" in _FORMS:
        return f"{form}:{_absolute(path)}" if path else text
    found = _absolute(text)
    try:
        is_left = not text or _is_known(text) or not (found.exists() or _is_path(text))
        is_folder = found.is_dir()
    except OSError:  # an impossible file name
        return text
    if is_left:
        return text
    is_parquet = any(found.glob(f"*{_PARQUET}")) if is_folder else text.endswith(_PARQUET)
    return f"{'parquet' if is_parquet else 'imagefolder'}:{found}"


def _absolute(path: str) -> Path:
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError:  # ~name of an unknown user
        return Path(path).absolute()


def _is_path(text: str) -> bool:
    """Whether a text reads as a path of which nothing is there, not as a name with a slip in it."""
    return ":" not in text and ("/" in text or text.endswith(_PARQUET))


def _is_known(name: str) -> bool:
    """Whether a name is one without a path: embedded, downloadable, or of a folder of data sets."""
    if name in (*_EMBEDDED, *DOWNLOADABLE):
        return True
    folders = (*_data_folder(), cache_folder())
    is_name = _WORD.fullmatch(name) is not None
    return is_name and any((folder / name).is_dir() for folder in folders)


def _open_digits(name: str, split: str) -> ImageSet:
    splits = ("train", "test")
    if split not in splits:
        raise DatasetError(f"data set {name} has no split {split!r}; splits: {', '.join(splits)}")
    # Installed unpacked: a wheel of this project is not imported from a zip file.
    folder = Path(str(resources.files("storage") / "datasets"))
    return open_parquet(name, folder / f"{name}-{split}.parquet", split)


def named_file(name: str, split: str) -> Path | None:
    """Find the file of a named data set below $GFJOBS_DATA, else in the cache; else None."""
    files = (folder / name / f"{split}.parquet" for folder in (*_data_folder(), cache_folder()))
    try:
        return next((file for file in files if file.is_file()), None)
    except OSError:  # an impossible file name, or a folder without read permission
        return None


def cache_folder() -> Path:
    """Return the folder of downloaded data sets, below $XDG_CACHE_HOME, by default ~/.cache."""
    home = os.environ.get(GENERAL_VARIABLE)
    return (Path(home) if home else Path.home() / ".cache") / "gfjobs" / "data"


def _data_folder() -> tuple[Path, ...]:
    data = os.environ.get(DATA_VARIABLE)
    return (_absolute(data),) if data else ()


def _open_named(name: str, split: str, *, is_shuffled: bool) -> ImageSet:
    if file := named_file(name, split):
        return open_parquet(name, file, split, is_shuffled=is_shuffled)
    for folder in _data_folder():
        if (folder / name).is_dir():
            return open_parquet(name, folder / name, split)  # raises, and lists the splits
    if name not in DOWNLOADABLE:
        raise DatasetError(_unknown(name))
    looked = [f"no {folder / name / split}.parquet" for folder in (*_data_folder(), cache_folder())]
    unset = "" if _data_folder() else f" ({DATA_VARIABLE} is not set)"
    raise DatasetError(
        f"data set {name} was not found: {' and '.join(looked)}{unset}; set {DATA_VARIABLE} to the"
        f" folder that holds {name}/{split}.parquet, or use parquet:PATH"
    )


def _unknown(name: str) -> str:
    known = (*_EMBEDDED, *DOWNLOADABLE, *_FORMS)
    data = os.environ.get(DATA_VARIABLE)
    where = (
        f"no folder of that name below {DATA_VARIABLE}={data}"
        if data
        else (f"{DATA_VARIABLE} is not set")
    )
    return (
        f"data set {name!r} is not known{nearest(name, known)}; known: {', '.join(known)}, "
        f"and the folders below {DATA_VARIABLE} ({where})"
    )
