"""Cancels a run, wherever its driver is: a file next to its rows asks the driver to stop."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import storage
from jobs.common.clock import now
from jobs.common.errors import JobsError
from jobs.common.text import ShowText

PATIENCE_S = 60.0
"""Time for a driver to stop: it checks each second, and then ends the tasks in flight."""

ASK_S = 0.2
"""Time between two checks whether it has stopped."""


def mark_cancelled(store: storage.RunStore) -> None:
    """Record that a run is cancelled; cells that are done or failed keep their states."""
    rows = [
        replace(row, status="cancelled") if row.status in ("queued", "running") else row
        for row in store.cells
    ]
    store.save_cells(rows)
    store.save_run(replace(store.run, status="cancelled", finished_at=now()))
    store.forget_cancel()


def cancel(
    root: storage.Root,
    run_id: str,
    narrate: ShowText,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Stop a run within seconds; it can be resumed. A run that has ended is left unchanged.

    Args:
        root: the results root.
        run_id: the run.
        narrate: shows the result to the user.
        clock: seconds; a fake one in tests.
        sleep: lets time pass; a fake one in tests.

    Raises:
        JobsError: its driver does not stop.
    """
    status = storage.find_run(root, run_id).status
    if status not in ("running", "interrupted"):
        narrate(f"run {run_id} {_ended(status)}: there is nothing to cancel")
        return
    store = _take_over(root, run_id, clock, sleep)
    with store:
        if store.run.status == "running":  # its driver is dead
            mark_cancelled(store)
        store.forget_cancel()
        status, cells = store.run.status, store.cells
    if status != "cancelled":
        narrate(f"run {run_id} {_ended(status)} before it could be cancelled")
        return
    counts = Counter(row.status for row in cells)
    counted = ", ".join(f"{number} {status}" for status, number in counts.items())
    narrate(f"run {run_id} is cancelled; its cells: {counted}")


def _take_over(
    root: storage.Root, run_id: str, clock: Callable[[], float], sleep: Callable[[float], None]
) -> storage.RunStore:
    """Ask the driver to stop until it has, then take the run's lease."""
    deadline_s = clock() + PATIENCE_S
    while True:
        try:
            return storage.RunStore.open(root, run_id)
        except storage.RunLockedError as err:
            if clock() > deadline_s:
                raise JobsError(
                    f"run {run_id} was asked to stop, but its driver,"
                    f" {storage.holder(root, run_id)}, has not stopped within {PATIENCE_S:.0f} s."
                    " It stops at its next check; if it hangs, kill it: committed rows are kept"
                ) from err
            # Ask each time: a driver that starts drops the request made to the one before.
            storage.ask_to_cancel(root, run_id)
        sleep(ASK_S)


def _ended(status: str) -> str:
    return {
        "done": "is done",
        "cancelled": "is cancelled already",
        "failed": "has ended, with failed cells",
    }.get(status, status)
