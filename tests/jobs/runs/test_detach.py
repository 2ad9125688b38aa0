"""A driver on a cluster's head: what is refused before, and what the head may see otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import storage
from jobs.cli import main
from jobs.common.yaml_document import Document
from jobs.plan.plan import plan_document
from jobs.runs.head_driver import describe_head_differences
from jobs.runs.resolved_inputs import resolve_inputs

GRID = """\
models: [digits-gfnet, digits-dynn]
datasets: [{name: digits, limit: 24}]
thresholds: [0.5, 0.9]
threads: [1]
"""


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A grid, in a folder to which relative paths lead."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "grid.yaml"
    path.write_text(GRID)
    return path


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--address", "127.0.0.1:1", "--results", "here"), "'here' is relative"),
        (("--results", "/nowhere/results"), "give --address"),
        (("--inline", "--results", "/nowhere/results"), "give --address"),
    ],
)
def test_what_the_head_could_not_see_is_refused(
    grid: Path, options: tuple[str, ...], told: str
) -> None:
    """A relative root, and no cluster at all: nothing is left."""
    done = CliRunner().invoke(main, ["submit", str(grid), "--detach", *options])
    assert done.exit_code == 2, done.output
    assert told in done.output
    assert list(grid.parent.iterdir()) == [grid]


def test_what_the_head_sees_otherwise(grid: Path) -> None:
    """Asked as the head is, of a grid whose files are not the submitter's."""
    root = str(grid.parent / "results")
    document = Document.read(grid)
    submitted = resolve_inputs(plan_document(document, grid.parent, None).cells)
    with storage.probe(root) as probe:
        assert describe_head_differences(root, probe, document, grid.parent, submitted) == ""
        submitted["model digits-dynn"]["checkpoint"] = "0" * 64
        other = describe_head_differences(root, probe, document, grid.parent, submitted)
        assert "checkpoint of model digits-dynn: here sha256 000000000000, there" in other
        gone = Document(grid, document.text.replace("digits-gfnet", "gone.safetensors"))
        said = describe_head_differences(root, probe, gone, grid.parent, submitted)
        assert said.startswith("the grid has problems there:")
        elsewhere = describe_head_differences(root, ".tmp-none", document, grid.parent, submitted)
        assert elsewhere.startswith(f"{root} is another folder there")
    assert not Path(root).exists()
