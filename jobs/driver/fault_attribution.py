"""Fault attribution: whether a failed task is attributed to its host or to its cell.

A task that failed on one machine and succeeded on another convicts the first: a model that is
broken is broken everywhere. Timed cells cannot be tried elsewhere one by one, since they are
compared on one machine; of these a failure is believed once the machine has done another task, and
is laid to the machine where it can do none.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from jobs.plan.order import CellBlock
from jobs.plan.task import Outcome, Task

FAULTS = 3
"""Tasks that a machine failed and another did, none of its own done in between, for it to be set
aside; and tasks that it failed and nobody has tried elsewhere yet, for it to be given no more."""

Key = tuple[str, int, int]


@dataclass(frozen=True)
class Suspect:
    """A timed cell that failed, or its machine did.

    Attributes:
        task: the task that failed.
        block: the cells that it is compared with.
        outcome: what the cell fails with, if it was the cell.
    """

    task: Task
    block: CellBlock
    outcome: Outcome


class Trust:
    """Remembers who failed what, and who did it after all."""

    def __init__(self) -> None:
        self._open: dict[Key, dict[str, str]] = {}
        self._faults: Counter[str] = Counter()
        self._reasons: dict[str, str] = {}
        self._suspects: dict[str, dict[str, Suspect]] = {}

    def failed(self, place: str, key: Key, error: str) -> None:
        """A task failed somewhere; it is open whose fault it was."""
        self._open.setdefault(key, {})[place] = error

    def succeeded(self, place: str, key: Key) -> list[str]:
        """A task was done; the machines that have failed too often by that."""
        self._faults.pop(place, None)
        found = []
        for other, error in self._open.pop(key, {}).items():
            if other == place:
                continue
            self._faults[other] += 1
            self._reasons[other] = error
            if self._faults[other] >= FAULTS:
                found.append(other)
        return found

    def blamed_on_cell(self, cell_id: str) -> None:
        """A cell has failed: no machine's fault, whichever of its tasks was tried where."""
        self._open = {key: places for key, places in self._open.items() if key[0] != cell_id}

    @property
    def held(self) -> frozenset[str]:
        """Machines that have failed so much lately that it must be known first why."""
        failures = Counter(place for places in self._open.values() for place in places)
        return frozenset(place for place, number in failures.items() if number >= FAULTS)

    def reason(self, place: str) -> str:
        """What a machine failed with last."""
        return self._reasons[place]

    def suspect(self, place: str, suspect: Suspect) -> None:
        """A timed cell failed on its machine, and another could take it."""
        self._suspects.setdefault(place, {})[suspect.task.cell_id] = suspect

    def is_suspect(self, cell_id: str) -> bool:
        """Whether it is open why a cell failed."""
        return any(cell_id in suspects for suspects in self._suspects.values())

    def suspects(self) -> list[tuple[str, CellBlock, list[Suspect]]]:
        """All of these, by machine and block."""
        found: dict[tuple[str, CellBlock], list[Suspect]] = {}
        for place, suspects in self._suspects.items():
            for suspect in suspects.values():
                found.setdefault((place, suspect.block), []).append(suspect)
        return [(place, block, suspects) for (place, block), suspects in found.items()]

    def clear(self, place: str) -> list[Suspect]:
        """A machine is cleared of all; what it was suspected of."""
        return list(self._suspects.pop(place, {}).values())

    def forget(self, block: CellBlock) -> None:
        """It is known why cells of a block failed."""
        for suspects in self._suspects.values():
            for cell in block.cells:
                suspects.pop(cell.cell_id, None)
