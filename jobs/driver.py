"""The driver: keeps a bounded number of tasks in flight and commits what comes back."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import storage
from jobs.errors import JobsError
from jobs.executor import Executor, SourceError
from jobs.lane import Lane
from jobs.ledger import Ledger, now
from jobs.order import task_queues
from jobs.plan import Plan
from jobs.task import Outcome, Task

MAX_ATTEMPTS = 3
"""Times that a task whose worker was lost is given out in all."""

SAVE_INTERVAL_S = 2.0
"""Between two saves of the cells' states; what is committed does not wait for them."""

Listener = Callable[[Task, Outcome], None]


class Driver:
    """Runs what is missing of a run, on any executor.

    Args:
        store: the run, whose lease this process holds.
        plan: its cells.
        executor: where tasks run.
        listener: told of every finished task, for progress.
    """

    def __init__(
        self, store: storage.RunStore, plan: Plan, executor: Executor, listener: Listener
    ) -> None:
        self._store = store
        self._executor = executor
        self._listener = listener
        self.ledger = Ledger(
            plan, store.cells, store.entries(), store.nodes, store.throttled_rounds()
        )
        done = frozenset(entry.key for entry in store.entries())
        queues = task_queues(plan, store.run.run_id, done, by_device=not executor.is_one_host)
        self._lanes = [Lane(queue, executor.capacity()) for queue in queues]
        self._lane_of: dict[Task, Lane] = {}
        self._tries: Counter[tuple[str, int, int]] = Counter()
        self._nodes: dict[str, storage.NodeRow] = {row.node: row for row in store.nodes}
        self._saved_s = time.monotonic()

    def run(self) -> bool:
        """Run all that is missing.

        Returns: whether every cell is done, or skipped for a reason.

        Raises:
            JobsError: rows cannot be written; nothing of what was committed is lost.
        """
        self._fill()
        while self._lane_of:
            task, outcome = self._executor.wait()
            # Settled before the next task is given out: while this host is being timed, the
            # driver neither writes nor draws.
            self._settle(task, outcome)
            if time.monotonic() - self._saved_s > SAVE_INTERVAL_S:
                self.save()
            self._fill()
        self.save()
        return all(row.status in ("done", "skipped") for row in self.ledger.rows)

    def save(self) -> None:
        """Save the cells' states."""
        self._store.save_cells(self.ledger.rows)
        self._saved_s = time.monotonic()

    def _fill(self) -> None:
        """Give out all tasks that may start now."""
        for lane in self._lanes:
            while task := lane.take(self.ledger.is_over):
                self._tries[task.key] += 1
                self.ledger.start(task)
                try:
                    self._executor.submit(task)
                except SourceError as err:
                    lane.give_back(task)
                    self.ledger.fail(task, str(err))
                    self._listener(task, Outcome({}, None, error=str(err)))
                else:
                    self._lane_of[task] = lane

    def _settle(self, task: Task, outcome: Outcome) -> None:
        """Commit a task's rows, give it out again, or let its cell fail."""
        lane = self._lane_of.pop(task)
        is_again = outcome.is_lost and self._tries[task.key] < MAX_ATTEMPTS
        lane.give_back(task, again=is_again)
        if is_again:
            self.ledger.retry(task)
        elif outcome.error:
            self.ledger.fail(task, outcome.error)
        elif outcome.skipped:
            self.ledger.skip(task, outcome.skipped)
        else:
            self._commit(task, outcome)
        self._listener(task, outcome)

    def _commit(self, task: Task, outcome: Outcome) -> None:
        entry = storage.CommitEntry(
            cell_id=task.cell_id,
            round=task.round,
            shard=task.shard.number,
            node=outcome.node.node if outcome.node else None,
            rows=outcome.images,
            busy_s=outcome.busy_s,
            committed_at=now(),
            note=outcome.note or None,
        )
        try:
            # The node first: a commit names it, and may be the last thing this process does.
            if outcome.node and outcome.node.node not in self._nodes:
                self._nodes[outcome.node.node] = outcome.node
                self._store.save_nodes(list(self._nodes.values()))
            is_new = self._store.commit(entry, outcome.tables)
        except storage.StorageError as err:
            raise JobsError(
                f"{err}; what was committed before is kept: mend it, then go on with"
                f" gfjobs resume {self._store.run.run_id}"
            ) from err
        if is_new:
            self.ledger.commit(task, outcome)
