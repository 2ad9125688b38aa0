"""Fault attribution: whether a failed task is attributed to its host or to its cell.

A task that failed on one host and succeeded on another is attributed to the first: a model that is
broken is broken everywhere.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from jobs.plan.order import CellBlock
from jobs.plan.task import Outcome, Task

FAULTS = 3
"""Tasks that a host failed and another did, none of its own done in between, for it to be set
aside; and tasks that it failed and that no other host has tried yet, for it to be given no more."""

Key = tuple[str, int, int]


@dataclass(frozen=True)
class Suspect:
    """A timed cell that failed, or its host did.

    Attributes:
        task: the task that failed.
        block: the cells that it is compared with.
        outcome: what the cell fails with, if it was the cell.
    """

    task: Task
    block: CellBlock
    outcome: Outcome


class Attribution:
    """Remembers which host failed which task, and which host completed it after all."""

    def __init__(self) -> None:
        self._open: dict[Key, dict[str, str]] = {}
        self._faults: Counter[str] = Counter()
        self._reasons: dict[str, str] = {}
        self._suspects: dict[str, dict[str, Suspect]] = {}

    def fail(self, host: str, key: Key, error: str) -> None:
        """A task failed on a host; the cause is open."""
        self._open.setdefault(key, {})[host] = error

    def succeed(self, host: str, key: Key) -> list[str]:
        """A task was done; the hosts that have failed too often by that."""
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
        """A cell has ended: none of its failures is held against a host any more."""
        self._open = {key: hosts for key, hosts in self._open.items() if key[0] != cell_id}

    @property
    def held(self) -> frozenset[str]:
        """Hosts that have failed so much lately that the cause must be known first."""
        failures = Counter(host for hosts in self._open.values() for host in hosts)
        return frozenset(host for host, number in failures.items() if number >= FAULTS)

    def reason(self, host: str) -> str:
        """What a host failed with last."""
        return self._reasons[host]

    def suspect(self, host: str, suspect: Suspect) -> None:
        """A timed cell failed on its host, and another could take it."""
        self._suspects.setdefault(host, {})[suspect.task.cell_id] = suspect

    def is_suspect(self, cell_id: str) -> bool:
        """Whether it is open why a cell failed."""
        return any(cell_id in suspects for suspects in self._suspects.values())

    def suspects(self) -> list[tuple[str, CellBlock, list[Suspect]]]:
        """All of these, by host and block."""
        found: dict[tuple[str, CellBlock], list[Suspect]] = {}
        for host, suspects in self._suspects.items():
            for suspect in suspects.values():
                found.setdefault((host, suspect.block), []).append(suspect)
        return [(host, block, suspects) for (host, block), suspects in found.items()]

    def clear_host(self, host: str) -> list[Suspect]:
        """A host completed a task, so its failures were the cells'; these are returned."""
        return list(self._suspects.pop(host, {}).values())

    def forget(self, block: CellBlock) -> None:
        """It is known why cells of a block failed."""
        for suspects in self._suspects.values():
            for cell in block.cells:
                suspects.pop(cell.cell_id, None)
