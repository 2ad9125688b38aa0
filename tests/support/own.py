"""The scripts of examples/own, as modules."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

OWN = Path(__file__).parents[2] / "examples" / "own"


def own_script(name: str) -> ModuleType:
    """A script, not yet run."""
    spec = importlib.util.spec_from_file_location(name, OWN / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
