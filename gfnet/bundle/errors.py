"""The error of everything that reads, runs or writes a bundle."""

from __future__ import annotations

_SHOWN = 80  # characters of what a file says


class BundleError(ValueError):
    """Raised for a bundle that cannot be used; the message names the file and what to do."""


def shortened(found: object) -> str:
    """Return what a file says, written out on one line, and cut if it is long."""
    text = ascii(found[:_SHOWN] if isinstance(found, (str, bytes)) else found)
    is_cut = len(text) > _SHOWN or (isinstance(found, (str, bytes)) and len(found) > _SHOWN)
    return f"{text[:_SHOWN]}..." if is_cut else text


def library_message(err: BaseException) -> str:
    """Return the first line of another library's message, shortened."""
    lines = [line.strip() for line in str(err).splitlines() if line.strip()]
    return shortened(lines[0]) if lines else type(err).__name__
