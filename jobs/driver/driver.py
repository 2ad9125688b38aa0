"""The driver: keeps a bounded number of tasks in flight and commits their rows."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import islice

import storage
from jobs.driver.block_affinity import find_affinities, resolved_devices, shown_paces
from jobs.driver.cell_states import CellStates
from jobs.driver.commit_pace import GROUP_TASKS, CommitPace
from jobs.driver.events import RunEvents
from jobs.driver.executor import Executor, FullError
from jobs.driver.fault_policy import (
    WAIT_S,
    Action,
    EndedTask,
    FailCell,
    FaultPolicy,
    RestartBlock,
    Retry,
    SetAside,
    Tell,
)
from jobs.driver.looks import Looks
from jobs.driver.placement import Placement
from jobs.driver.run_writer import RunWriter, with_clock_remark
from jobs.plan.order import CellBlock, make_blocks
from jobs.plan.plan import Plan
from jobs.plan.sources import SourceError
from jobs.plan.task import Outcome, Task

SAVE_INTERVAL_S = 2.0
"""Least time between two saves of the cells' states; commits do not wait for them."""

SAVE_SHARE = 0.02
"""Largest share of a driver's time for these saves: with many cells it saves less often."""

POLL_S = 1.0
"""Time between two checks for hosts that joined or went away, and for cells that no host can take;
not needed with a single host."""


