"""Where results lie: one interface, and what implements it.

`place_of` says what the user's word for a results root means.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Union

from storage.errors import RootNotWritableError
from storage.places.local import LocalPlace
from storage.places.place import TEMPORARY_PREFIX, Lease, Place, PlaceError

__all__ = ["TEMPORARY_PREFIX", "Lease", "Place", "PlaceError", "Root", "checked_root", "place_of"]

Root = Union[str, "os.PathLike[str]"]
"""What names a results root: a folder."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def place_of(root: Root) -> Place:
    """Turn what the user gave as results root into a place; a path becomes absolute.

    Raises: RootNotWritableError: it cannot be a root.
    """
    text = os.fspath(root)
    if _URL.match(text):
        raise RootNotWritableError(
            f"results root {text} is a URL, and this version keeps results on local paths only; "
            "give a folder, for example --results ./results"
        )
    if not text:
        raise RootNotWritableError("the results root is empty; give a folder, say ./results")
    try:
        return LocalPlace(Path(text).expanduser().absolute())
    except RuntimeError as err:  # ~name of nobody
        raise RootNotWritableError(f"results root {text}: {err}; give a folder") from err


def checked_root(root: Root) -> Root:
    """Write a results root in full: an absolute path.

    Raises: RootNotWritableError: it cannot be a root.
    """
    return Path(str(place_of(root)))
