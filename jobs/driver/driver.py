"""The driver: keeps a bounded number of tasks in flight and commits what comes back."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice

import storage
from jobs.common.formatting import duration, last_line
from jobs.driver.block_affinity import homes_of, meant_devices
from jobs.driver.cell_states import CellStates
from jobs.driver.events import Listener, Narrator, Silent
from jobs.driver.executor import Executor, FullError
from jobs.driver.fault_attribution import FAULTS, Suspect, Trust
from jobs.driver.placement import WAIT_S, Placement
from jobs.driver.run_writer import SET_ASIDE, RunWriter, with_clock_remark
from jobs.plan.order import CellBlock, blocks
from jobs.plan.plan import Plan
from jobs.plan.sources import SourceError
from jobs.plan.task import Outcome, Task

MAX_ATTEMPTS = 3
"""Times that a task whose worker was lost is given out in all."""

MAX_FAILURES = 2
"""Times that a task which fails by itself is given out, where there is another machine to try."""

SAVE_INTERVAL_S = 2.0
"""Between two saves of the cells' states, at least; what is committed does not wait for them."""

SAVE_SHARE = 0.02
"""Of a driver's time that it spends on saving them: of many cells they are saved less often."""

POLL_S = 1.0
"""Between two looks at who joined and who left, and at cells that no host can take; one host alone
needs none."""


