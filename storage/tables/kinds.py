"""The kinds of cells, each as one record: what asks for it, how it runs, what its rows are.

A reader goes by these claims and never by a kind's name. What makes the rows of a kind is a module
of `jobs/worker`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CellKind = Literal["exits", "latency", "exit_costs", "profile"]


@dataclass(frozen=True)
class Kind:
    """One kind of cell.

    Attributes:
        name: as `cells.kind`.
        table: that its rows are in.
        measures: words of a grid's `measure`, any of which asks for it.
        counted_as: one of them and several, for a plan.
        is_timed: it runs under the clock, alone on its host, in rounds.
        is_routed: there is a cell for each threshold that the grid writes out.
        is_by_exit: one row per image and exit; else one per image.
        is_by_part: its rows are of parts of the model, so commits alone count its images; it is one
            task of one round.
        has_energy: power is measured beside it, where a grid asks for energy.
        needs_gates: a model without gates has no such cell.
        needs_reference: it runs on eager torch in float32 alone.
    """

    name: CellKind
    table: str
    measures: tuple[str, ...]
    counted_as: tuple[str, str]
    is_timed: bool = True
    is_routed: bool = False
    is_by_exit: bool = False
    is_by_part: bool = False
    has_energy: bool = False
    needs_gates: bool = False
    needs_reference: bool = False

    def rows_per_image(self, gates: int) -> int:
        """Rows that one image leaves in one round; of a kind by parts, the image itself."""
        return gates + 1 if self.is_by_exit else 1


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "exits",
            table="exits",
            measures=("accuracy",),
            counted_as=("all-exit pass", "all-exit passes"),
            is_timed=False,
            is_by_exit=True,
        ),
        Kind(
            "latency",
            table="records",
            measures=("latency", "energy"),
            counted_as=("routed", "routed"),
            is_routed=True,
            has_energy=True,
        ),
        Kind(
            "exit_costs",
            table="exit_costs",
            measures=("exit_costs",),
            counted_as=("of exit costs", "of exit costs"),
            is_by_exit=True,
            has_energy=True,
            needs_gates=True,
        ),
        Kind(
            "profile",
            table="profile",
            measures=("profile",),
            counted_as=("profile", "profiles"),
            is_by_part=True,
            needs_reference=True,
        ),
    )
}
"""By name, in the order in which a grid's cells stand in its plan."""

TIMED = tuple(kind.name for kind in KINDS.values() if kind.is_timed)


def rows_per_image(kind: str | None, gates: int) -> int:
    """As `Kind.rows_per_image`; of a kind that a newer version wrote, the most."""
    known = KINDS.get(kind or "")
    return known.rows_per_image(gates) if known else gates + 1
