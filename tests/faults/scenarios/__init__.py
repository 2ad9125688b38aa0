"""All faults of the matrix, from quick to slow."""

from __future__ import annotations

from faults.scenario import Scenario
from faults.scenarios import cluster, drivers, files, nights, tasks, upkeep

ALL: tuple[Scenario, ...] = (
    *drivers.SCENARIOS,
    *nights.SCENARIOS,
    *files.SCENARIOS,
    *upkeep.SCENARIOS,
    *tasks.SCENARIOS,
    *cluster.SCENARIOS,
)
