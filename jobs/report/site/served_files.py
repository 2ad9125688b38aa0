"""Opens files below a folder by names from outside, and nothing else: no link is followed."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from jobs.report.site.requests import is_plain_path

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".csv": "text/csv; charset=utf-8",
    ".parquet": "application/vnd.apache.parquet",
}
"""The files of a site by their suffixes; others in its folder are not its own."""


def read_below(folder: Path, path: str) -> bytes | None:
    """Read the regular file of a path of plain names below a folder; None: there is none.

    The folder itself may be a link. Each part below it is opened from the one above, so that
    nothing can be put in its place meanwhile.
    """
    if not path or path.endswith("/") or not is_plain_path(path):
        return None
    *folders, name = path.split("/")
    if Path(name).suffix not in MEDIA_TYPES:
        return None
    with contextlib.ExitStack() as stack:
        try:
            place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, place)
            for each in folders:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                place = os.open(each, flags, dir_fd=place)
                stack.callback(os.close, place)
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe blocks
            handle = os.open(name, flags, dir_fd=place)
            stack.callback(os.close, handle)
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return None
            with open(handle, "rb", closefd=False) as file:
                return file.read()
        except OSError:
            return None
