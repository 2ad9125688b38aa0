"""A Jetson's power mode, by name and number: `MAXN_SUPER (2)`.

The same number is another mode on another board, or after an upgrade: 2 is 15 W on an Orin NX, and
MAXN_SUPER on an Orin Nano since JetPack 6.2. Rows of schema versions before 7 have the number
alone. Source: nvpmodel's own files, whose form its header in /etc/nvpmodel.conf documents.
"""

from __future__ import annotations

import re
from pathlib import Path

from jobs.machine.sensors import AbsentError, read_text

_STATUS = "var/lib/nvpmodel/status"
_MODES = "etc/nvpmodel.conf"
_NUMBER = re.compile(r"pmode:(\d{1,4})\b")  # also of: pmode:0002 fmode:quiet
_MOST_CHARACTERS = 2**20
# A name with a comma or blank would not survive where modes are joined and split again.
_NAMED = re.compile(r"^<\s*POWER_MODEL\s+ID=(\d{1,4})\s+NAME=([\w.+-]+)\s*>", re.MULTILINE)
_SHOWN = re.compile(r"(?:([\w.+-]+) \((\d+)\)|(\d+))")


def power_mode(root: Path) -> str:
    """Return the name and number of a Jetson's power mode; the number alone if it has no name.

    Raises:
        AbsentError: there is no nvpmodel, or its status names no mode.
    """
    text = read_text(root / _STATUS)
    if text is None:
        raise AbsentError("no nvpmodel")
    found = _NUMBER.match(text)
    if found is None:
        raise AbsentError(f"nvpmodel's status reads {text[:20]!r}")
    number = int(found[1])
    name = _names(root).get(number)
    return f"{name} ({number})" if name else str(number)


def are_same_modes(first: object, second: object) -> bool:
    """Return whether two values of `power_mode` name the same modes.

    A number alone, as older rows have it, is the mode of that number, whatever its name.
    """
    if first == second or not isinstance(first, str) or not isinstance(second, str):
        return first == second
    ones, others = first.split(", "), second.split(", ")
    return all(any(_is_same(one, other) for other in others) for one in ones) and all(
        any(_is_same(one, other) for one in ones) for other in others
    )


def _is_same(first: str, second: str) -> bool:
    one, other = _SHOWN.fullmatch(first), _SHOWN.fullmatch(second)
    if first == second or one is None or other is None:
        return first == second
    numbers = {one[2] or one[3], other[2] or other[3]}
    return len(numbers) == 1 and None in (one[1], other[1])


def _names(root: Path) -> dict[int, str]:
    """Return the names of this board's modes by number; empty if the file cannot be read."""
    try:
        with (root / _MODES).open(errors="replace") as file:
            text = file.read(_MOST_CHARACTERS)
    except OSError:
        return {}
    return {int(number): name for number, name in _NAMED.findall(text)}
