"""From the file of a grid to its plan, with all problems of both at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jobs.common.yaml_document import Document
from jobs.grid.reader import read_grid
from jobs.plan.plan import Plan, make_plan


def plan_document(document: Document, base: Path, devices: Sequence[str] | None) -> Plan:
    """Read, check and plan a grid.

    Args:
        document: the file.
        base: the folder that relative paths start from.
        devices: the names that `devices` may use; None: any that a node could have.

    Raises:
        BadInputError: the grid has problems, or nothing is left of it.
    """
    plan = make_plan(read_grid(document, devices, base))
    if not plan.cells:
        root = document.root()
        root.problem("`exclude` leaves nothing to run", "a grid of at least one combination")
        document.check()
    return plan
