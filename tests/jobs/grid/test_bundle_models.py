"""Bundles among the models of a grid: what names one, how it is called, and its axes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support import bundles

import gfnet
from jobs.common.errors import BadInputError
from jobs.common.yaml_document import Document
from jobs.driver.cell_states import queued_rows
from jobs.grid.models import StagedModel
from jobs.grid.reader import read_grid
from jobs.plan.order import make_blocks
from jobs.plan.plan import Plan, make_plan
from jobs.plan.sources import SourceError, Sources
from jobs.plan.task import Task
from jobs.plan.view import describe_skips

DATA = 'datasets: ["imagefolder:images"]\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle as `tiny`, the same as `small.gfbundle`, and images."""
    bundles.write(tmp_path / "tiny", bundles.files())
    (tmp_path / "small.gfbundle").write_bytes(bundles.zipped(bundles.files()))
    bundles.write_images(tmp_path / "images", 2)
    return tmp_path


@pytest.fixture
def plan_in(folder: Path) -> Callable[[str], Plan]:
    """Plan a grid that stands in that folder."""

    def plan(text: str) -> Plan:
        document = Document(folder / "grid.yaml", text + DATA)
        return make_plan(read_grid(document, ("any", "cpu"), folder))

    return plan


def test_folder_and_zip_are_one_bundle(plan_in: Callable[[str], Plan], folder: Path) -> None:
    """Each is called as its file; identity, sizes and defaults are the bundle's."""
    plan = plan_in(
        "models: [tiny, ./small.gfbundle, {name: whole, checkpoint: tiny, exit_blocks: []}]\n"
    )
    first, second, whole = plan.grid.models
    assert [model.name for model in plan.grid.models] == ["tiny", "small", "whole"]
    assert first.sha256 == second.sha256 == gfnet.inspect_bundle(folder / "tiny").digest
    assert first.size_bytes == second.size_bytes
    assert first.size_bytes == sum(file.stat().st_size for file in (folder / "tiny").iterdir())
    assert (first.config.exit_blocks, first.config.depth, first.gates) == ((2,), 6, 1)
    assert (whole.config.exit_blocks, whole.gates) == ((), 0)
    assert [cell.thresholds for cell in plan.cells if cell.kind == "latency"] == [
        (pytest.approx(0.7),),
        (pytest.approx(0.7),),
        (),
    ]
    rows = queued_rows(plan, "r")
    assert {(row.runtime, row.precision, row.status) for row in rows} == {
        ("onnx", "float32", "queued")
    }
    assert (rows[0].exit_multiply_adds, rows[0].exit_params) == ((60, None), (None, None))
    assert (rows[0].params, rows[0].depth, rows[0].num_classes) == (None, 6, 3)


def test_with_a_checkpoint_the_defaults_are_a_checkpoints(
    plan_in: Callable[[str], Plan], write_grid: Callable[[str], Path], folder: Path
) -> None:
    """The bundle's cells are skipped, and the plan says what to choose."""
    write_grid("")  # the checkpoints' links
    plan = plan_in("models: [tiny, dynn.safetensors]\nmeasure: [accuracy]\n")
    assert [(cell.model.name, cell.skipped is None) for cell in plan.cells] == [
        ("tiny", False),
        ("dynn", True),
    ]
    said = " ".join(" ".join(describe_skips(plan)).split())
    assert "1 cell will be skipped: runtime torch runs no bundle" in said
    assert "choose runtimes: [onnx] or [openvino]" in said
    assert folder == plan.grid.base


def test_other_precisions_are_skipped(plan_in: Callable[[str], Plan]) -> None:
    """With the reason; OpenVINO lowers float32 itself, and each engine has stages to profile."""
    plan = plan_in(
        "models: [tiny]\nruntimes: [onnx, openvino]\nprecisions: [float32, bfloat16]\n"
        "measure: [accuracy, profile]\n"
    )
    runs = {
        (cell.kind, cell.setting.runtime, cell.setting.precision)
        for cell in plan.cells
        if not cell.skipped
    }
    assert runs == {
        ("exits", "onnx", "float32"),
        ("exits", "openvino", "float32"),
        ("exits", "openvino", "bfloat16"),
        ("profile", "onnx", "float32"),
        ("profile", "openvino", "float32"),
        ("profile", "openvino", "bfloat16"),
    }
    said = " ".join(" ".join(describe_skips(plan)).split())
    assert (
        "2 cells will be skipped: runtime onnx runs a bundle in the precision of its graphs" in said
    )


