"""Writes a driver's run into its store: commits, node rows, cell states, and dropped rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import storage
from jobs.common.clock import now
from jobs.common.errors import JobsError
from jobs.plan.task import Outcome, Task

SET_ASIDE = "set aside"
"""Begins the note of a node that failed tasks which others completed; `status` looks for it."""

CLOCK_TOLERANCE_S = 60.0
"""Difference of a node's clock from this machine's from which a cell's note mentions it."""


class RunWriter:
    """Writes into a run's store; every method raises JobsError if the store cannot be written.

    Args:
        store: the run, whose lease this process holds.
    """

    def __init__(self, store: storage.RunStore) -> None:
        self._store = store
        self._nodes: dict[str, storage.NodeRow] = {row.node: row for row in store.nodes}
        self._noted: set[str] = set()

    def save_cells(self, rows: Sequence[storage.CellRow]) -> None:
        """Save the cells' states."""
        with self._failing_as_jobs():
            self._store.save_cells(rows)

    def commit(self, ended: Sequence[tuple[Task, Outcome]]) -> list[bool]:
        """Commit the rows of tasks that ended together, in one step.

        Returns: for each, False if its rows are committed already.
        """
        group = [(_entry(task, outcome), outcome.tables) for task, outcome in ended]
        new = {
            outcome.node.node: outcome.node
            for _, outcome in ended
            if outcome.node and not self._knows(outcome.node)
        }
        with self._failing_as_jobs():
            # Nodes first: the commit names them, and this process may be killed right after.
            if new:
                self._nodes |= new
                self._store.save_nodes(list(self._nodes.values()))
            return self._store.commit_group(group)

    def discard(self, cell_ids: Collection[str]) -> None:
        """Drop the committed rows of cells."""
        with self._failing_as_jobs():
            self._store.discard(cell_ids)

    def note_on_node(self, host: str, note: str) -> None:
        """Put a note into a node's row, before any note that it has."""
        row = self._nodes.get(host) or storage.NodeRow(self._store.run.run_id, host)
        self._nodes[host] = replace(row, note="; ".join(filter(None, (note, row.note))))
        self._noted.add(host)
        with self._failing_as_jobs():
            self._store.save_nodes(list(self._nodes.values()))

    def _knows(self, node: storage.NodeRow) -> bool:
        """Whether a node's row is current; it is not if its note stems from an earlier driver."""
        row = self._nodes.get(node.node)
        is_stale = row is not None and (row.note or "").startswith(SET_ASIDE)
        return row is not None and (not is_stale or node.node in self._noted)

    @contextmanager
    def _failing_as_jobs(self) -> Iterator[None]:
        try:
            yield
        except storage.StorageError as err:
            raise JobsError(
                f"{err}; rows committed before are kept: fix the problem, then resume with"
                f" gfjobs resume {self._store.run.run_id}"
            ) from err


def _entry(task: Task, outcome: Outcome) -> storage.CommitEntry:
    return storage.CommitEntry(
        cell_id=task.cell_id,
        round=task.round,
        shard=task.shard.number,
        node=outcome.node.node if outcome.node else None,
        rows=outcome.images,
        busy_s=outcome.busy_s,
        committed_at=now(),
        note=outcome.noted or None,
        **vars(outcome.resources),
    )


def with_clock_remark(outcome: Outcome, now_s: float) -> Outcome:
    """Add a note if a node's clock differs by minutes from this machine's.

    Its latencies are right, since they come from a monotonic clock; its times of day are not.
    """
    if outcome.ended_s is None or abs(outcome.ended_s - now_s) < CLOCK_TOLERANCE_S:
        return outcome
    minutes = round(abs(outcome.ended_s - now_s) / 60)
    side = "ahead of" if outcome.ended_s > now_s else "behind"
    node = outcome.node.node if outcome.node else "its node"
    remark = f"the clock of {node} is {minutes} min {side} the driver's: started_at uses the node's"
    return replace(outcome, note="; ".join(filter(None, (outcome.note, remark))))
