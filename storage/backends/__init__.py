"""Storage backends: one interface and its implementations.

`open_backend` turns the results root that a user names into a backend.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Union

from storage.backends.backend import TEMPORARY_PREFIX, Backend, BackendError, Lease
from storage.backends.local import LocalBackend
from storage.backends.s3.url import parse_url
from storage.errors import RootNotWritableError

__all__ = [
    "TEMPORARY_PREFIX",
    "Backend",
    "BackendError",
    "Lease",
    "Root",
    "checked_root",
    "open_backend",
]

Root = Union[str, "os.PathLike[str]"]
"""A results root: a folder, or `s3://bucket/prefix`."""

_S3 = re.compile(r"s3://", re.IGNORECASE)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def open_backend(root: Root) -> Backend:
    """Turn the results root that a user gave into a backend; a path becomes absolute.

    Raises: RootNotWritableError: it cannot be a root.
    """
    text = os.fspath(root)
    if _S3.match(text):
        return _s3_place(text)
    if _URL.match(text):
        scheme = text.partition(":")[0]
        raise RootNotWritableError(
            f"a results root that begins with {scheme}:// is not known; give a folder, for example "
            "--results ./results, or s3://bucket/prefix of an object store"
        )
    if not text:
        raise RootNotWritableError("the results root is empty; give a folder, say ./results")
    try:
        return LocalBackend(Path(text).expanduser().absolute())
    except RuntimeError as err:  # ~name of an unknown user
        raise RootNotWritableError(f"results root {text}: {err}; give a folder") from err


def checked_root(root: Root) -> Root:
    """Return a results root in full: an absolute path, or a URL without a slash at its end.

    Raises: RootNotWritableError: it cannot be a root.
    """
    text = os.fspath(root)
    return str(parse_url(text)) if _S3.match(text) else Path(str(open_backend(root)))


def _s3_place(text: str) -> Backend:
    url = parse_url(text)
    try:
        from storage.backends.s3.backend import S3Backend
    except ImportError as err:
        raise RootNotWritableError(
            f"results root {url} needs boto3, which is not installed; install it with "
            "`pip install 'gfjobs[s3]'`, or give a folder"
        ) from err
    return S3Backend(url)
