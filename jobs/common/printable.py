"""What may reach a terminal: text in which no name can move the cursor or colour anything.

Names come from files of others: classes of a checkpoint, folders of a data set, models of a grid.
"""

from __future__ import annotations

_KEPT = "\n\t"
# Beside C0 and C1: what turns the direction of writing, or makes lines that no "\n" ends.
_ODD = (*range(0x20), *range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A))
_ESCAPES = {code: ascii(chr(code))[1:-1] for code in _ODD if chr(code) not in _KEPT}


def printable(text: str) -> str:
    r"""The text with control characters and lone surrogates written out, as in `\x1b[31m`."""
    if text.isascii() and text.isprintable():  # most are, and long tables ask often
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8").translate(_ESCAPES)