def test_a_bundle_has_the_precision_of_its_graphs(
    folder: Path, plan_in: Callable[[str], Plan]
) -> None:
    """Also one that no checkpoint has."""
    bundles.write(folder / "tiny", bundles.files(precision="int8"))
    (cell,) = plan_in("models: [tiny]\nmeasure: [accuracy]\n").cells
    assert (cell.setting.precision, cell.skipped) == ("int8", None)
    (cell, other) = plan_in(
        "models: [tiny]\nmeasure: [accuracy]\nprecisions: [int8, float32]\n"
    ).cells
    assert (cell.setting.precision, cell.skipped) == ("int8", None)
    assert "here int8, not float32: choose precisions: [int8]" in (other.skipped or "")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("models: [images/]\n", "manifest.json is missing"),
        ("models: [tinny]\n", "unknown model 'tinny'"),
        ("models: [images]\n", "images is not named as a checkpoint or a bundle"),
        ("models: [./tinny]\n", "no such checkpoint or bundle: './tinny'"),
        ("models: [{checkpoint: tiny, exit_blocks: [1]}]\n", "exits after blocks [2]"),
        ("models: [tiny]\nthresholds: [[0.1, 0.2]]\n", "2 thresholds for the model 'tiny'"),
        ("models: [tiny, {checkpoint: ./small.gfbundle, name: tiny}]\n", "called 'tiny'"),
    ],
)
def test_what_is_no_bundle_is_said(text: str, problem: str, plan_in: Callable[[str], Plan]) -> None:
    """With its line, as all of a grid is."""
    with pytest.raises(BadInputError) as caught:
        plan_in(text)
    assert problem in " ".join(str(caught.value).split())


def test_a_damaged_graph_is_found_before_anything_runs(
    folder: Path, plan_in: Callable[[str], Plan]
) -> None:
    """By its digest."""
    (folder / "tiny" / "stage_1.onnx").write_bytes(b"other")
    with pytest.raises(BadInputError, match=r"stage_1\.onnx: its SHA-256"):
        plan_in("models: [tiny]\n")


def test_rules_make_other_models_of_a_bundle(plan_in: Callable[[str], Plan]) -> None:
    """As of a checkpoint: its own rule has the plain name and the bundle's thresholds."""
    plan = plan_in("models: [tiny]\nexit_rules: [gate, margin]\nmeasure: [latency]\n")
    assert [(m.name, m.exit_rule) for m in plan.grid.models] == [
        ("tiny", "gate"),
        ("tiny@margin", "margin"),
    ]
    assert all(isinstance(model, StagedModel) for model in plan.grid.models)
    assert [cell.thresholds for cell in plan.cells] == [(pytest.approx(0.7),), (0.5,)]


def test_a_task_carries_the_bundle_as_a_zip(folder: Path, plan_in: Callable[[str], Plan]) -> None:
    """A folder too; if its digest is another than planned, nothing is sent."""
    plan = plan_in("models: [tiny]\nmeasure: [accuracy]\n")
    task: Task = next(iter(make_blocks(plan, by_device=False)[0].tasks("r", frozenset())))
    sources = Sources.of(plan)
    packed = sources.weights(task)
    assert gfnet.inspect_bundle(packed).digest == task.checkpoint_sha256
    assert (task.graph_precision, task.exit_rule, task.exit_blocks) == ("float32", "gate", (2,))
    bundles.write(folder / "tiny", bundles.files(thresholds=[0.8]))
    with pytest.raises(SourceError, match="tiny has changed since the run was planned"):
        sources.weights(task)
    (folder / "tiny" / "stage_0.onnx").unlink()
    with pytest.raises(SourceError, match=r"stage_0\.onnx is missing"):
        sources.weights(task)
