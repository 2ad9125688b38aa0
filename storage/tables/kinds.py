"""The kinds of cells, each as one record: what requests it, how it runs, what its rows are.

Readers use these attributes and never a kind's name. A module of `jobs/worker` makes the rows of a
kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CellKind = Literal["exits", "latency", "exit_costs", "profile", "throughput", "serving"]


@dataclass(frozen=True)
class Kind:
    """One kind of cell.

    Attributes:
        name: as in `cells.kind`.
        table: the table of its rows.
        measures: words of a grid's `measure`, any of which requests it.
        counted_as: its name in a plan, singular and plural.
        is_timed: it is timed, alone on its host, in rounds.
        is_routed: there is one cell per threshold that the grid lists.
        is_by_exit: it has one row per image and exit; else one per image.
        is_by_part: its rows are of parts of the model; it is one task of one round.
        is_by_batch: there is one cell per batch size of `batch_sizes.throughput`, and one row per
            batch; a round is one task.
        is_by_request: there is one cell per rate of arrivals, and one row per request; a round is
            one task.
        has_energy: power is measured during it, if a grid requests energy.
        needs_gates: a model without gates has no such cell.
        needs_reference: of a checkpoint it runs only on eager torch in float32.
    """

    name: CellKind
    table: str
    measures: tuple[str, ...]
    counted_as: tuple[str, str]
    is_timed: bool = True
    is_routed: bool = False
    is_by_exit: bool = False
    is_by_part: bool = False
    is_by_batch: bool = False
    is_by_request: bool = False
    has_energy: bool = False
    needs_gates: bool = False
    needs_reference: bool = False

    @property
    def number_column(self) -> str | None:
        """The column that numbers its rows within a cell and round, if they belong to no image."""
        return "batch" if self.is_by_batch else "request" if self.is_by_request else None

    @property
    def has_image_rows(self) -> bool:
        """Whether its rows belong to images; else only commits count its images."""
        return not (self.is_by_part or self.is_by_batch or self.is_by_request)

    def rows_per_image(self, gates: int) -> int:
        """Return the rows of one image in one round; 1, for the image, if only commits count it."""
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
        Kind(
            "throughput",
            table="throughput",
            measures=("throughput",),
            counted_as=("of throughput", "of throughput"),
            is_routed=True,
            is_by_batch=True,
        ),
        Kind(
            "serving",
            table="responses",
            measures=("serving",),
            counted_as=("served", "served"),
            is_routed=True,
            is_by_request=True,
        ),
    )
}
"""By name, in the order of a grid's cells in its plan."""

TIMED = tuple(kind.name for kind in KINDS.values() if kind.is_timed)


def rows_per_image(kind: str | None, gates: int) -> int:
    """As `Kind.rows_per_image`; the maximum for a kind that a newer version wrote."""
    known = KINDS.get(kind or "")
    return known.rows_per_image(gates) if known else gates + 1
