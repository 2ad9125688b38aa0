"""Follows a run by the files that its driver writes under the results root."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import storage
from jobs.common.text import ShowText
from jobs.runs.time_left import committed_images

LOOK_S = 2.0
"""Time between two checks: a driver does not save its cells more often."""

LINE_INTERVAL_S = 5.0


def watch(
    root: storage.Root,
    run_id: str,
    narrate: ShowText,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Follow a run until it ends, wherever its driver is.

    Args:
        root: the results root.
        run_id: the run.
        narrate: shows the lines of its driver's log, or its progress if there is no log.
        clock: seconds; a fake one in tests.
        sleep: lets time pass; a fake one in tests.

    Returns: whether the run is done.
    """
    for line in driver_lines(root, run_id):
        narrate(line)
    log = _Log(storage.log_of(root, run_id))
    said, said_s = "", 0.0
    while True:
        run = storage.find_run(root, run_id)  # before the cells: they are saved before it ends
        line = progress_line(storage.read_cells(root, run_id))
        lines = log.lines()
        is_due = clock() - said_s >= LINE_INTERVAL_S or run.status != "running"
        if not log.is_there and line != said and is_due:
            said, said_s = line, clock()
            lines = [line]
        for each in lines:
            narrate(each)
        if run.status != "running":
            return run.status == "done"
        sleep(LOOK_S)


@dataclass(frozen=True)
class RunCounts:
    """How far a run is; cells that it skips are not counted.

    Attributes:
        ended: cells that are done or failed.
        cells: all to run.
        committed: images with rows, each of its rounds counted.
        asked: all to be evaluated.
    """

    ended: int
    cells: int
    committed: int
    asked: int


def count_progress(rows: Sequence[storage.CellRow]) -> RunCounts:
    """Count the ended cells and committed images of a run."""
    counted = [row for row in rows if row.status != "skipped"]
    return RunCounts(
        ended=sum(row.status in ("done", "failed") for row in counted),
        cells=len(counted),
        committed=sum(committed_images(row) for row in counted),
        asked=sum((row.images or 0) * (row.rounds or 0) for row in counted),
    )


def progress_line(rows: Sequence[storage.CellRow]) -> str:
    """Numbers of ended cells and committed images, out of those to run."""
    counts = count_progress(rows)
    return f"{counts.ended}/{counts.cells} cells, {counts.committed:,}/{counts.asked:,} images"


def driver_lines(root: storage.Root, run_id: str) -> Iterator[str]:
    """Lines that name a run's driver, its cluster if it was handed over, and its log."""
    if holder := storage.holder(root, run_id):
        yield f"driver: {holder}"
    try:
        if address := storage.read_submission(root, run_id).get("detached"):
            yield f"handed to the cluster at {address}"
    except storage.DamagedError as err:  # the run can be followed without it
        yield str(err)
    log = storage.log_of(root, run_id)
    if log and log.is_file():
        yield f"its log: {log}"


class _Log:
    """Reads the lines of a file that is being written, from its last line on."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._offset = 0
        self._rest = b""
        if path and path.is_file():
            content = path.read_bytes()
            self._offset = content.rstrip(b"\n").rfind(b"\n") + 1

    @property
    def is_there(self) -> bool:
        return bool(self._path and self._path.is_file())

    def lines(self) -> list[str]:
        """The complete lines written since the last call."""
        if not (self._path and self._path.is_file()):
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            content = file.read()
        self._offset += len(content)
        *lines, self._rest = (self._rest + content).split(b"\n")
        return [line.decode(errors="replace") for line in lines]
