"""Resolves the runs that a command reads results of, and says which are not finished."""

from __future__ import annotations

from jobs.cli.base import narrate, program, root_option
from storage import Root

_TO_COME = ("queued", "running", "cancelled")


def resolve_results(root: Root, *runs: str) -> list[str]:
    """Return the run_ids for names that the user gave; messages say which are not finished.

    Raises: RunNotFoundError: there is no such run.
    """
    import storage

    run_ids = [storage.resolve_run(root, run) for run in runs]
    for said in filter(None, [_describe_unfinished(root, each) for each in dict.fromkeys(run_ids)]):
        narrate(said)
    return run_ids


def _describe_unfinished(root: Root, run_id: str) -> str | None:
    """Say how far a run is, and how the rest comes; None if all of it has ended."""
    import storage

    try:
        status = storage.find_run(root, run_id).status
        if status == "done":
            return None
        cells = [cell for cell in storage.read_cells(root, run_id) if cell.status != "skipped"]
    except storage.StorageError:  # the command itself says that the run is damaged, or removed
        return None
    if not any(cell.status in _TO_COME for cell in cells):
        return None
    done = f"({sum(cell.status == 'done' for cell in cells)} of {len(cells)} cells done)"
    if status == "running":
        return f"run {run_id} is still running {done}: what is missing below is still to come"
    return (
        f"run {run_id} is not finished {done}: what is missing below comes with"
        f" `{program()} resume {run_id}{root_option()}`"
    )
