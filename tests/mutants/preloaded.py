"""A plugin of pytest for mutmut: a worker is to be quick, since there is one for each mutant.

What functions import is loaded before workers are forked; each would load it anew, which takes
longer than the tests. And the quickest tests come first: the first that fails is enough.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

_STATISTICS = Path("mutmut-stats.json")  # in the working directory of its tests
_LOADED_WITH = {
    "torch": ("torchvision.transforms.v2", "PIL.Image"),
    "storage": ("duckdb", "numpy", "pyarrow.compute", "pyarrow.parquet"),
}


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
