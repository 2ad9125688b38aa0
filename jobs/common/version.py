"""Which gfjobs a run was made with."""

from __future__ import annotations

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def gfjobs_version() -> str | None:
    """The installed version; None where the package runs uninstalled."""
    try:
        return version("gfjobs")
    except PackageNotFoundError:
        return None


def git_revision() -> str | None:
    """The commit of the checkout this code runs from, `-dirty` where changed; else None."""
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        tracked = subprocess.run(
            [*command[:3], "ls-files", "--error-unmatch", Path(__file__).name],
            capture_output=True,
            check=False,
        )
        if tracked.returncode:
            return None  # installed into somebody else's repository
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip() or None
