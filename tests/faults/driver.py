"""A driver under test: `gfjobs` in a process of its own, perhaps with a fault inside."""

from __future__ import annotations

import os
import sys

MARK = "GFJOBS_FAULTS"
"""Set for all processes of a disturbed run, to find those that are left."""


def run(
    arguments: list[str], log: str, wound: str, environment: dict[str, str], errors: str = ""
) -> None:
    """Run a command line in this process, which was forked for it, and end with its exit code.

    Args:
        arguments: of the command line.
        log: a file for all that it says.
        wound: a fault inside of it, see `faults.wounds`.
        environment: its own.
        errors: another file, for what it says on stderr.
    """
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    for stream, path in ((1, log), (2, errors or log)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), stream)
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    sys.argv = ["gfjobs", *arguments]
    main(wound)


def main(wound: str) -> None:
    """Inflict the wound, then be `gfjobs`."""
    from faults import wounds

    if wound:
        wounds.inflict(wound)
    from jobs.cli import main as gfjobs

    gfjobs()


if __name__ == "__main__":  # on another host: driver.py WOUND ARGUMENTS
    _, given, *rest = sys.argv
    sys.argv = ["gfjobs", *rest]
    main(given)