@dataclass(frozen=True)
class _Held:
    """A task that came back from a place, and is not settled yet."""

    task: Task
    outcome: Outcome
    place: str
    is_again: bool


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
        self._writer = RunWriter(store)
        self._executor = executor
        self._listener = listener
        self._narrator = narrator or Silent()
        self._wait_s = wait_s
        entries = store.entries()
        self.ledger = CellStates(
            plan,
            store.cells,
            entries,
            store.nodes,
            throttled=store.throttled_rounds(),
            unanswered=store.unanswered_images(),
        )
        queued = blocks(plan, by_device=not executor.is_one_host)
        done = frozenset(entry.key for entry in entries)
        self._placement = Placement(
            [(block, block.tasks(store.run.run_id, done)) for block in queued],
            homes=homes_of(queued, entries),
            meant=meant_devices(queued, entries, store.nodes),
            wait_s=wait_s,
        )
        self._poll_s = None if executor.is_one_host else POLL_S
        self._held: list[_Held] = []
        self._tries: Counter[tuple[str, int, int]] = Counter()
        self._trust = Trust()
        self._aside: set[str] = set()
        self._blocks = {cell.cell_id: block for block in queued for cell in block.cells}
        self._saved_s, self._save_interval_s = time.monotonic(), SAVE_INTERVAL_S
        self._looked_s = -POLL_S

    def run(self) -> bool:
        """Run all that is missing.

        Returns: whether every cell is done, or skipped for a reason.

        Raises:
            JobsError: rows cannot be written; nothing of what was committed is lost.
        """
        self._fill()
        while not self._placement.is_done(self._is_over):
            if finished := self._executor.wait(self._poll_s):
                self._receive(*finished)
            if not self._placement.is_timing_here:
                # Settled before the next task is given out: while this host is being timed, the
                # driver neither writes nor draws.
                self._settle_all()
                self._judge()
                if not finished or time.monotonic() - self._looked_s >= POLL_S:
                    self._look_after_stuck()
            self._fill()
        self.save()
        return all(row.status in ("done", "skipped") for row in self.ledger.rows)

    def save(self) -> None:
        """Save the cells' states."""
        began_s = time.monotonic()
        self._writer.save_cells(self.ledger.rows)
        self._saved_s = time.monotonic()
        self._save_interval_s = max(SAVE_INTERVAL_S, (self._saved_s - began_s) / SAVE_SHARE)

    def _fill(self) -> None:
        """Give out all tasks that may start now."""
        self._placement.see(self._executor.places())
        while not self._executor.is_full:
            found = self._placement.take(self._is_over, self._trust.held)
            if not found:
                return
            task, spot = found
            self._tries[task.key] += 1
            self.ledger.start(task)
            try:
                self._executor.submit(task, spot)
            except SourceError as err:
                self._placement.give_back(task)
                self._fail(task, Outcome({}, None, error=str(err)))
            except FullError as err:
                is_again = self._placement.in_flight > 1  # what comes back makes room
                self._placement.give_back(task, again=is_again, is_spoilt=False)
                self._tries[task.key] -= 1
                if is_again:
                    return
                self._fail(task, Outcome({}, None, error=str(err)))

    def _is_over(self, cell_id: str) -> bool:
        """Whether nothing of a cell is to be given out."""
        return self.ledger.is_over(cell_id) or self._trust.is_suspect(cell_id)

    def _receive(self, task: Task, outcome: Outcome) -> None:
        """Take a task back; its place is free again."""
        outcome = with_clock_remark(outcome, time.time())
        self._tries[task.key] -= outcome.is_untried
        tries, place = self._tries[task.key], self._placement.where(task).place
        is_again = outcome.is_lost and tries < MAX_ATTEMPTS
        if outcome.error and not outcome.is_lost:
            is_again = tries < MAX_FAILURES and self._placement.can_go_elsewhere(task)
        self._placement.give_back(task, again=is_again)
        if not is_again:
            del self._tries[task.key]
        self._held.append(_Held(task, outcome, place, is_again=is_again))

    def _settle_all(self) -> None:
        """Commit what came back, and save the cells' states now and then."""
        for held in self._held:
            self._settle(held)
        if self._held and time.monotonic() - self._saved_s > self._save_interval_s:
            self.save()
        self._held.clear()

    def _settle(self, held: _Held) -> None:
        """Commit a task's rows, note that it is given out again, or let its cell fail."""
        task, outcome, place = held.task, held.outcome, held.place
        tells = not (outcome.is_gone or outcome.is_corrupted or self.ledger.is_over(task.cell_id))
        if outcome.error and tells:
            self._trust.failed(place, task.key, outcome.error)
        if held.is_again:
            self.ledger.retry(task)
            self._listener(task, replace(outcome, is_lost=True))
            return
        if outcome.error:
            block = self._blocks[task.cell_id]
            if block.is_timed and not outcome.is_gone and self._placement.can_move(block):
                self._trust.suspect(place, Suspect(task, block, outcome))
                self._listener(task, replace(outcome, is_lost=True))
            else:
                self._fail(task, outcome)
            return
        if outcome.skipped:
            self.ledger.skip(task, outcome.skipped)
            self._trust.blamed_on_cell(task.cell_id)
        else:
            if self._writer.commit(task, outcome):
                self.ledger.commit(task, outcome)
            for faulty in self._trust.succeeded(place, task.key):
                self._set_aside(faulty)
            for suspect in self._trust.clear(place):  # it was not the machine
                self._fail(suspect.task, suspect.outcome)
        self._listener(task, outcome)

    def _fail(self, task: Task, outcome: Outcome) -> None:
        """A cell fails, by its own fault."""
        self.ledger.fail(task.cell_id, outcome.error)
        self._trust.blamed_on_cell(task.cell_id)
        self._listener(task, outcome)

    def _judge(self) -> None:
        """Lay failures of timed cells to their machine or to themselves, once that can be told."""
        for place, block, suspects in self._trust.suspects():
            is_idle = self._placement.is_idle(block, self._is_over)
            if self._placement.is_flying(block) or not (is_idle or len(suspects) >= FAULTS):
                continue
            is_bad = (
                len(suspects) >= FAULTS
                or place in self._aside
                or not self.ledger.has_run_on(place, (cell.cell_id for cell in block.cells))
            )
            if is_bad and self._placement.can_move(block):
                reason = last_line(suspects[-1].outcome.error)
                self._narrator.note(
                    f"node {place} failed all of {len(suspects)} cells in a row: the timed cells of"
                    f" {block.dataset} start anew on another ({reason})"
                )
                self._writer.note_on_node(
                    place, f"{SET_ASIDE} for timed cells of {block.dataset}: {reason}"
                )
                self._restart(block, avoided=place)
                continue
            self._trust.forget(block)
            for suspect in suspects:
                self._fail(suspect.task, suspect.outcome)

    def _set_aside(self, place: str) -> None:
        """Give a machine nothing more: it failed what others did, one task after the other."""
        if place in self._aside or not self._placement.can_spare(place, self._is_over):
            return
        self._aside.add(place)
        self._placement.set_aside(place)
        told = f"{SET_ASIDE}: others did {FAULTS} tasks that it failed"
        reason = last_line(self._trust.reason(place))
        self._narrator.note(f"node {place} is {told} ({reason}); its work goes to the others")
        self._writer.note_on_node(place, f"{told} ({reason})")

    def _look_after_stuck(self) -> None:
        """Tell of cells that no node can take, start them anew elsewhere, or let them fail."""
        self._looked_s = time.monotonic()
        for stuck in self._placement.stuck(self.ledger.is_over):
            if stuck.is_moving:
                self._narrator.note(f"{stuck.told}: they start anew on another")
                self._restart(stuck.block)
            elif stuck.is_failed:
                error = f"{stuck.told}; nothing changed in {duration(self._wait_s)}"
                self._narrator.note(f"{error}: they fail")
                self._trust.forget(stuck.block)
                for cell in stuck.block.cells:
                    if not self.ledger.is_over(cell.cell_id):
                        self.ledger.fail(cell.cell_id, error)
                        self._trust.blamed_on_cell(cell.cell_id)
            elif stuck.is_new:
                self._narrator.note(
                    f"waiting: {stuck.told}. They fail in {duration(self._wait_s)} unless it joins:"
                    " gfjobs node start"
                )

    def _restart(self, block: CellBlock, avoided: str | None = None) -> None:
        """Drop what a block has: its machine cannot go on, and rounds of two must not mix."""
        cells = {cell.cell_id for cell in block.cells}
        self._trust.forget(block)
        for key in [key for key in self._tries if key[0] in cells]:
            del self._tries[key]
        before = self.ledger.committed(cells)
        if before:
            self._writer.discard(cells)
        self.ledger.restart(cells)
        run_id = self._store.run.run_id
        self._narrator.restart(list(islice(block.tasks(run_id, ()), before)))
        self._placement.restart(block, block.tasks(run_id, ()), avoided)
