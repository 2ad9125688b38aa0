"""A driver's executor and a run for it: tasks are answered as the test says."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path

import storage
from jobs.driver.driver import Driver
from jobs.machine.slots import Host, Slot
from jobs.plan.plan import Plan
from jobs.plan.task import Outcome, Task

GRID = """\
name: small
models: [flat.safetensors, dynn.safetensors]
datasets: [{name: digits, split: train, limit: 1100}]
thresholds: [0.5]
latency: {rounds: 2, images: 1100}
"""


def rows_of(task: Task) -> Outcome:
    """The rows of a task that went well, one image's worth of columns each."""
    images = task.shard.stop - task.shard.start
    ids = list(range(task.shard.start, task.shard.stop))
    common = {"run_id": task.run_id, "cell_id": task.cell_id}
    if task.kind == "latency":
        columns = common | {"round": task.round, "image_id": ids, "exit_block": 1}
        tables = {"records": storage.build_table("records", columns)}
    else:
        blocks = (*task.exit_blocks, 4)
        columns = common | {
            "image_id": [i for _ in blocks for i in ids],
            "exit_block": [block for block in blocks for _ in ids],
        }
        tables = {"exits": storage.build_table("exits", columns)}
    node = storage.NodeRow(run_id=task.run_id, node="n", device="cpu")
    return Outcome(tables, node, images, busy_s=0.5)


class Scripted:
    """An executor that answers as told, oldest task first, and writes down what it was given."""

    is_one_host = True
    is_full = False

    def __init__(self, answer: Callable[[Task], Outcome] = rows_of, capacity: int = 3) -> None:
        self.answer = answer
        self._capacity = capacity
        self.tasks: deque[Task] = deque()
        self.given: list[Task] = []
        self.most = 0
        self.most_beside_timed = 0

    def hosts(self) -> list[Host]:
        """One, with room as told."""
        return [Host("", self._capacity)]

    def submit(self, task: Task, slot: Slot) -> None:  # noqa: ARG002 - one place
        """Take a task."""
        self.tasks.append(task)
        self.given.append(task)
        self.most = max(self.most, len(self.tasks))
        if any(other.is_timed for other in self.tasks):
            self.most_beside_timed = max(self.most_beside_timed, len(self.tasks))

    def wait(self, timeout_s: float | None = None) -> tuple[Task, Outcome]:  # noqa: ARG002
        """Answer the oldest."""
        task = self.tasks.popleft()
        return task, self.answer(task)

    def close(self) -> None:
        """Nothing to close."""


class Run:
    """A run's store and plan."""

    def __init__(self, root: Path, store: storage.RunStore, plan: Plan) -> None:
        self.root, self.store, self.plan = root, store, plan

    def drive(self, executor: Scripted) -> bool:
        """Run what is missing."""
        return Driver(self.store, self.plan, executor).run()

    def count(self, table: str) -> int:
        """Rows of a table, each key once."""
        columns = "exit_block" if table == "exits" else "round"
        keys = storage.query(self.root, f"select cell_id, image_id, {columns} from {table}")  # noqa: S608
        rows = [tuple(row.values()) for row in keys.to_pylist()]
        assert len(set(rows)) == len(rows)
        return len(rows)
