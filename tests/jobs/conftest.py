"""A ladder of small random models, grids over it, and what many tests read: runs and reports."""

from __future__ import annotations

import functools
import os
import shutil
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision.transforms.v2  # noqa: F401 (seconds, which else the first test takes that needs it)
from support import driving
from support.worker import GRID, Bench

import gfnet
import storage
from jobs.common.errors import RunInterruptedError
from jobs.common.yaml_document import Document
from jobs.driver.cell_states import queued_rows
from jobs.grid.grid import Grid
from jobs.grid.reader import read_grid
from jobs.plan.plan import Plan, make_plan
from jobs.plan.task import Outcome, Task
from jobs.report.read import Report, read_report
from jobs.runs.submit import submit
from jobs.runs.target import Target
from jobs.worker import run_task

SIZES = {"img_size": 8, "patch_size": 2, "embed_dim": 6, "num_classes": 10}


@pytest.fixture(scope="module", autouse=True)
def _unsynced() -> Iterator[None]:
    """Skip fsync: it guards against power cuts, which no test makes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with flat.safetensors, distil.safetensors and dynn.safetensors."""
    folder = tmp_path_factory.mktemp("ladder")
    torch.manual_seed(0)
    models = {
        "flat": gfnet.create("gfnet", depth=3, **SIZES),
        "distil": gfnet.create("gfnet-distil", depth=4, **SIZES),
        "dynn": gfnet.create("gfnet-distil-dynn", depth=5, exit_blocks=(1, 3), **SIZES),
    }
    for name, model in models.items():
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.6)
        gfnet.save_checkpoint(model, folder / f"{name}.safetensors")
    return folder


@pytest.fixture(scope="session")
def shown_root(made_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root to read: the run `made`, and `low` a day later, which took less power than idling."""
    root = made_run(tmp_path_factory.mktemp("shown") / "results")
    return made_run(root, "low", day=25, active_mw=4900.0)


@pytest.fixture(scope="session")
def report_of(shown_root: Path) -> Callable[[str], Report]:
    """The report of one of its runs, to read: each takes seconds of queries, and is made once."""
    return functools.cache(lambda run_id: read_report(shown_root, run_id))


def write_beside(ladder: Path, folder: Path, text: str) -> Path:
    """Write a grid file into a folder, with links to the ladder's checkpoints."""
    for checkpoint in ladder.iterdir():
        link = folder / checkpoint.name
        if not link.exists():
            link.symlink_to(checkpoint)
    path = folder / "grid.yaml"
    path.write_text(textwrap.dedent(text))
    return path


@pytest.fixture
def write_grid(ladder: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Write a grid file beside links to the ladder's checkpoints."""
    return functools.partial(write_beside, ladder, tmp_path)


@pytest.fixture(scope="session")
def ran(ladder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A results root with the run `r` of a grid, to read: it runs once in this process.

    Whoever writes into it, or resumes it, takes a copy.
    """

    @functools.cache
    def run_once(text: str) -> Path:
        folder, threads = tmp_path_factory.mktemp("ran"), torch.get_num_threads()
        grid = write_beside(ladder, folder, text)
        ended = submit(grid, folder / "results", Target(is_inline=True), lambda _: None, "r")
        torch.set_num_threads(threads)
        assert ended.is_done
        return folder / "results"

    return run_once


@pytest.fixture
def copy_of(ran: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """The same, as a copy of the test's own."""
    return lambda text: Path(shutil.copytree(ran(text), tmp_path / "results"))


@pytest.fixture
def cut_before(
    small_grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Path]:
    """Make a results root with the run `cut`, stopped when a model of the small grid is timed."""
    run, root = run_task.run_task, tmp_path / "results"

    def cut(model: str) -> Path:
        def stopping(task: Task, *inputs: Any) -> Outcome:
            if (task.kind, task.model) == ("latency", model):
                raise KeyboardInterrupt
            return run(task, *inputs)

        with monkeypatch.context() as patch:
            patch.setattr(run_task, "run_task", stopping)
            with pytest.raises(RunInterruptedError):
                submit(small_grid, root, Target(is_inline=True), lambda _: None, "cut")
        return root

    return cut


SMALL_GRID = """\
name: small
models: [flat.safetensors, dynn.safetensors]
datasets: [{name: digits, limit: 30}]
thresholds: [0.5, {start: 0.0, stop: 1.0, num: 11}]
threads: [1]
latency: {rounds: 2, warmup_images: 3, images: 20}
"""


@pytest.fixture
def small_grid(write_grid: Callable[[str], Path]) -> Path:
    """A grid that runs in a second: 22 points, 4 cells, 6 tasks, 160 rows."""
    return write_grid(SMALL_GRID)


@pytest.fixture
def read() -> Callable[[Path], Grid]:
    """Read a grid file for this machine."""

    def read_file(path: Path) -> Grid:
        return read_grid(Document.read(path), ("any", "cpu", "jetson"), path.parent)

    return read_file


@pytest.fixture
def plan_of(
    read: Callable[[Path], Grid], write_grid: Callable[[str], Path]
) -> Callable[[str], Plan]:
    """Plan the text of a grid."""
    return lambda text: make_plan(read(write_grid(text)))


@pytest.fixture
def store(tmp_path: Path, small_grid: Path, read: Callable[[Path], Grid]) -> Iterator[Store]:
    """A run of the small grid of which nothing has run yet."""
    plan = make_plan(read(small_grid))
    run = storage.RunRow(run_id="r", name="small")
    rows = queued_rows(plan, "r")
    with storage.RunStore.create(tmp_path / "results", run, rows, {}) as opened:
        yield Store(opened, plan)


class Store:
    """An open run and its plan."""

    def __init__(self, run: storage.RunStore, plan: Plan) -> None:
        self.run = run
        self.plan = plan


@pytest.fixture
def bench(plan_of: Callable[[str], Plan]) -> Iterator[Bench]:
    """A fresh worker and its tasks."""
    run_task._models.clear()
    before = torch.get_num_threads()
    with torch.no_grad():
        yield Bench(plan_of(GRID))
    torch.set_num_threads(before)


@pytest.fixture
def run(tmp_path: Path, plan_of: Callable[[str], Plan]) -> Iterator[driving.Run]:
    """A run of `driving.GRID` of which nothing has run."""
    plan = plan_of(driving.GRID)
    row = storage.RunRow(run_id="r", name="small")
    root = tmp_path / "results"
    with storage.RunStore.create(root, row, queued_rows(plan, "r"), {}) as store:
        yield driving.Run(root, store, plan)
