"""Reads JSON that means one thing: no key twice, no NaN, no bottomless nesting."""

from __future__ import annotations

import json
import math
from typing import Any

from gfnet.bundle.errors import BundleError, shortened

MAX_DEPTH = 12
"""Of arrays and objects within each other; a manifest needs 6."""


def read_json(data: bytes, where: str) -> Any:
    """Parse a JSON text in UTF-8.

    Args:
        data: the text.
        where: names the file in messages.

    Raises:
        BundleError: it is not JSON, or means different things to different readers.
    """
    try:
        document = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
        _check_depth(document)
        json.dumps(document, ensure_ascii=False).encode("utf-8")  # not with half of a character
    except (ValueError, RecursionError) as err:  # UnicodeDecodeError and JSONDecodeError too
        raise BundleError(f"{where}: not a JSON text that can be used: {err}") from err
    return document


def canonical_bytes(document: Any) -> bytes:
    """Return the one form of a JSON document: keys sorted, no spaces, only ASCII."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("ascii")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {shortened(key)} stands twice in one object: keep one")
        found[key] = value
    return found


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number of JSON: write a finite number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{shortened(text)} is too large: write a finite number")
    return number


def _check_depth(document: Any) -> None:
    waiting = [(document, 1)]
    while waiting:
        node, depth = waiting.pop()
        if depth > MAX_DEPTH + 1:
            raise ValueError(f"it nests deeper than {MAX_DEPTH} arrays and objects")
        children = node.values() if isinstance(node, dict) else node
        if isinstance(node, (dict, list)):
            waiting.extend((child, depth + 1) for child in children)
