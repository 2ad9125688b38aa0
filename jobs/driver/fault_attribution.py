"""Fault attribution: whether a failed task is attributed to its host or to its cell.

A task that failed on one host and succeeded on another is attributed to the first host: a broken
model would have failed on both.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from jobs.plan.order import CellBlock
from jobs.plan.task import Outcome, Task

FAULTS = 3
"""Failed tasks after which a host is set aside, if other hosts completed them and it completed none
in between; and after which it gets no new tasks, if no other host has tried them yet."""

Key = tuple[str, int, int]


@dataclass(frozen=True)
class Suspect:
    """A timed cell with a failure that is attributed to neither the cell nor its host yet.

    Attributes:
        task: the task that failed.
        block: the cells that it is compared with.
        outcome: the outcome to fail the cell with, if the failure is attributed to it.
    """

    task: Task
    block: CellBlock
    outcome: Outcome


class Attribution:
    """Remembers which host failed which task, and which host completed it later."""

    def __init__(self) -> None:
        self._open: dict[Key, dict[str, str]] = {}
        self._faults: Counter[str] = Counter()
        self._reasons: dict[str, str] = {}
        self._suspects: dict[str, dict[str, Suspect]] = {}

    def fail(self, host: str, key: Key, error: str) -> None:
        """Record that a task failed on a host; the cause is open."""
        self._open.setdefault(key, {})[host] = error

    def succeed(self, host: str, key: Key) -> list[str]:
        """Record that a host completed a task; returns hosts that have now failed too often."""
        self._faults.pop(host, None)
        found = []
        for other, error in self._open.pop(key, {}).items():
            if other == host:
                continue
            self._faults[other] += 1
            self._reasons[other] = error
            if self._faults[other] >= FAULTS:
                found.append(other)
        return found

    def clear_cell(self, cell_id: str) -> None:
        """Forget the failures of a cell that has ended: they no longer count against hosts."""
        self._open = {key: hosts for key, hosts in self._open.items() if key[0] != cell_id}

    @property
    def held(self) -> frozenset[str]:
        """Hosts with so many open failures that they get no new tasks until the cause is known."""
        failures = Counter(host for hosts in self._open.values() for host in hosts)
        return frozenset(host for host, number in failures.items() if number >= FAULTS)

    def reason(self, host: str) -> str:
        """The error of a host's last attributed failure."""
        return self._reasons[host]

    def suspect(self, host: str, suspect: Suspect) -> None:
        """Record that a timed cell failed on its host, and that another host could take it."""
        self._suspects.setdefault(host, {})[suspect.task.cell_id] = suspect

    def is_suspect(self, cell_id: str) -> bool:
        """Whether the cause of a cell's failure is open."""
        return any(cell_id in suspects for suspects in self._suspects.values())

    def suspects(self) -> list[tuple[str, CellBlock, list[Suspect]]]:
        """All suspects, by host and block."""
        found: dict[tuple[str, CellBlock], list[Suspect]] = {}
        for host, suspects in self._suspects.items():
            for suspect in suspects.values():
                found.setdefault((host, suspect.block), []).append(suspect)
        return [(host, block, suspects) for (host, block), suspects in found.items()]

    def clear_host(self, host: str) -> list[Suspect]:
        """Forget and return a host's suspects: it completed a task, so the cells are broken."""
        return list(self._suspects.pop(host, {}).values())

    def forget(self, block: CellBlock) -> None:
        """Drop the suspects of a block: the cause of their failures is known."""
        for suspects in self._suspects.values():
            for cell in block.cells:
                suspects.pop(cell.cell_id, None)
