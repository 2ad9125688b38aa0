"""Run each test by itself, as if there were no other: `make shuffled`.

A process that has only imported what tests import forks one for each test, so that 3,000 tests take
half an hour and not a night.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path

import pytest

SLOW = ("tests/integration", "tests/cluster")
"""What `make integration` runs, and these start processes and clusters of their own."""


class _Collected:
    """What pytest found."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Keep the names alone."""
        self.ids = [item.nodeid for item in session.items]


def main(wanted: list[str]) -> int:
    """Run the tests below some paths, or all; 1 where one fails alone."""
    found = _Collected()
    with contextlib.redirect_stdout(io.StringIO()):
        ignored = [f"--ignore={folder}" for folder in SLOW]
        if pytest.main(["--collect-only", "-q", *ignored, *wanted], [found]) != 0:
            raise SystemExit("the tests cannot be collected: see `pytest --collect-only`")
    failed = [name for number, name in enumerate(found.ids) if not _passes(name, number, found)]
    sys.stdout.write(f"{len(found.ids)} tests, each alone: {len(failed)} failed\n")
    for name in failed:
        sys.stdout.write(f"  {name}\n")
    return int(bool(failed))


def _passes(name: str, number: int, found: _Collected) -> bool:
    """Run one in a process of its own; what it says is shown where it fails."""
    if number % 100 == 0:
        sys.stdout.write(f"{number} of {len(found.ids)}\n")
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            code = pytest.main(["-q", "-p", "no:cacheprovider", name])
        if code != 0:
            sys.stdout.write(said.getvalue())
            sys.stdout.flush()
        os._exit(int(code != 0))
    return os.waitpid(child, 0)[1] == 0


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[1])
    sys.exit(main(sys.argv[1:]))
