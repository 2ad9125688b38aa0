"""What each device runs now: a line for each cell on it, as many as fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from jobs.machine.devices import ANY
from jobs.machine.slots import Slot
from jobs.plan.plan import Plan
from jobs.plan.task import Task
from jobs.runs.time_left import Workload, workload_of

NameTask = Callable[[Task], str]

LINGER_S = 0.5
"""How long the line of a device stays without a task: its next one begins much sooner."""


class DeviceLines:
    """Formats the tasks in flight by device, each with the progress of its cell.

    Args:
        plan: the cells.
        done: keys of tasks that were committed before.
        name: names the cell of a task.
        clock: seconds.
    """

    def __init__(
        self,
        plan: Plan,
        done: frozenset[tuple[str, int, int]],
        name: NameTask,
        clock: Callable[[], float],
    ) -> None:
        self._name = name
        self._clock = clock
        self._asked: Counter[str] = Counter()
        self._finished: Counter[str] = Counter()
        for cell in plan.runnable:
            for key, images in cell.task_keys():
                self._asked[cell.cell_id] += images
                self._finished[cell.cell_id] += images if key in done else 0
        self._running: dict[Slot, dict[Task, float | None]] = {}  # when it came back, if it has
        self._warm: set[tuple[Slot, Workload]] = set()

    def begin(self, task: Task, slot: Slot) -> None:
        """Add a task that is about to begin."""
        before = self._running.get(slot, {})
        self._running[slot] = {each: None for each, ended_s in before.items() if ended_s is None}
        self._running[slot][task] = None

    def end(self, task: Task) -> None:
        """Take a task that has come back; its line lingers for the next one of its device."""
        for slot, tasks in self._running.items():
            if tasks.get(task, 0.0) is None:
                tasks[task] = self._clock()
                self._warm.add((slot, workload_of(task)))

    def count(self, task: Task, images: int) -> None:
        """Add finished images to a task's cell; a negative number if they must be done again."""
        self._finished[task.cell_id] += images

    def shorten(self, cell_id: str, images: int) -> None:
        """Take images from a cell that are not needed."""
        self._asked[cell_id] -= images

    def lines(self, width: int, most: int) -> list[str]:
        """Format a line per cell that runs, by the device's name.

        Args:
            width: columns; longer lines are cut.
            most: lines; what has no room is counted in the last one.
        """
        self._drop_idle()
        found = sorted(self._running, key=lambda slot: (slot.host, slot.device, slot.number))
        widest = max((len(_format_slot(slot)) for slot in found), default=0)
        lines = [
            f"{_format_slot(slot):{widest}}  {described}"
            for slot in found
            for described in self._describe(slot)
        ]
        if len(lines) > max(most, 1):
            shown = max(most - 1, 0)
            lines = [*lines[:shown], f"and {len(lines) - shown} more"]
        return [line if len(line) <= width else f"{line[: width - 1]}…" for line in lines]

    def _drop_idle(self) -> None:
        """Drop tasks that came back some time ago."""
        since_s = self._clock() - LINGER_S
        for slot, tasks in [*self._running.items()]:
            kept = {each: s for each, s in tasks.items() if s is None or s > since_s}
            self._running[slot] = kept
            if not kept:
                del self._running[slot]

    def _describe(self, slot: Slot) -> Iterator[str]:
        """Describe the cells of tasks on one device, each once."""
        for task in {task.cell_id: task for task in self._running[slot]}.values():
            if (slot, workload_of(task)) in self._warm:
                finished, asked = self._finished[task.cell_id], self._asked[task.cell_id]
                yield f"{self._name(task)}, {finished:,}/{asked:,} images"
            else:
                yield f"{self._name(task)}, preparing the model"


def _format_slot(slot: Slot) -> str:
    """Name a device and its host; without other hosts, the device that `any` means is not known."""
    host = slot.host or "this machine"
    if slot.device == ANY:
        return host
    return f"{host}/{slot.device}" + (f" {slot.number}" if slot.number else "")
