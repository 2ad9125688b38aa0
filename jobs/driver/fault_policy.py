"""Fault policy: what a fault costs, which is another try, a cell, a block's rows, or a host.

Decided here alone, from what `fault_attribution` remembers of hosts and cells; the driver carries
it out. A fault that another host may not have is tried there. Timed cells cannot be tried elsewhere
one by one, since they are compared on one host: such a cell is held back until its host has
completed another task, which shows that the cell is broken. If the host completes none, the whole
block starts again on another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jobs.common.formatting import format_duration, last_line
from jobs.driver.cell_states import CellStates
from jobs.driver.fault_attribution import FAULTS, Attribution, Suspect
from jobs.driver.placement import Placement, Stuck
from jobs.driver.run_writer import SET_ASIDE
from jobs.plan.order import CellBlock
from jobs.plan.task import Outcome, Task

MAX_ATTEMPTS = 3
"""Times that a task whose worker was lost is given out in all."""

MAX_FAILURES = 2
"""Times that a task which fails by itself is given out, where there is another host to try."""

WAIT_S = 600.0
"""How long cells wait for a device that no node has, unless told otherwise."""

GRACE_S = 60.0
"""How long timed cells wait for their own host where another could take them: enough for a node
that was cut off to be declared dead, and to join again."""


@dataclass(frozen=True)
class EndedTask:
    """A task that has come back from a host.

    Attributes:
        task, outcome: the task, and how it ended.
        host: where.
        is_retried: it is in its queue again.
    """

    task: Task
    outcome: Outcome
    host: str
    is_retried: bool


@dataclass(frozen=True)
class Retry:
    """A task gets a further try, or waits until the cause is known: no cell has failed."""

    ended: EndedTask


@dataclass(frozen=True)
class FailCell:
    """A cell fails; `outcome` is that of the task which failed, None where none ran."""

    cell_id: str
    error: str
    task: Task | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True)
class RestartBlock:
    """What a block has is dropped, and it starts again on another host, not on `avoided`."""

    block: CellBlock
    avoided: str | None = None


@dataclass(frozen=True)
class SetAside:
    """A host gets no more tasks."""

    host: str


@dataclass(frozen=True)
class Tell:
    """The user is told something; where a host is named, its row says `note` too."""

    text: str
    host: str | None = None
    note: str = ""


Action = Retry | FailCell | RestartBlock | SetAside | Tell


class FaultPolicy:
    """Decides what becomes of tasks that failed, their cells and their hosts.

    Args:
        queued: the blocks of the run.
        placement: which hosts there are, and what could take what.
        cells: what has become of the cells.
        wait_s: how long cells wait for a device that is not registered.
    """

    def __init__(
        self,
        queued: Sequence[CellBlock],
        placement: Placement,
        cells: CellStates,
        wait_s: float = WAIT_S,
    ) -> None:
        self._placement = placement
        self._cells = cells
        self._wait_s = wait_s
        self._blocks = {cell.cell_id: block for block in queued for cell in block.cells}
        self._tries: Counter[tuple[str, int, int]] = Counter()
        self._attribution = Attribution()
        self._aside: set[str] = set()

    def is_over(self, cell_id: str) -> bool:
        """Whether nothing of a cell is to be given out: it has ended, or is held back."""
        return self._cells.is_over(cell_id) or self._attribution.is_suspect(cell_id)

    @property
    def held_hosts(self) -> frozenset[str]:
        """Hosts that get no new tasks until it is known why so many failed there."""
        return self._attribution.held

    def end(self, task: Task, outcome: Outcome) -> EndedTask:
        """A task in flight has ended: whether it gets a further try, to be known at once."""
        self._tries[task.key] += not outcome.is_untried
        tries = self._tries[task.key]
        is_retried = outcome.is_lost and tries < MAX_ATTEMPTS
        if outcome.error and not outcome.is_lost:
            is_retried = tries < MAX_FAILURES and self._placement.can_go_elsewhere(task)
        if not is_retried:
            del self._tries[task.key]
        return EndedTask(task, outcome, self._placement.slot(task).host, is_retried)

    def decide(self, ended: Sequence[EndedTask], *, is_looking: bool) -> Iterator[Action]:
        """What is to be done now, step by step: each builds on what has been done of those before.

        Args:
            ended: tasks that have come back; rows of those that succeeded are committed.
            is_looking: whether blocks that no host can take are looked at, too.
        """
        for each in ended:
            yield from self._ended(each)
        for host, block, suspects in self._attribution.suspects():
            yield from self._attributed(host, block, suspects)
        for stuck in self._placement.stuck(self._cells.is_over) if is_looking else ():
            yield from self._stuck(stuck)

    def fail(self, task: Task, outcome: Outcome) -> FailCell:
        """A cell fails by its own fault."""
        self._attribution.clear_cell(task.cell_id)
        return FailCell(task.cell_id, outcome.error, task, outcome)

    def _ended(self, ended: EndedTask) -> Iterator[Action]:
        task, outcome, host = ended.task, ended.outcome, ended.host
        # One that vanished with its host, or did not arrive as sent, tells nothing of either.
        is_told = not (outcome.is_gone or outcome.is_corrupted or self._cells.is_over(task.cell_id))
        if outcome.error and is_told:
            self._attribution.fail(host, task.key, outcome.error)
        block = self._blocks[task.cell_id]
        if ended.is_retried:
            yield Retry(ended)
        elif outcome.error and (
            block.is_timed and not outcome.is_gone and self._placement.can_move(block)
        ):
            self._attribution.suspect(host, Suspect(task, block, outcome))
            yield Retry(ended)
        elif outcome.error:
            yield self.fail(task, outcome)
        elif outcome.skipped:
            self._attribution.clear_cell(task.cell_id)
        else:
            for faulty in self._attribution.succeed(host, task.key):
                yield from self._set_aside(faulty)
            for suspect in self._attribution.clear_host(host):
                yield self.fail(suspect.task, suspect.outcome)

    def _set_aside(self, host: str) -> Iterator[Action]:
        """A host failed what others did, one task after the other."""
        if host in self._aside or not self._placement.can_spare(host, self.is_over):
            return
        self._aside.add(host)
        note = f"{SET_ASIDE}: others did {FAULTS} tasks that it failed"
        reason = last_line(self._attribution.reason(host))
        yield SetAside(host)
        yield Tell(
            f"node {host} is {note} ({reason}); its work goes to the others",
            host,
            f"{note} ({reason})",
        )

    def _attributed(
        self, host: str, block: CellBlock, suspects: Sequence[Suspect]
    ) -> Iterator[Action]:
        """Timed cells that failed on a host: its fault or theirs, once that can be told."""
        is_idle = self._placement.is_idle(block, self.is_over)
        if self._placement.is_in_flight(block) or not (is_idle or len(suspects) >= FAULTS):
            return
        is_bad = (
            len(suspects) >= FAULTS
            or host in self._aside
            or not self._cells.has_run_on(host, (cell.cell_id for cell in block.cells))
        )
        if is_bad and self._placement.can_move(block):
            reason = last_line(suspects[-1].outcome.error)
            yield Tell(
                f"node {host} failed all of {len(suspects)} cells in a row: the timed cells of"
                f" {block.dataset} start anew on another ({reason})",
                host,
                f"{SET_ASIDE} for timed cells of {block.dataset}: {reason}",
            )
            yield self._restart(block, host)
            return
        self._attribution.forget(block)
        for suspect in suspects:
            yield self.fail(suspect.task, suspect.outcome)

    def _stuck(self, stuck: Stuck) -> Iterator[Action]:
        """No host can take a block now: it waits, starts anew on another, or its cells fail."""
        is_late = stuck.waited_s >= min(GRACE_S, self._wait_s)
        if stuck.can_move and (stuck.has_nothing or is_late):
            yield Tell(f"{stuck.reason}: they start anew on another")
            yield self._restart(stuck.block)
        elif not stuck.can_move and stuck.waited_s >= self._wait_s:
            error = f"{stuck.reason}; nothing changed in {format_duration(self._wait_s)}"
            yield Tell(f"{error}: they fail")
            self._attribution.forget(stuck.block)
            for cell in stuck.block.cells:
                if not self._cells.is_over(cell.cell_id):
                    self._attribution.clear_cell(cell.cell_id)
                    yield FailCell(cell.cell_id, error)
        elif stuck.is_new:
            left = format_duration(self._wait_s)
            hint = "unless it joins: gfjobs node start"
            yield Tell(f"waiting: {stuck.reason}. They fail in {left} {hint}")

    def _restart(self, block: CellBlock, avoided: str | None = None) -> RestartBlock:
        self._attribution.forget(block)
        cells = {cell.cell_id for cell in block.cells}
        for key in [key for key in self._tries if key[0] in cells]:
            del self._tries[key]
        return RestartBlock(block, avoided)
