"""Reads the names and submissions of runs, without reading rows.

Quick enough for completing a name in a shell: neither Arrow nor DuckDB is loaded.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from storage.errors import DamagedError, RunNotFoundError
from storage.runs.layout import existing_root, reading, run_paths, visible_runs

if TYPE_CHECKING:
    from storage.backends import Backend, Root


def run_names(root: Root) -> tuple[str, ...]:
    """List the run_ids under a root, in order of name.

    Raises: StorageError: there is no such root, or it cannot be read.
    """
    backend = existing_root(root)
    with reading(backend):
        return tuple(visible_runs(backend))


def read_submission(root: Root, run_id: str) -> dict[str, str]:
    """Read what was stored with a run for a resume: where its grid and its paths are.

    Raises:
        RunNotFoundError: there is no such run.
        DamagedError: the file is missing, or does not hold what was written.
    """
    paths = run_paths(existing_root(root), run_id)
    try:
        return parse_submission(paths.submission)
    except FileNotFoundError as err:
        if paths.run.is_file():
            raise DamagedError(f"{paths.submission} is missing: see `gfjobs fsck`") from err
        raise RunNotFoundError(f"there is no run {run_id!r} under {root}") from err


def parse_submission(file: Backend) -> dict[str, str]:
    """Read a submission from its file.

    Raises:
        DamagedError: it is not an object of texts.
        FileNotFoundError: there is no such file.
    """
    content = file.read()
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as err:  # UnicodeDecodeError is a ValueError
        raise DamagedError(f"{file} is damaged ({err}): see `gfjobs fsck`") from err
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        raise DamagedError(f"{file} is damaged (not an object of texts): see `gfjobs fsck`")
    return found
