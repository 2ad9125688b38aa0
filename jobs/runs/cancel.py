"""Cancels a run, wherever its driver is: a file beside its rows tells the driver."""

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
"""For a driver to stop: it looks each second, and then ends what is in flight."""

ASK_S = 0.2
"""Between two looks whether it has."""


def mark_cancelled(store: storage.RunStore) -> None:
    """Write down that a run is cancelled; what is done stays done, what failed stays failed."""
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
    """Stop a run within seconds; it can be resumed. One that has ended is left as it is.

    Args:
        root: the results root.
        run_id: which run.
        narrate: told in words what came of it.
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
    narrate(f"run {run_id} is cancelled: cells {counted}")


def _take_over(
    root: storage.Root, run_id: str, clock: Callable[[], float], sleep: Callable[[float], None]
) -> storage.RunStore:
    """Ask the driver to stop until it has, and hold the run then."""
    deadline_s = clock() + PATIENCE_S
    while True:
        try:
            return storage.RunStore.open(root, run_id)
        except storage.RunLockedError as err:
            if clock() > deadline_s:
                raise JobsError(
                    f"run {run_id} is asked to stop, but its driver,"
                    f" {storage.holder(root, run_id)}, has not done so in {PATIENCE_S:.0f} s. It"
                    " will when it looks; if it hangs, kill it: what is committed is kept"
                ) from err
            # Each time: a driver that starts forgets what was asked of the one before.
            storage.ask_to_cancel(root, run_id)
        sleep(ASK_S)


def _ended(status: str) -> str:
    return {
        "done": "is done",
        "cancelled": "is cancelled already",
        "failed": "has ended, with failed cells",
    }.get(status, status)
