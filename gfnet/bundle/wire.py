"""Counts the fields of a serialised graph before parsing, so that its memory is bounded.

An empty node has 2 bytes in a file and about 150 in memory (measured): a megabyte of zip, which
unpacks to the gigabyte that a graph may have, could otherwise take 75 GB.
"""

from __future__ import annotations

from functools import cache
from typing import Any

MAX_FIELDS = 1_000_000
"""A node has about ten; 50,000 nodes are allowed."""

_BYTES_PER_FIELD = 16
"""Of packed whole numbers, each of which may have one byte in the file and eight in memory."""

_VARINT, _FIXED_64, _LENGTH, _FIXED_32 = 0, 1, 2, 5
_MAX_SHIFT = 63


def field_problem(data: bytes, message: Any) -> str | None:
    """Return why a serialised message is not to be parsed; None if it may be.

    Args:
        data: the message.
        message: its class.
    """
    waiting = [(0, len(data), message.DESCRIPTOR)]
    fields = 0
    while waiting:
        at, end, kind = waiting.pop()
        inner = _inner(kind)
        while at < end:
            fields += 1
            if fields > MAX_FIELDS:
                return f"it has more than {MAX_FIELDS:,} fields; nodes and weights need far fewer"
            key, at = _varint(data, at, end)
            wire = key & 7
            if wire == _LENGTH:
                size, at = _varint(data, at, end)
                if size > end - at:
                    return "it is truncated, or no ONNX graph"
                found = inner.get(key >> 3)
                if found is True:
                    fields += size // _BYTES_PER_FIELD
                elif found is not None:
                    waiting.append((at, at + size, found))
                at += size
            elif wire == _VARINT:
                _, at = _varint(data, at, end)
            elif wire in {_FIXED_64, _FIXED_32}:
                at += 8 if wire == _FIXED_64 else 4
            else:
                return "it is damaged, or no ONNX graph"
    return None


@cache
def _inner(kind: Any) -> dict[int, Any]:
    """Return what lies in the fields with a length: a kind of message; True: whole numbers."""
    whole = {"TYPE_INT32", "TYPE_INT64", "TYPE_UINT64"}
    return {
        field.number: field.message_type or True
        for field in kind.fields
        if field.message_type is not None or field.type in {getattr(field, n) for n in whole}
    }


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return a number of variable length, and where it ends.

    Raises:
        ValueError: it has no end.
    """
    number = shift = 0
    while at < end and shift <= _MAX_SHIFT:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the last byte has no such bit
            return number, at
        shift += 7
    raise ValueError("a number has no end")
