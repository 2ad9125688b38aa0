"""The result of an import, as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jobs.machine.power.board_rails import TOTALS
from jobs.machine.power.protocol import MIN_SAMPLES


@dataclass(frozen=True)
class ImportedLog:
    """The result of an import.

    Attributes:
        samples: lines of the log that were imported as rows.
        tasks: timed tasks that had no power before and have it now.
        had_power: tasks that already had power and were left unchanged.
        too_few: tasks skipped because one of their windows holds too few lines.
        no_rise: imported tasks that took no more power while running than while idling.
        rounds: rows of `rounds` that got temperature or clocks.
        columns: those that they got.
        complete: rounds that lack none of what the log could give.
        own_power: power sources of nodes that measured their power themselves, which stays.
        rails: of a board's log whose rails sum to no known total; empty for others.
    """

    samples: int
    tasks: int
    had_power: int
    too_few: int
    no_rise: int
    rounds: int = 0
    columns: tuple[str, ...] = ()
    complete: int = 0
    own_power: Mapping[str, str] = field(default_factory=dict)
    rails: tuple[str, ...] = ()

    def describe(self) -> str:
        """Return the result as text, one line per count that is not 0."""
        lines = []
        if self.tasks:
            lines.append(f"{self.samples} readings imported into {_tasks(self.tasks)}")
        if self.had_power:
            lines.append(
                f"{_tasks(self.had_power)} already had power: left unchanged; --replace replaces"
                " earlier imports with this log"
            )
        if self.too_few:
            lines.append(
                f"{_tasks(self.too_few)} skipped: a window holds fewer than {MIN_SAMPLES} readings"
            )
        if self.no_rise:
            lines.append(
                f"{_tasks(self.no_rise)} took no more power running than idling: check that the"
                " clocks of meter and node agree"
            )
        if self.rounds:
            lines.append(f"{', '.join(self.columns)} filled in for {self.rounds} timed rounds")
        if self.complete:
            lines.append(f"{self.complete} timed rounds had all that this log could give them")
        for node, source in self.own_power.items():
            lines.append(f"node {node} measured its power itself ({source}): its power stays")
        if self.rails:
            known = "; ".join(" + ".join(total.rails) for total in TOTALS)
            lines.append(
                f"no power imported: the rails {', '.join(self.rails)} sum to no known total"
                f" (known: {known})"
            )
        return "\n".join(lines)


def _tasks(number: int) -> str:
    return f"{number} timed task{'' if number == 1 else 's'}"
