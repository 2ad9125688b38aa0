"""All faults of the matrix, from quick to slow."""

from __future__ import annotations

from faults.scenario import Scenario
from faults.scenarios import cluster, drivers, files, nights, tasks

ALL: tuple[Scenario, ...] = (
    *drivers.SCENARIOS,
    *nights.SCENARIOS,
    *files.SCENARIOS,
    *tasks.SCENARIOS,
    *cluster.SCENARIOS,
)
