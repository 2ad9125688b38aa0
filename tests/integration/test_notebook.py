"""The example notebook runs as it stands, and is stored without what it gave."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"
NEEDED = ("altair", "ipykernel", "nbclient", "pandas", "polars", "vl_convert")


def cells(path: Path) -> list[dict[str, Any]]:
    """Those with code."""
    every: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in every if cell["cell_type"] == "code"]


def test_it_is_stored_without_outputs() -> None:
    """They would differ with every machine, and a diff would show nothing else."""
    assert [cell["outputs"] for cell in cells(NOTEBOOK)] == [[]] * len(cells(NOTEBOOK))
    assert {cell["execution_count"] for cell in cells(NOTEBOOK)} == {None}


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, NEEDED)),
    reason="the notebook needs pip install 'gfjobs[notebook]', and the test nbclient",
)
def test_it_runs_on_a_run_of_its_own(tmp_path: Path) -> None:
    """In a kernel of its own: two tables and a figure, of the three models of the quickstart."""
    executed = tmp_path / "executed.ipynb"
    code = (
        "import sys, nbclient, nbformat\n"
        "notebook = nbformat.read(sys.argv[1], as_version=4)\n"
        "resources = {'metadata': {'path': sys.argv[2]}}\n"
        "nbclient.NotebookClient(notebook, timeout=600, resources=resources).execute()\n"
        "nbformat.write(notebook, sys.argv[3])\n"
    )
    tools = Path(sys.executable).parent
    environment = {key: value for key, value in os.environ.items() if key != "GFJOBS_RESULTS"}
    environment |= {
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(NOTEBOOK.parents[1]),
        "TMPDIR": str(tmp_path),
        "JUPYTER_PREFER_ENV_PATH": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code, NOTEBOOK, NOTEBOOK.parent, executed],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shown = [
        output["data"]
        for cell in cells(executed)
        for output in cell["outputs"]
        if output["output_type"] == "execute_result"
    ]
    ladder, by_exit, figure = shown
    for model in ("digits-gfnet", "digits-distil", "digits-dynn"):
        assert model in "".join(ladder["text/plain"])
        assert model in "".join(by_exit["text/plain"])
    assert "".join(figure["image/svg+xml"]).startswith("<svg")
