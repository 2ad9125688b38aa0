"""What all sensors share: reading a kernel's small file, and the errors for none and for a lie."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

MILLI = 1e-3
_MOST_BYTES = 4096
_SHOWN = 20
MAX_CLOCK_MHZ = 20_000.0
NOT_SHOWN = "not shown by the kernel"
"""Why there is no figure that boards have and other machines rarely."""

# Boards work outdoors in winter; the zones of switched-off parts of an Orin read -256 degrees.
_LEAST_C, _MOST_C = -40.0, 150.0


class AbsentError(Exception):
    """This machine lacks a source, or its answer cannot be true; the message names it."""


def read_text(path: Path) -> str | None:
    """Return the content of a kernel's file; None if it does not exist or cannot be read.

    Uses bare system calls: the zone of a GPU that is switched off answers EAGAIN, for which
    Python's own files raise TypeError.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            return os.read(handle, _MOST_BYTES).decode().strip("\0\n\t ")
        finally:
            os.close(handle)
    except (OSError, UnicodeDecodeError):
        return None


def read_texts(root: Path, files: str) -> list[str]:
    """Return the contents of files, given as a pattern; empty and unreadable ones are skipped."""
    return [text for path in sorted(root.glob(files)) if (text := read_text(path))]


def read_integer(path: Path) -> int | None:
    """Return the whole number in a kernel's file; None if it cannot be read or is empty.

    Raises:
        AbsentError: the file contains something else.
    """
    text = read_text(path)
    if not text:
        return None
    try:
        return int(text)
    except ValueError as err:
        raise AbsentError(f"{path.name} reads {text[:_SHOWN]!r}, which is not a number") from err


def read_each(root: Path, files: str) -> Iterator[tuple[Path, int]]:
    """Yield each file of a pattern that contains a number, with it; others are skipped."""
    for path in sorted(root.glob(files)):
        try:
            number = read_integer(path)
        except AbsentError:
            continue
        if number is not None:
            yield path, number


def checked_clock_mhz(mhz: float, source: str) -> float:
    """Return a clock that is plausible.

    Raises:
        AbsentError: it is not; a source that reads 0 is switched off.
    """
    if 0 < mhz <= MAX_CLOCK_MHZ:
        return mhz
    if mhz == 0:
        raise AbsentError(f"{source} reads 0 MHz: it is switched off")
    raise AbsentError(f"{source} reads {mhz:g} MHz, which is no clock")


def is_temperature(celsius: float) -> bool:
    """Return whether a chip can have this temperature; exactly 0 is that of no sensor."""
    return _LEAST_C <= celsius <= _MOST_C and celsius != 0
