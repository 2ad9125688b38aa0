"""The version of gfjobs that a run was made with."""

from __future__ import annotations

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def gfjobs_version() -> str | None:
    """Return the installed version; None if the package is not installed."""
    try:
        return version("gfjobs")
    except PackageNotFoundError:
        return None


def git_revision() -> str | None:
    """Return the commit of this code's checkout, `-dirty` if changed; None without a checkout."""
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        tracked = subprocess.run(
            [*command[:3], "ls-files", "--error-unmatch", Path(__file__).name],
            capture_output=True,
            check=False,
        )
        if tracked.returncode:
            return None  # installed within another repository
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip() or None
