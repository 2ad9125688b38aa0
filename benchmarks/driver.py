"""What the driver and the store take for a task as a run grows: the same for the last as the first.

No models, no images, no Ray: an executor of eight hosts answers each task at once with one row. All
else is the real thing, from the plan's blocks to committed rows and a live line of progress. A run
of four times the tasks has four times the cells. Planning comes before the clock. The merge of the
files is shown apart: a run has one, at its end.

A task's time is parted into commits, saves of the cells' states, lines of progress, and the driver
with all else. CPU is that of this process, which other processes disturb least. Memory is what this
process has more at the end of a run than after its plan, so the cells' states are in it.

The run is written to memory where there is a file system for that: there 100,000 tasks take some
minutes. A commit on a disk waits for it several times, whatever its number of tasks; measure it
with --folder.

    python benchmarks/driver.py [--tasks 10000 100000] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

import storage
from jobs.common.yaml_document import Document
from jobs.driver.cell_states import queued_rows
from jobs.driver.driver import Driver
from jobs.grid.reader import read_grid
from jobs.machine.slots import Host, Slot
from jobs.plan.plan import Plan, make_plan
from jobs.plan.task import Outcome, Task
from jobs.runs.progress import Progress

AIM_MS, AIM_GROWTH = 5.0, 1.3
"""Time per task, and how much time and memory a task of the largest run may take over one of the
smallest."""

HOSTS, ROUNDS = 8, 5
MIB = 2**20
MEMORY = Path("/dev/shm")  # noqa: S108 - a temporary folder is made in it


def plan_for(folder: Path, tasks: int) -> Plan:
    """A grid of timed cells for each host, with five tasks per cell: at least so many tasks."""
    thresholds = -(-tasks // (HOSTS * ROUNDS))
    grid = {
        "name": "driver",
        "models": ["digits-dynn"],
        "datasets": [{"name": "digits", "limit": 1}],
        "devices": [f"board-{number}" for number in range(HOSTS)],
        "threads": [1],
        "thresholds": [(number + 1) / (thresholds + 1) for number in range(thresholds)],
        "measure": ["latency"],
        "latency": {"rounds": ROUNDS},
    }
    path = folder / "driver.yaml"
    path.write_text(json.dumps(grid))
    return make_plan(read_grid(Document.read(path), None, folder))


class AtOnce:
    """An executor whose hosts answer at once, in the order in which they were asked."""

    is_one_host = False
    is_full = False

    def __init__(self) -> None:
        self._tasks: deque[tuple[Task, Slot]] = deque()

    def hosts(self) -> list[Host]:
        """Each with one device of its own name."""
        return [
            Host(f"host-{number}", 2, {f"board-{number}": 1}, is_here=False)
            for number in range(HOSTS)
        ]

    def submit(self, task: Task, slot: Slot) -> None:
        """Take a task."""
        self._tasks.append((task, slot))

    def wait(self, timeout_s: float | None = None) -> tuple[Task, Outcome] | None:  # noqa: ARG002
        """Answer the oldest with one row."""
        task, slot = self._tasks.popleft()
        columns = {
            "run_id": task.run_id,
            "cell_id": task.cell_id,
            "round": task.round,
            "image_id": 0,
            "node": slot.host,
            "device": slot.device,
        }
        node = storage.NodeRow(run_id=task.run_id, node=slot.host, device=slot.device)
        tables = {"records": storage.build_table("records", columns)}
        return task, Outcome(tables, node, images=1, busy_s=1e-3)

    def close(self) -> None:
        """Nothing to close."""


@dataclass
class Taken:
    """What a run took: seconds by what they went to, and the memory of this process at its end."""

    tasks: int
    cells: int
    wall_s: float = 0.0
    cpu_s: float = 0.0
    merge_s: float = 0.0
    memory_mib: float = 0.0
    added_mib: float = 0.0
    of_it_s: dict[str, float] = field(default_factory=dict)

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its time added up under a name."""

        def wrapped(*arguments: Any) -> Any:
            began_s = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                self.of_it_s[name] = self.of_it_s.get(name, 0.0) + time.perf_counter() - began_s

        return wrapped

    def a_task_ms(self, seconds: float) -> float:
        """Milliseconds per task."""
        return seconds / self.tasks * 1e3

    @property
    def a_task_kib(self) -> float:
        """Memory per task."""
        return self.added_mib / self.tasks * 1024


