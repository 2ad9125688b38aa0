"""The benchmark of planning: its grids have the cells that they are said to have."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from jobs.common.yaml_document import Document
from jobs.plan.plan import plan_document


def test_a_grid_has_as_many_cells_as_asked(
    script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass and each threshold, for each number of threads."""
    module = script("planning")
    monkeypatch.setattr(module, "THRESHOLDS", 4)
    plan = plan_document(Document(Path("many.yaml"), module.grid_of(15)), Path(), None)
    assert (len(plan.cells), plan.count("exits"), plan.count("latency")) == (15, 3, 12)


@pytest.mark.parametrize(("cells", "took_s"), [(10_010, 1.9), (10_010, 2.1), (100_100, 9.0)])
def test_it_fails_where_the_aim_is_missed(
    script: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    cells: int,
    took_s: float,
) -> None:
    """Of 10,010 cells; more have no aim."""
    module = script("planning")
    for name in ("GFJOBS_CACHE", "PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE"):
        monkeypatch.setenv(name, "")  # put back at the end
    monkeypatch.setattr(sys, "argv", ["planning", "--cells", f"{cells}"])
    monkeypatch.setattr(module, "planned_s", lambda *_, **__: (took_s, cells))
    if (cells, took_s) == (10_010, 2.1):
        with pytest.raises(SystemExit, match="1"):
            module.main()
    else:
        module.main()
    assert f"{cells:9,}{took_s:10.2f}{took_s:10.2f}" in capsys.readouterr().out
