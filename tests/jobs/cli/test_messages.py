"""Whose messages a command shows: ours, and none of the libraries that it uses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]

CODE = """
import logging, sys, warnings
from jobs.cli import main

@main.command()
def speak():
    warnings.warn("a deprecation")
    logging.getLogger("foreign").error("of no handler")
    for name in ("storage.x", "jobs.x", "jobs.x"):
        logging.getLogger(name).warning(f"of {name}")
    raise SystemExit

sys.argv = ["gfjobs", "speak"]
main()
"""


@pytest.mark.parametrize("options", [[], ["-W", "default"]])
def test_warnings_are_ours_each_once(options: list[str]) -> None:
    """Those of other libraries are shown if Python is asked to."""
    done = subprocess.run(
        [sys.executable, *options, "-c", CODE],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stderr.splitlines()
    assert [line for line in lines if line.startswith("of ")] == ["of storage.x", "of jobs.x"]
    assert any("a deprecation" in line for line in lines) == bool(options)
    assert done.stdout == ""
    if not options:
        assert len(lines) == 2
