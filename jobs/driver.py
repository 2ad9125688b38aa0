"""The driver: keeps a bounded number of tasks in flight and commits what comes back."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

import storage
from jobs.clock import now
from jobs.device import ANY, CUDA
from jobs.errors import JobsError
from jobs.executor import Executor, SourceError
from jobs.ledger import Ledger
from jobs.order import Block, blocks
from jobs.placement import WAIT_S, Placement
from jobs.plan import Plan
from jobs.progress import duration
from jobs.task import Outcome, Task

MAX_ATTEMPTS = 3
"""Times that a task whose worker was lost is given out in all."""

SAVE_INTERVAL_S = 2.0
"""Between two saves of the cells' states; what is committed does not wait for them."""

CLOCK_TOLERANCE_S = 60.0
"""Between a node's clock and this machine's, before rows of its cells say so."""

POLL_S = 1.0
"""Between two looks at who joined and who left; one host alone needs none."""

Listener = Callable[[Task, Outcome], None]


class Narrator(Protocol):
    """Told of what is no task's end."""

    def note(self, text: str) -> None:
        """Something to know."""

    def restart(self, tasks: Sequence[Task]) -> None:
        """These are to be done again."""


class Silent:
    """A narrator that says nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def restart(self, tasks: Sequence[Task]) -> None:
        """Say nothing."""


class Driver:
    """Runs what is missing of a run, on any executor.

    Args:
        store: the run, whose lease this process holds.
        plan: its cells.
        executor: where tasks run.
        listener: told of every finished task, for progress.
        narrator: told of cells that wait for a device, or must start anew.
        wait_s: how long cells wait for a device that is not registered.
    """

    def __init__(
        self,
        store: storage.RunStore,
        plan: Plan,
        executor: Executor,
        listener: Listener,
        *,
        narrator: Narrator | None = None,
        wait_s: float = WAIT_S,
    ) -> None:
        self._store = store
        self._executor = executor
        self._listener = listener
        self._narrator = narrator or Silent()
        self._wait_s = wait_s
        entries = store.entries()
        self.ledger = Ledger(plan, store.cells, entries, store.nodes, store.throttled_rounds())
        queued = blocks(plan, by_device=not executor.is_one_host)
        self._placement = Placement(
            [(block, self._tasks(block)) for block in queued],
            homes={block: home for block in queued if (home := home_of(block, entries))},
            meant=meanings(queued, entries, store.nodes),
            wait_s=wait_s,
        )
        self._poll_s = None if executor.is_one_host else POLL_S
        self._held: list[tuple[Task, Outcome, bool]] = []
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
        while not self._placement.is_done(self.ledger.is_over):
            if finished := self._executor.wait(self._poll_s):
                self._receive(*finished)
            if not self._placement.is_timing_here:
                # Settled before the next task is given out: while this host is being timed, the
                # driver neither writes nor draws.
                self._settle_all()
                self._look_after_stuck()
            self._fill()
        self.save()
        return all(row.status in ("done", "skipped") for row in self.ledger.rows)

    def save(self) -> None:
        """Save the cells' states."""
        self._store.save_cells(self.ledger.rows)
        self._saved_s = time.monotonic()

    def _tasks(self, block: Block) -> Iterator[Task]:
        done = frozenset(entry.key for entry in self._store.entries())
        return block.tasks(self._store.run.run_id, done)

    def _fill(self) -> None:
        """Give out all tasks that may start now."""
        self._placement.see(self._executor.places())
        while found := self._placement.take(self.ledger.is_over):
            task, spot = found
            self._tries[task.key] += 1
            self.ledger.start(task)
            try:
                self._executor.submit(task, spot)
            except SourceError as err:
                self._placement.give_back(task)
                self.ledger.fail(task.cell_id, str(err))
                self._listener(task, Outcome({}, None, error=str(err)))

    def _receive(self, task: Task, outcome: Outcome) -> None:
        """Take a task back; its place is free again."""
        outcome = with_clock_remark(outcome, time.time())
        self._tries[task.key] -= outcome.is_untried
        is_again = outcome.is_lost and self._tries[task.key] < MAX_ATTEMPTS
        self._placement.give_back(task, again=is_again)
        self._held.append((task, outcome, is_again))

    def _settle_all(self) -> None:
        """Commit what came back, and save the cells' states now and then."""
        for task, outcome, is_again in self._held:
            self._settle(task, outcome, is_again=is_again)
        if self._held and time.monotonic() - self._saved_s > SAVE_INTERVAL_S:
            self.save()
        self._held.clear()

    def _settle(self, task: Task, outcome: Outcome, *, is_again: bool) -> None:
        """Commit a task's rows, note that it is given out again, or let its cell fail."""
        if is_again:
            self.ledger.retry(task)
        elif outcome.error:
            self.ledger.fail(task.cell_id, outcome.error)
        elif outcome.skipped:
            self.ledger.skip(task, outcome.skipped)
        else:
            self._commit(task, outcome)
        self._listener(task, outcome)

    def _look_after_stuck(self) -> None:
        """Tell of cells that no node can take, start them anew elsewhere, or let them fail."""
        for stuck in self._placement.stuck(self.ledger.is_over):
            if stuck.is_moving:
                self._narrator.note(f"{stuck.told}: they start anew on another")
                self._restart(stuck.block)
            elif stuck.is_failed:
                error = f"{stuck.told}; nothing changed in {duration(self._wait_s)}"
                self._narrator.note(f"{error}: they fail")
                for cell in stuck.block.cells:
                    if not self.ledger.is_over(cell.cell_id):
                        self.ledger.fail(cell.cell_id, error)
            elif stuck.is_new:
                self._narrator.note(
                    f"waiting: {stuck.told}. They fail in {duration(self._wait_s)} unless it joins:"
                    " gfjobs node start"
                )

    def _restart(self, block: Block) -> None:
        """Drop what a block has: its machine is gone, and rounds of two must not mix."""
        cells = {cell.cell_id for cell in block.cells}
        before = sum(entry.cell_id in cells for entry in self._store.entries())
        if before:
            with self._failing_as_jobs():
                self._store.discard(cells)
        self.ledger.restart(cells)
        self._narrator.restart(list(self._tasks(block))[:before])
        self._placement.restart(block, self._tasks(block))

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
        with self._failing_as_jobs():
            # The node first: a commit names it, and may be the last thing this process does.
            if outcome.node and outcome.node.node not in self._nodes:
                self._nodes[outcome.node.node] = outcome.node
                self._store.save_nodes(list(self._nodes.values()))
            is_new = self._store.commit(entry, outcome.tables)
        if is_new:
            self.ledger.commit(task, outcome)

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


def home_of(block: Block, entries: Iterable[storage.CommitEntry]) -> str | None:
    """The machine that has begun a block which one machine must take whole; None of others."""
    cells = {cell.cell_id for cell in block.cells} if block.is_timed else set()
    found = Counter(entry.node for entry in entries if entry.cell_id in cells and entry.node)
    return found.most_common(1)[0][0] if found else None


def meanings(
    queued: Sequence[Block],
    entries: Iterable[storage.CommitEntry],
    nodes: Iterable[storage.NodeRow],
) -> dict[str, str]:
    """What `any` and `cuda` turned out to be, by what is committed."""
    devices = {node.node: node.device for node in nodes}
    asked = {cell.cell_id: block.device for block in queued for cell in block.cells}
    return {
        name: device
        for entry in entries
        if (name := asked.get(entry.cell_id)) in (ANY, CUDA) and name
        if (device := devices.get(entry.node or ""))
    }
