"""What a driver writes of its run: rows, nodes, states of cells, and what is dropped of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import storage
from jobs.common.clock import now
from jobs.common.errors import JobsError
from jobs.plan.task import Outcome, Task

SET_ASIDE = "set aside"
"""How the note of a node begins that failed what others did; `status` looks for it."""

CLOCK_TOLERANCE_S = 60.0
"""Between a node's clock and this machine's, before rows of its cells say so."""


class RunWriter:
    """Writes into a run's store; all of it raises JobsError where the store cannot be written.

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

    def commit(self, task: Task, outcome: Outcome) -> bool:
        """Commit a task's rows; False where they are committed already."""
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
        with self._failing_as_jobs():
            # The node first: a commit names it, and may be the last thing this process does.
            if outcome.node and not self._knows(outcome.node):
                self._nodes[outcome.node.node] = outcome.node
                self._store.save_nodes(list(self._nodes.values()))
            return self._store.commit(entry, outcome.tables)

    def discard(self, cell_ids: Collection[str]) -> None:
        """Drop what is committed of cells."""
        with self._failing_as_jobs():
            self._store.discard(cell_ids)

    def note_on_node(self, place: str, note: str) -> None:
        """Say something in a node's row, before what it says."""
        row = self._nodes.get(place) or storage.NodeRow(self._store.run.run_id, place)
        self._nodes[place] = replace(row, note="; ".join(filter(None, (note, row.note))))
        self._noted.add(place)
        with self._failing_as_jobs():
            self._store.save_nodes(list(self._nodes.values()))

    def _knows(self, node: storage.NodeRow) -> bool:
        """Whether a node's row is there: also of one set aside in an earlier try of this run."""
        row = self._nodes.get(node.node)
        is_stale = row is not None and (row.note or "").startswith(SET_ASIDE)
        return row is not None and (not is_stale or node.node in self._noted)

    @contextmanager
    def _failing_as_jobs(self) -> Iterator[None]:
        try:
            yield
        except storage.StorageError as err:
            raise JobsError(
                f"{err}; what was committed before is kept: mend it, then go on with"
                f" gfjobs resume {self._store.run.run_id}"
            ) from err


def with_clock_remark(outcome: Outcome, now_s: float) -> Outcome:
    """Say so in the note where a node's clock is minutes off this machine's.

    Its latencies are right, being of a clock that nobody sets; its times of day are not.
    """
    if outcome.ended_s is None or abs(outcome.ended_s - now_s) < CLOCK_TOLERANCE_S:
        return outcome
    minutes = round(abs(outcome.ended_s - now_s) / 60)
    side = "ahead of" if outcome.ended_s > now_s else "behind"
    node = outcome.node.node if outcome.node else "its node"
    remark = f"the clock of {node} is {minutes} min {side} the driver's: started_at is by its own"
    return replace(outcome, note="; ".join(filter(None, (outcome.note, remark))))
