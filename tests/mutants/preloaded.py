"""A plugin of pytest for mutmut: a worker is to be quick, since there is one for each mutant.

What functions import is loaded before workers are forked; each would load it anew, which takes
longer than the tests. And the quickest tests come first: the first that fails is enough. A worker
that fails is not a test that does, so the test which killed a mutant is written down.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

import pytest

_STATISTICS = Path("mutmut-stats.json")  # in the working directory of its tests
_KILLERS = "GFJOBS_KILLERS"
_LOADED_WITH = {
    "torch": ("torchvision.transforms.v2", "PIL.Image"),
    "storage": ("duckdb", "numpy", "pyarrow.compute", "pyarrow.parquet"),
}


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Give each mutant a folder of its own: workers would remove each other's numbered ones."""
    if mutant := os.environ.get("MUTANT_UNDER_TEST"):
        config.option.basetemp = Path(os.environ["TMPDIR"], mutant)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests by what they took without a mutant."""
    if _STATISTICS.exists():
        durations = json.loads(_STATISTICS.read_text())["duration_by_test"]
        items.sort(key=lambda item: durations.get(item.nodeid, 0.0))


def pytest_collection_finish() -> None:
    """Load it, once the modules of the tests are there."""
    for name, others in _LOADED_WITH.items():
        if name in sys.modules:
            for other in others:
                importlib.import_module(other)
    if image := sys.modules.get("PIL.Image"):
        image.init()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write down which test killed this mutant."""
    _write_down(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Write down that a mutant lets no tests be collected, which kills it too."""
    _write_down(report)


def _write_down(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.failed and (mutant := os.environ.get("MUTANT_UNDER_TEST")):
        text = f"{report.nodeid}\n{report.longreprtext}\n"
        Path(os.environ[_KILLERS], mutant).write_text(text, encoding="utf-8")
