"""A data set of three classes, all of which are in the top 5: acc@5 says nothing of a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import gfnet
import storage
from jobs.report.markdown import markdown_report
from jobs.report.read import read_report
from jobs.report.terminal import summary
from jobs.runs.submit import submit
from jobs.runs.target import Target
from tests.jobs.conftest import SIZES

REASON = "acc@5: with five classes or fewer, every class is in the top 5"
GRID = """\
models: [flat.safetensors, dynn.safetensors]
datasets: [three]
thresholds: [0.5]
threads: [1]
measure: [MEASURE]
latency: {rounds: 1, warmup_images: 1}
"""


@pytest.fixture
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with two models of three classes; the data set `three`."""
    digits = storage.open_images("digits").read(range(12)).to_pylist()
    images = [
        storage.EncodedImage(row["image"], row["path"], number % 3)
        for number, row in enumerate(digits)
    ]
    storage.write_images(tmp_path / "three" / "test.parquet", images, ["a", "b", "c"])
    monkeypatch.setenv(storage.DATA_VARIABLE, str(tmp_path))
    torch.manual_seed(0)
    sizes = SIZES | {"num_classes": 3}
    models = {
        "flat": gfnet.create("gfnet", depth=3, **sizes),
        "dynn": gfnet.create("gfnet-distil-dynn", depth=5, exit_blocks=(1, 3), **sizes),
    }
    for name, model in models.items():
        gfnet.save_checkpoint(model, tmp_path / f"{name}.safetensors")
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


@pytest.mark.parametrize("measure", ["latency", "accuracy"])
def test_acc5_of_three_classes_is_null_with_its_reason(few: Path, measure: str) -> None:
    """In SQL, in the terminal and in the report; acc@1 and loss stay."""
    grid, root = few / "grid.yaml", few / "results"
    grid.write_text(GRID.replace("MEASURE", measure))
    assert submit(grid, root, Target(is_inline=True), lambda _: None, "r").is_done
    rows = storage.query(root, "select acc1, acc5, loss, note from ladder").to_pylist()
    assert len(rows) == 2
    for row in rows:
        assert row["acc5"] is None
        assert row["acc1"] is not None
        assert row["loss"] > 0
        assert REASON in row["note"]
    passes = storage.query(root, "select acc1, acc5 from at_threshold(0.5)").to_pylist()
    assert all(row["acc5"] is None and row["acc1"] is not None for row in passes)
    assert len(passes) == (2 if measure == "accuracy" else 0)
    shown = summary.ladder(root, "r")
    (line,) = [each for each in shown.split("\n\n")[1].splitlines() if each.startswith(" flat")]
    assert line.split()[3:5] == [f"{rows[0]['acc1']:.2f}", "–"]
    assert shown.count(f"– {REASON}\n") == 1
    document = markdown_report(read_report(root, "r"))
    (line,) = [each for each in document.splitlines() if each.startswith("| flat | ")]
    assert line.split(" | ")[2] == f"{rows[0]['acc1']:.2f}"
    assert line.split(" | ")[11] == "–"
    assert f"- {REASON}\n" in document
