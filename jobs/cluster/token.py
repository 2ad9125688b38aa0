"""The token that all nodes of a cluster share, looked for where Ray looks for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

MODE = "RAY_AUTH_MODE"
VALUE = "RAY_AUTH_TOKEN"
FILE = "RAY_AUTH_TOKEN_PATH"
DEFAULT_FILE = Path(".ray/auth_token")
"""Below the home folder."""

HOW_TO_MAKE = "ray get-auth-token --generate"
"""The command that makes one where there is none, in the default file."""


def find_token(
    environment: Mapping[str, str] = os.environ, home: Path | None = None
) -> tuple[str, str] | None:
    """The token and where it stands; None where there is none.

    In Ray's order: RAY_AUTH_TOKEN, the file that RAY_AUTH_TOKEN_PATH names, ~/.ray/auth_token. A
    file that is named but cannot be read is no token: Ray refuses to look further too.
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
    """How this machine gets the token of a cluster that it is to reach."""
    found = find_token()
    ours = f"this machine's is from {found[1]}" if found else "this machine has none"
    return (
        f"{ours}; copy ~/{DEFAULT_FILE} from the head to the same place here, readable by you alone"
    )