def rss_mib() -> float:
    """Memory of this process."""
    gc.collect()
    return float(psutil.Process().memory_info().rss / MIB)


@contextlib.contextmanager
def progress_of(plan: Plan) -> Iterator[Progress]:
    """A live bar that nobody sees."""
    with (
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
        Progress(plan, frozenset(), Console(file=nowhere, force_terminal=True)) as progress,
    ):
        yield progress


def run(folder: Path, tasks: int) -> Taken:
    """All tasks of a run through driver and storage."""
    plan = plan_for(folder, tasks)
    planned_mib = rss_mib()
    taken = Taken(sum(cell.rounds for cell in plan.cells), len(plan.cells))
    row = storage.RunRow(run_id="r", name="driver")
    rows = queued_rows(plan, "r")
    with (
        storage.RunStore.create(folder / "results", row, rows, {}) as store,
        progress_of(plan) as progress,
    ):
        for name in ("commit_group", "save_cells"):
            setattr(store, name, taken.timed(name, getattr(store, name)))
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        progress.update = taken.timed("progress", progress.update)
        if not Driver(store, plan, AtOnce(), progress).run():
            raise RuntimeError(f"the run failed: {[cell.error for cell in store.cells]}")
        taken.wall_s, taken.cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        taken.memory_mib = rss_mib()
        taken.added_mib = taken.memory_mib - planned_mib
        merge_s = time.perf_counter()
        store.merge()
        taken.merge_s = time.perf_counter() - merge_s
    return taken


def line(taken: Taken) -> str:
    """One row of the table."""
    parts = [taken.of_it_s.get(name, 0.0) for name in ("commit_group", "save_cells", "progress")]
    times = (taken.wall_s, *parts, taken.wall_s - sum(parts), taken.cpu_s)
    figures = "".join(f"{taken.a_task_ms(seconds):8.2f}" for seconds in times)
    memory = f"{taken.a_task_kib:6.1f}{taken.memory_mib:6.0f}"
    return f"{taken.tasks:7,}{taken.cells:7,}{figures}{memory}{taken.merge_s:6.1f}"


def ratio(first: Taken, last: Taken, seconds: Callable[[Taken], float]) -> float:
    """How much more time a task takes in the last run than in the first."""
    return last.a_task_ms(seconds(last)) / first.a_task_ms(seconds(first))


def main() -> None:
    """Print the table, and how the largest run compares with the smallest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--folder", type=Path, help="where to make a temporary folder")
    options = parser.parse_args()
    print("milliseconds and KiB per task; the merge, once a run, in seconds")
    heads = "".join(f"{head:>8}" for head in ("whole", "commit", "saves", "lines", "driver", "CPU"))
    print(f"{'tasks':>7}{'cells':>7}{heads}{'KiB':>6}{'MiB':>6}{'merge':>6}")
    found = []
    above = options.folder or (MEMORY if MEMORY.is_dir() else None)
    for tasks in sorted(options.tasks):
        with tempfile.TemporaryDirectory(dir=above) as folder:
            found.append(run(Path(folder), tasks))
        print(line(found[-1]), flush=True)
    first, last = found[0], found[-1]
    most_ms = max(taken.a_task_ms(taken.wall_s) for taken in found)
    # Few tasks may fit into memory that the process has already.
    has_grown = first.a_task_kib > 0
    memory = f"{last.a_task_kib / first.a_task_kib:.2f}" if has_grown else "not known"
    print(
        f"at most {most_ms:.2f} ms per task; aim {AIM_MS:g}\n"
        f"{last.tasks:,} over {first.tasks:,} tasks, per task:"
        f" time {ratio(first, last, lambda taken: taken.wall_s):.2f},"
        f" CPU {ratio(first, last, lambda taken: taken.cpu_s):.2f},"
        f" memory {memory}; aim {AIM_GROWTH:g}"
    )


if __name__ == "__main__":
    main()
