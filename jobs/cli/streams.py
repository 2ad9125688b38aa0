"""Standard streams as they may be: closed, full, or in an encoding without all characters."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
import unicodedata

from jobs.common.errors import JobsError

_HANDLER = "gfjobs.plain"
_PLAIN = {"─": "-", "–": "-", "→": ">", "…": "~", "█": "#", "±": "~"}
"""Characters of tables and messages, each with one of ASCII, so that columns stay in line."""

_BLANK = "\u2800"  # of braille, with which charts are drawn


def prepare_streams() -> None:
    """Make a closed stream discard its text, and give each what its encoding lacks in ASCII."""
    codecs.register_error(_HANDLER, _write_plainly)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def output_error(err: OSError) -> JobsError:
    """Return the error for output that cannot be written; what is left of it is dropped.

    Raises:
        OSError: nobody reads it any more, as after `| head`.
    """
    if err.errno == errno.EPIPE:
        raise err
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python tries at its end
    return JobsError(f"the output cannot be written: {err.strerror}")


def _write_plainly(err: UnicodeError) -> tuple[str, int]:
    """Stand in for characters that an encoding lacks; letters become escapes such as \\u0416."""
    if not isinstance(err, UnicodeEncodeError):
        raise err
    return "".join(map(_plain, err.object[err.start : err.end])), err.end


def _plain(character: str) -> str:
    if character == _BLANK:
        return " "
    if character in _PLAIN:
        return _PLAIN[character]
    if unicodedata.category(character) == "So":  # a symbol, of which charts are drawn
        return "*"
    return character.encode("ascii", "backslashreplace").decode("ascii")
