"""The token that all nodes of a cluster share, searched in the same order as Ray does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

MODE = "RAY_AUTH_MODE"
VALUE = "RAY_AUTH_TOKEN"
FILE = "RAY_AUTH_TOKEN_PATH"
DEFAULT_FILE = Path(".ray/auth_token")
"""Relative to the home folder."""

HOW_TO_MAKE = "ray get-auth-token --generate"
"""The command that makes a token in the default file if there is none."""


def find_token(
    environment: Mapping[str, str] = os.environ, home: Path | None = None
) -> tuple[str, str] | None:
    """Return the token and its source; None if there is none.

    In Ray's order: RAY_AUTH_TOKEN, the file that RAY_AUTH_TOKEN_PATH names, ~/.ray/auth_token. If
    the named file cannot be read there is no token: Ray does not look further either.
    """
    if value := environment.get(VALUE, "").strip():
        return value, f"${VALUE}"
    named = environment.get(FILE)
    path = Path(named) if named else (home or Path.home()) / DEFAULT_FILE
    try:
        value = path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return (value, str(path)) if value else None


def token_advice() -> str:
    """Return advice on how this machine gets the token of a cluster."""
    found = find_token()
    ours = f"this machine's is from {found[1]}" if found else "this machine has none"
    return (
        f"{ours}; copy ~/{DEFAULT_FILE} from the head to the same path here, readable only by you"
    )
