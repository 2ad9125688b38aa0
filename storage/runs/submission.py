"""Reads the names and submissions of runs, without reading rows.

Quick enough for completing a name in a shell: neither Arrow nor DuckDB is loaded.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from storage.errors import RunNotFoundError
from storage.runs.layout import existing_root, reading, run_paths, visible_runs

if TYPE_CHECKING:
    from storage.backends import Root


def run_names(root: Root) -> tuple[str, ...]:
    """List the run_ids under a root, in order of name.

    Raises: StorageError: there is no such root, or it cannot be read.
    """
    backend = existing_root(root)
    with reading(backend):
        return tuple(visible_runs(backend))


def read_submission(root: Root, run_id: str) -> dict[str, str]:
    """Read what was stored with a run for a resume: where its grid and its paths are.

    Raises: RunNotFoundError: there is no such run.
    """
    paths = run_paths(existing_root(root), run_id)
    try:
        submission: dict[str, str] = json.loads(paths.submission.read())
    except FileNotFoundError as err:
        raise RunNotFoundError(f"there is no run {run_id!r} under {root}") from err
    return submission
