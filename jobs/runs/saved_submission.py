"""The facts that a submission.json has, checked: where a grid lies, what its names stood for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import storage
from jobs.common.errors import UsageError
from jobs.plan.cell import Later
from jobs.runs.resolved_inputs import ResolvedInputs


def read_grid_folders(run_id: str, submission: Mapping[str, str]) -> tuple[Path, Path]:
    """The path of a run's grid file, and the folder in which its relative paths start.

    Raises: UsageError: they are not recorded, as after a repair.
    """
    if missing := [key for key in ("grid_path", "base") if not submission.get(key)]:
        raise UsageError(
            f"run {run_id}: its submission.json does not record where its grid is"
            f" ({', '.join(missing)}); continue it with `gfjobs submit GRID --run {run_id}`"
        )
    return Path(submission["grid_path"]), Path(submission["base"])


def read_inputs(submission: Mapping[str, str]) -> ResolvedInputs | None:
    """The resolved inputs; None if none were recorded.

    Raises: DamagedError: they are no such thing.
    """
    text = submission.get("meanings")
    if not text:
        return None
    try:
        known = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise _damaged("meanings", text) from err
    if not isinstance(known, dict) or not all(isinstance(each, dict) for each in known.values()):
        raise _damaged("meanings", text)
    found: ResolvedInputs = known
    return found


def read_later(submission: Mapping[str, str]) -> tuple[Later, ...]:
    """The additions to a run after cells of it had been timed.

    Raises: DamagedError: they are no such thing.
    """
    text = submission.get("later", "[]")
    try:
        return tuple(
            Later(
                str(added_at),
                {cell_id: (int(start), int(stop)) for cell_id, (start, stop) in rounds.items()},
            )
            for added_at, rounds in json.loads(text)
        )
    except (ValueError, TypeError, AttributeError, RecursionError) as err:
        raise _damaged("later", text) from err


def _damaged(key: str, text: str) -> storage.DamagedError:
    return storage.DamagedError(
        f"`{key}` of the run's submission.json is damaged: {text[:60]!r}; restore the file from a"
        " copy, or submit the grid as a new run (another --run, or none)"
    )
