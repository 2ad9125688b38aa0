"""The short form of the fault matrix: what takes seconds; `make faults` runs all of it."""

from __future__ import annotations

import os
import secrets
from typing import Any

import pytest
from faults import driver
from faults.bench import SMALL_GRID
from faults.scenario import Scenario
from faults.scenarios import ALL

QUICK = [scenario for scenario in ALL if scenario.quick]
WHOLES: dict[str, Any] = {}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a scenario sets for its processes is put back: those of other tests are not its own."""
    for name in ("PYTHONPATH", driver.MARK):
        monkeypatch.setenv(name, os.environ.get(name, ""))


def of_a_group(scenario: Scenario) -> Any:
    """Runs share an undisturbed one; who wants the same runs needs none, and may be elsewhere."""
    name = "contended" if scenario.name.startswith("contended") else "faults"
    return pytest.param(scenario, id=scenario.name, marks=pytest.mark.xdist_group(name))


@pytest.mark.parametrize("scenario", [of_a_group(scenario) for scenario in QUICK])
def test_nothing_is_lost_and_nothing_doubled(scenario: Scenario) -> None:
    """Row by row as in an undisturbed run, and no process is left."""
    if why_not := scenario.why_not():
        pytest.skip(why_not)
    seed = secrets.randbelow(10**6)
    tally = scenario.run(scenario.quick, seed, WHOLES, SMALL_GRID)
    told = f"{tally} with seed {seed}: faults.table {scenario.name} --seed {seed}"
    assert tally.times >= scenario.quick, told
    assert tally.expected > 0, told
    assert (tally.lost, tally.doubled, tally.remarks) == (0, 0, []), told
