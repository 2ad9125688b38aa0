"""Fault policy: a fault leads to a retry, a failed cell, a restarted block or a host set aside.

Only this module decides that, from what `fault_attribution` remembers of hosts and cells; the
driver carries it out. A task that another host may complete is retried there. Timed cells cannot be
tried elsewhere one by one, since they are compared on one host: such a cell is held back until its
host has completed another task, which shows that the cell is broken. If the host completes none,
the whole block restarts on another host.
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
"""Tries in all of a task whose worker was lost."""

MAX_FAILURES = 2
"""Tries in all of a task that fails with an error, if there is another host to try."""

WAIT_S = 600.0
"""How long cells wait by default for a device that no node has."""

GRACE_S = 60.0
"""How long timed cells wait for their own host if another could take them: enough for a node that
was cut off to be declared dead, and to join again."""


@dataclass(frozen=True)
class EndedTask:
    """A task that has ended on a host.

    Attributes:
        task, outcome: the task, and how it ended.
        host: the host that it ran on.
        is_retried: whether it is in its queue again.
    """

    task: Task
    outcome: Outcome
    host: str
    is_retried: bool


@dataclass(frozen=True)
class Retry:
    """A task is tried again, or waits until the cause is known: no cell has failed."""

    ended: EndedTask


@dataclass(frozen=True)
class FailCell:
    """A cell fails; `outcome` is that of the task that failed, None if none ran."""

    cell_id: str
    error: str
    task: Task | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True)
class RestartBlock:
    """A block's rows are dropped, and it restarts on a host other than `avoided`."""

    block: CellBlock
    avoided: str | None = None


@dataclass(frozen=True)
class SetAside:
    """A host gets no more tasks."""

    host: str


@dataclass(frozen=True)
class Tell:
    """A message to the user; if a host is named, `note` is added to its row."""

    text: str
    host: str | None = None
    note: str = ""


Action = Retry | FailCell | RestartBlock | SetAside | Tell


class FaultPolicy:
    """Decides what happens to failed tasks, their cells and their hosts.

    Args:
        queued: the blocks of the run.
        placement: knows the hosts, and which of them could take a block.
        cells: the states of the cells.
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
        """Whether no task of a cell may be given out: the cell has ended, or is held back."""
        return self._cells.is_over(cell_id) or self._attribution.is_suspect(cell_id)

    @property
    def held_hosts(self) -> frozenset[str]:
        """Hosts that get no new tasks until the cause of their many failures is known."""
        return self._attribution.held

    def end(self, task: Task, outcome: Outcome) -> EndedTask:
        """Record that a task in flight has ended, and decide at once whether it is retried."""
        self._tries[task.key] += not outcome.is_untried
        tries = self._tries[task.key]
        is_retried = outcome.is_lost and tries < MAX_ATTEMPTS
        if outcome.error and not outcome.is_lost:
            is_retried = tries < MAX_FAILURES and self._placement.can_go_elsewhere(task)
        if not is_retried:
            del self._tries[task.key]
        return EndedTask(task, outcome, self._placement.slot(task).host, is_retried)

    def decide(self, ended: Sequence[EndedTask], *, is_looking: bool) -> Iterator[Action]:
        """The actions to carry out now; carry out each before asking for the next.

        Args:
            ended: tasks that have ended; rows of those that succeeded are committed.
            is_looking: whether to check for blocks that no host can take, too.
        """
        for each in ended:
            yield from self._ended(each)
        for host, block, suspects in self._attribution.suspects():
            yield from self._attributed(host, block, suspects)
        for stuck in self._placement.stuck(self._cells.is_over) if is_looking else ():
            yield from self._stuck(stuck)

    def leave_slow(self, ended: Sequence[EndedTask]) -> Iterator[Action]:
        """The actions for blocks of which nothing is committed, and which begin on a faster host.

        Args:
            ended: tasks that have ended, before their rows are committed.
        """
        timed = {self._blocks[each.task.cell_id]: None for each in ended if each.task.is_timed}
        for slow in self._placement.slow_blocks(timed) if timed else ():
            yield Tell(
                f"the timed cells of {slow.block.dataset} begin on node {slow.faster}, which ends"
                f" them in {format_duration(slow.moved_s)}: node {slow.host} would take"
                f" {format_duration(slow.left_s)}"
            )
            yield self._restart(slow.block)

    def is_asked(self, ended: EndedTask) -> bool:
        """Whether something may have to be decided of an ended task before other tasks begin."""
        outcome = ended.outcome
        is_odd = bool(outcome.error or outcome.is_lost or outcome.skipped)
        return is_odd or self._placement.has_just_begun(self._blocks[ended.task.cell_id])

    def is_of(self, task: Task, block: CellBlock) -> bool:
        """Whether a task belongs to a block."""
        return self._blocks[task.cell_id] == block

    def fail(self, task: Task, outcome: Outcome) -> FailCell:
        """Fail a cell: the failure of its task is attributed to it."""
        self._attribution.clear_cell(task.cell_id)
        return FailCell(task.cell_id, outcome.error, task, outcome)

    def _ended(self, ended: EndedTask) -> Iterator[Action]:
        task, outcome, host = ended.task, ended.outcome, ended.host
        # A task that was lost with its host, or did not arrive as sent, says nothing about either.
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
        """Set aside a host that failed tasks which others completed, one after the other."""
        if host in self._aside or not self._placement.can_spare(host, self.is_over):
            return
        self._aside.add(host)
        note = f"{SET_ASIDE}: other nodes completed {FAULTS} tasks that it failed"
        reason = last_line(self._attribution.reason(host))
        yield SetAside(host)
        yield Tell(
            f"node {host} is {note} ({reason}); they take over its tasks",
            host,
            f"{note} ({reason})",
        )

    def _attributed(
        self, host: str, block: CellBlock, suspects: Sequence[Suspect]
    ) -> Iterator[Action]:
        """Attribute failures of timed cells to their host or the cells, once this is possible."""
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
                f" {block.dataset} restart on another node ({reason})",
                host,
                f"{SET_ASIDE} for timed cells of {block.dataset}: {reason}",
            )
            yield self._restart(block, host)
            return
        self._attribution.forget(block)
        for suspect in suspects:
            yield self.fail(suspect.task, suspect.outcome)

    def _stuck(self, stuck: Stuck) -> Iterator[Action]:
        """No host can take a block now: it waits, restarts on another host, or its cells fail."""
        is_late = stuck.waited_s >= min(GRACE_S, self._wait_s)
        if stuck.can_move and (stuck.has_nothing or is_late):
            yield Tell(f"{stuck.reason}: they restart on another node")
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
            hint = "unless a node that can take them joins: gfjobs node start"
            yield Tell(f"waiting: {stuck.reason}. They fail in {left} {hint}")

    def _restart(self, block: CellBlock, avoided: str | None = None) -> RestartBlock:
        self._attribution.forget(block)
        cells = {cell.cell_id for cell in block.cells}
        for key in [key for key in self._tries if key[0] in cells]:
            del self._tries[key]
        return RestartBlock(block, avoided)