class Driver:
    """Runs the missing tasks of a run, on any executor.

    Args:
        store: the run, whose lease this process holds.
        plan: its cells.
        executor: runs the tasks.
        events: receives ended tasks, and messages for the user.
        wait_s: how long cells wait for a device that is not registered.
        clock: seconds; a fake one in tests.
    """

    def __init__(
        self,
        store: storage.RunStore,
        plan: Plan,
        executor: Executor,
        events: RunEvents | None = None,
        *,
        wait_s: float = WAIT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._store = store
        self._writer = RunWriter(store)
        self._executor = executor
        self._events = events or RunEvents()
        entries = store.entries()
        self._cells = CellStates(
            plan,
            store.cells,
            entries,
            store.nodes,
            throttled=store.throttled_rounds(),
            unanswered=store.unanswered_images(),
        )
        queued = make_blocks(plan, by_device=not executor.is_one_host)
        done = frozenset(entry.key for entry in entries)
        self._looks = Looks.of_run(plan, store)
        self._placement = Placement(
            [(block, block.tasks(store.run.run_id, done)) for block in queued],
            affinities=find_affinities(queued, entries),
            resolved=resolved_devices(queued, entries, store.nodes, store.cells),
            clock=clock,
            done=_images_by_cell(entries),
            shown=shown_paces(queued, entries),
            is_task_held=self._looks.holds,
        )
        self._policy = FaultPolicy(queued, self._placement, self._cells, wait_s)
        self._poll_s = None if executor.is_one_host else POLL_S
        self._ended: list[EndedTask] = []
        self._pace = CommitPace(clock)
        self._saved_s, self._save_interval_s = time.monotonic(), SAVE_INTERVAL_S
        self._looked_s = clock() - POLL_S

    def run(self) -> bool:
        """Run all missing tasks.

        Returns: whether every cell is done, or skipped for a reason.

        Raises:
            JobsError: rows cannot be written; no committed row is lost.
        """
        self._fill()
        while not self._placement.is_done(self._policy.is_over):
            is_idle = not self._collect() and not self._ended
            may_wait = self._may_wait()
            if may_wait:
                self._fill()
            if may_wait and self._placement.in_flight and self._pace.left_s(len(self._ended)):
                continue
            if not self._placement.is_timing_here:
                # Settle before the next task is given out: while a timed task runs on this host,
                # the driver neither writes nor draws.
                self._settle(is_idle=is_idle)
            self._fill()
        self.save()
        return all(row.status in ("done", "skipped") for row in self._cells.rows)

    def save(self) -> None:
        """Save the cells' states."""
        began_s = time.monotonic()
        self._writer.save_cells(self._cells.rows)
        self._saved_s = time.monotonic()
        self._save_interval_s = max(SAVE_INTERVAL_S, (self._saved_s - began_s) / SAVE_SHARE)

    def _collect(self) -> bool:
        """Take back all tasks that have ended, at least one; False: none has in time."""
        wait_s = self._poll_s
        if wait_s is not None and self._ended:
            wait_s = min(wait_s, self._pace.left_s(len(self._ended)))
        finished = self._executor.wait(wait_s)
        if not finished:
            return False
        self._receive(*finished)
        while self._placement.in_flight and len(self._ended) < GROUP_TASKS:
            if not (finished := self._executor.wait(0.0)):
                break
            self._receive(*finished)
        return True

    def _may_wait(self) -> bool:
        """Whether tasks may be given out before ended ones are settled.

        Not if one needs a decision, nor where this host could get one that is timed.
        """
        if self._poll_s is None or self._placement.is_host_here:
            return False
        return not any(self._policy.is_asked(ended) for ended in self._ended)

    def _fill(self) -> None:
        """Give out all tasks that may start now."""
        self._placement.update_hosts(self._executor.hosts())
        while not self._executor.is_full:
            self._look()
            found = self._placement.take(self._policy.is_over, self._policy.held_hosts)
            if not found:
                return
            task, slot = found
            self._cells.start(task)
            self._events.begin(task, slot)
            try:
                self._executor.submit(task, slot)
            except SourceError as err:
                self._events.end(task)
                self._placement.give_back(task)
                self._carry_out([self._policy.fail(task, Outcome({}, None, error=str(err)))])
            except FullError as err:
                self._events.end(task)
                is_retried = self._placement.in_flight > 1  # a task that ends makes room
                self._placement.give_back(task, again=is_retried, is_lost=False)
                if is_retried:
                    return
                self._carry_out([self._policy.fail(task, Outcome({}, None, error=str(err)))])

    def _look(self) -> None:
        """End the rounds of timed cells that are known well enough."""
        if self._placement.is_timing_here:
            return
        for end in self._looks.advance(self._policy.is_over):
            dropped = self._cells.end_rounds(end)
            self._events.shorten(dropped)

    def _receive(self, task: Task, outcome: Outcome) -> None:
        """Take a task back; its slot is free again."""
        self._events.end(task)
        ended = self._policy.end(task, with_clock_remark(outcome, time.time()))
        if not (outcome.error or outcome.is_lost or outcome.skipped):
            self._placement.show(task, outcome.busy_s)
        self._placement.give_back(task, again=ended.is_retried)
        self._ended.append(ended)

    def _settle(self, *, is_idle: bool) -> None:
        """Commit ended tasks, carry out what the fault policy decides, save states now and then.

        Args:
            is_idle: whether no task has ended for some time.
        """
        for action in self._policy.leave_slow(self._ended):
            self._carry_out([action])
            if isinstance(action, RestartBlock):
                self._ended = [
                    e for e in self._ended if not self._policy.is_of(e.task, action.block)
                ]
        self._record()
        is_looking = is_idle or self._clock() - self._looked_s >= POLL_S
        if is_looking:
            self._looked_s = self._clock()
        self._carry_out(self._policy.decide(self._ended, is_looking=is_looking))
        if self._ended and time.monotonic() - self._saved_s > self._save_interval_s:
            self.save()
        self._ended.clear()

    def _record(self) -> None:
        """Commit the rows of tasks that succeeded, and note which cells are skipped."""
        ended = [
            (each.task, each.outcome)
            for each in self._ended
            if not (each.outcome.error or each.outcome.is_lost)
        ]
        group = [(task, outcome) for task, outcome in ended if not outcome.skipped]
        are_new: list[bool] = []
        if group:
            with self._pace.committing():
                are_new = self._writer.commit(group)
        is_new = iter(are_new)
        for task, outcome in ended:
            if outcome.skipped:
                self._cells.skip(task, outcome.skipped)
            elif next(is_new):
                self._cells.commit(task, outcome)
                self._looks.commit(task, outcome)
            self._events.update(task, outcome)

    def _carry_out(self, actions: Iterable[Action]) -> None:
        """Carry out actions one by one: each is decided after the ones before are carried out."""
        for action in actions:
            match action:
                case Retry(ended):
                    if ended.is_retried:
                        self._cells.retry(ended.task)
                    self._events.update(ended.task, replace(ended.outcome, is_lost=True))
                case FailCell(cell_id, error, task, outcome):
                    self._cells.fail(cell_id, error)
                    if task and outcome:
                        self._events.update(task, outcome)
                case RestartBlock(block, avoided):
                    self._restart(block, avoided)
                case SetAside(host):
                    self._placement.set_aside(host)
                case Tell(text, host, note):
                    self._events.note(text)
                    if host is not None:
                        self._writer.note_on_node(host, note)

    def _restart(self, block: CellBlock, avoided: str | None) -> None:
        """Drop a block's rows: its host cannot continue it, and rounds of two must not mix."""
        cells = {cell.cell_id for cell in block.cells}
        before = self._cells.committed(cells)
        if before:
            self._writer.discard(cells)
        self._cells.restart(cells)
        self._looks.restart(cells)
        run_id = self._store.run.run_id
        self._events.restart(list(islice(block.tasks(run_id, ()), before)))
        self._placement.restart(block, block.tasks(run_id, ()), avoided)


def _images_by_cell(entries: Iterable[storage.CommitEntry]) -> Counter[str]:
    """The committed images of all rounds, by cell."""
    found: Counter[str] = Counter()
    for entry in entries:
        found[entry.cell_id] += entry.rows
    return found
