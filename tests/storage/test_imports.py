"""What importing the package costs, and that its public names are real."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import storage

if TYPE_CHECKING:
    from tests.storage.conftest import Builder

PROJECT = Path(storage.__file__).parents[1]


def modules_after(code: str) -> set[str]:
    """Run code in a fresh interpreter and list the top-level modules that it loaded."""
    script = (
        f"import sys; sys.path.insert(0, {str(PROJECT)!r}); {code}; "
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    return set(done.stdout.split())


def test_import_loads_nothing_heavy() -> None:
    """`import storage`, its errors and the root check need neither DuckDB nor Arrow."""
    loaded = modules_after(
        "import storage; storage.StorageError; storage.check_root('/tmp'); dir(storage)"
    )
    assert "storage" in loaded
    assert not loaded & {"duckdb", "pyarrow", "numpy", "pandas", "torch", "ray", "click"}


def test_everything_together_loads_no_neighbour() -> None:
    """All public names at once load neither jobs, gfnet, torch, ray nor click."""
    loaded = modules_after("import storage; [getattr(storage, name) for name in storage.__all__]")
    assert {"duckdb", "pyarrow"} <= loaded
    assert not loaded & {"jobs", "gfnet", "torch", "ray", "click", "sklearn", "PIL", "pandas"}


def test_reading_loads_no_pandas(build: Builder) -> None:
    """Pyarrow imports it, and its own functions, for many small things that `gfjobs runs` needs.

    They take a quarter of its time and a sixth.
    """
    build.records(build.cell(), 3)
    build.store(merge=True)
    asked = "run_ids=['run-1'], run_id='run-1'"
    loaded = modules_after(
        f"import storage; root = {str(build.root)!r}; storage.list_runs(root); "
        "storage.named_query(root, 'run_progress'); "
        f"storage.named_query(root, 'status', {asked}).to_pylist(); "
        "import sys; assert 'pyarrow.compute' not in sys.modules"
    )
    assert {"duckdb", "pyarrow"} <= loaded
    assert "pandas" not in loaded


def test_every_public_name_can_be_loaded() -> None:
    """Names are loaded late; each must exist."""
    assert "query" in storage.__all__
    for name in storage.__all__:
        assert getattr(storage, name) is not None


def test_unknown_name_is_an_attribute_error() -> None:
    """A typing error fails as it does with any module."""
    with pytest.raises(AttributeError, match="conect"):
        storage.conect  # noqa: B018


def test_no_public_name_is_a_modules() -> None:
    """A module that anything loads takes the place of the name that it shares."""
    loaded = modules_after(
        "import importlib, pkgutil, storage; "
        "modules = {module.name for module in pkgutil.iter_modules(storage.__path__)}; "
        "assert not modules & set(storage.__all__), modules & set(storage.__all__)"
    )
    assert "storage" in loaded
