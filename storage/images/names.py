"""What the name of a data set in a grid means."""

from __future__ import annotations

import os
import re
from importlib import resources
from pathlib import Path

from storage.errors import DatasetError
from storage.images.folder import open_folder
from storage.images.image_set import ImageSet
from storage.images.parquet import open_parquet
from storage.schemas import nearest

DATA_VARIABLE = "GFJOBS_DATA"

_EMBEDDED = ("digits",)
_NAMED = ("cifar10", "cifar100")
_FORMS = ("imagefolder:PATH", "parquet:PATH")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def open_images(name: str, split: str = "test", base: Path | None = None) -> ImageSet:
    """Open a data set by its name.

    Args:
        name: `digits` (embedded), `cifar10` or any other `<name>/<split>.parquet` below the
            folder `$GFJOBS_DATA`, `imagefolder:PATH`, or `parquet:PATH`.
        split: `train` or `test` for the named ones.
        base: the folder that a relative PATH starts from; default the working directory.

    Raises: DatasetError: unknown, missing, empty, or not as described; the message says where
        it was looked for and what there is.
    """
    form, colon, path = name.partition(":")
    if not _WORD.fullmatch(split):
        raise DatasetError(
            f"data set {name}: split {split!r} is not allowed; use letters, digits, "
            "'_' or '-', for example test"
        )
    if colon:
        openers = {"imagefolder": open_folder, "parquet": open_parquet}
        if form not in openers or not path:
            raise DatasetError(_unknown(name))
        try:
            return openers[form](name, (base or Path.cwd()) / Path(path).expanduser(), split)
        except (ArithmeticError, LookupError, OSError, RuntimeError, ValueError) as err:
            # Whatever the files of others make their readers raise.
            raise DatasetError(f"data set {name} cannot be read: {err}") from err
    if name in _EMBEDDED:
        return _open_digits(name, split)
    if not _WORD.fullmatch(name):
        raise DatasetError(_unknown(name))
    return _open_named(name, split)


def _open_digits(name: str, split: str) -> ImageSet:
    splits = ("train", "test")
    if split not in splits:
        raise DatasetError(f"data set {name} has no split {split!r}; splits: {', '.join(splits)}")
    # Installed unpacked: a wheel of this project is not imported from a zip file.
    folder = Path(str(resources.files("storage") / "datasets"))
    return open_parquet(name, folder / f"{name}-{split}.parquet", split)


def _open_named(name: str, split: str) -> ImageSet:
    data = os.environ.get(DATA_VARIABLE)
    folder = Path(data).expanduser().absolute() / name if data else None
    if folder is not None and folder.is_dir():
        return open_parquet(name, folder, split)
    if name not in _NAMED:
        raise DatasetError(_unknown(name))
    looked = f"there is no folder {folder}" if folder else f"{DATA_VARIABLE} is not set"
    raise DatasetError(
        f"data set {name} is not here: {looked}; set {DATA_VARIABLE} to the folder "
        f"that holds {name}/{split}.parquet, or use parquet:PATH"
    )


def _unknown(name: str) -> str:
    known = (*_EMBEDDED, *_NAMED, *_FORMS)
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
