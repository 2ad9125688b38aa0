"""A plugin of pytest for mutmut: what functions import is loaded before its workers are forked.

Else each of them would load it anew, which takes longer than the tests.
"""

from __future__ import annotations

import importlib
import sys

_LOADED_WITH = {
    "torch": ("torchvision.transforms.v2", "PIL.Image"),
    "storage": ("duckdb", "pyarrow.parquet", "pyarrow.compute", "numpy"),
}


def pytest_collection_finish() -> None:
    """Load it, once the modules of the tests are there."""
    for name, others in _LOADED_WITH.items():
        if name in sys.modules:
            for other in others:
                importlib.import_module(other)
    if image := sys.modules.get("PIL.Image"):
        image.init()
