"""Runs whose slow device borrows its accuracy: shown, interrupted, resumed, amended, compared."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from click.testing import CliRunner, Result

import storage
from jobs.analysis.comparison.compare import Side, compare
from jobs.analysis.curve import read_curves
from jobs.analysis.regressions.judge import judge
from jobs.analysis.regressions.settings import Settings
from jobs.cli import main
from jobs.common.errors import RunInterruptedError
from jobs.driver.inline_executor import InlineExecutor
from jobs.machine.registration import VARIABLE, Registration, read_registration
from jobs.plan.plan import Plan
from jobs.plan.sources import Sources
from jobs.plan.task import Outcome, Task
from jobs.report.html.explorer import pack_passes
from jobs.report.markdown import markdown_report
from jobs.report.read import read_report
from jobs.report.terminal.curve import draw_curves
from jobs.report.terminal.summary import ladder
from jobs.runs.submit import resume, submit
from jobs.runs.target import Target
from jobs.worker.run_task import run_task

INLINE = Target(is_inline=True)
LAPTOP = Registration("laptop", "cpu", {"fast": (0,), "slow": (0,)})
IMAGES, SAMPLE = 60, 20
EXITS = "select * exclude (run_id) from exits order by all"
BOUND = 100 * (1 - 0.05 ** (1 / SAMPLE))


def text(**axes: object) -> str:
    """A grid that runs at once, with these keys in the place of others."""
    grid = {
        "name": "small",
        "models": ["flat.safetensors", "dynn.safetensors"],
        "datasets": [{"name": "digits", "limit": IMAGES}],
        "devices": ["slow"],
        "thresholds": [0.5],
        "threads": [1],
        "latency": {"rounds": 1, "warmup_images": 3, "images": 4},
        "accuracy": {"borrow": "fast", "sample": SAMPLE},
    }
    return json.dumps({key: value for key, value in (grid | axes).items() if value is not None})


@pytest.fixture(autouse=True)
def _two_devices(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make this machine one of two devices, both of which are its processor."""
    monkeypatch.setenv(VARIABLE, LAPTOP.text())
    read_registration.cache_clear()
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    monkeypatch.undo()
    read_registration.cache_clear()


@pytest.fixture
def run_tasks(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Outcome]], None]:
    """Let tasks run as told."""

    def running(run: Callable[..., Outcome]) -> None:
        def executor(_: Target, plan: Plan) -> InlineExecutor:
            return InlineExecutor(Sources.of(plan), run)

        monkeypatch.setattr(Target, "executor", executor)

    return running


def flipping(task: Task, *inputs: Any) -> Outcome:
    """Run a task; on the slow device images 0, 10, 20, ... are answered the other way round."""
    outcome = run_task(task, *inputs)
    if (task.kind, task.device) != ("exits", "slow"):
        return outcome
    rows = outcome.tables["exits"]
    right = [
        is_correct is (image % 10 != 0)
        for image, is_correct in zip(
            rows["image_id"].to_pylist(), rows["is_correct"].to_pylist(), strict=True
        )
    ]
    place = rows.schema.get_field_index("is_correct")
    changed = rows.set_column(place, rows.schema.field(place), pa.array(right))
    return replace(outcome, tables={**outcome.tables, "exits": changed})


def made(grid: Path, root: Path, run_id: str = "r") -> Path:
    """Submit a grid, which must get done."""
    assert submit(grid, root, INLINE, lambda _: None, run_id).is_done
    return root


def slow_rows(root: Path, model: str = "dynn") -> list[dict[str, Any]]:
    """Read the ladder of the slow device."""
    sql = f"from ladder where device = 'slow' and model = '{model}'"
    rows: list[dict[str, Any]] = storage.query(root, sql).to_pylist()
    return rows


def gfjobs(*words: object) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(main, [*map(str, words)])


def test_a_sample_without_a_flip_bounds_what_is_borrowed(
    write_grid: Callable, tmp_path: Path
) -> None:
    """Both devices are the same processor: 0 of 20 images differ."""
    root = made(write_grid(text()), tmp_path / "results")
    (row,) = slow_rows(root)
    (lender,) = storage.query(
        root, "from at_threshold(0.5) where device = 'fast' and model = 'dynn'"
    ).to_pylist()
    assert (row["acc1"], row["mean_blocks"]) == (lender["acc1"], lender["mean_blocks"])
    assert row["accuracy_from"] == "fast"
    assert row["acc1_bound_points"] == pytest.approx(BOUND)
    assert row["mean_blocks_bound"] == pytest.approx(BOUND / 100 * 3)
    assert "borrowed from fast, within 14 points (95 %: 0 of 20 images differ)" in row["note"]
    rows = storage.query(
        root,
        "select device, count(distinct image_id) images from exits group by device order by device",
    )
    assert rows.to_pylist() == [
        {"device": "fast", "images": IMAGES},
        {"device": "slow", "images": SAMPLE},
    ]


def test_each_place_says_that_it_is_borrowed(
    write_grid: Callable, tmp_path: Path, run_tasks: Callable
) -> None:
    """Terminal, curve, report, Markdown and chosen thresholds; in 80 columns."""
    run_tasks(flipping)
    root = made(write_grid(text(devices=["slow", "fast"])), tmp_path / "results")
    (row,) = slow_rows(root)
    shown = f"{row['acc1']:.2f} ±"
    assert 0 < row["acc1_bound_points"] < 100
    said = ladder(root, "r")
    assert shown in said
    assert said.count("borrowed") >= 3
    assert max(map(len, said.splitlines())) <= 80
    drawn = "\n".join(map(draw_curves, read_curves(root, "r")))
    assert " borrowed" in drawn
    assert "borrowed from fast; ±" in " ".join(drawn.split())
    assert max(map(len, drawn.splitlines())) <= 80
    report = markdown_report(read_report(root, "r"))
    assert f"| {shown}" in report
    assert "accuracy and blocks are borrowed from fast" in report
    packed, _ = pack_passes(read_report(root, "r").passes)
    notes = {"borrowed from fast" in values["name"]: values["acc1_note"] for values in packed}
    assert notes[False] is None
    assert notes[True].startswith("accuracy and blocks are those of fast; how far")
    chosen = gfjobs(
        "choose", "r", "--results", root, "--device", "slow", "--max-blocks", "4", "--bands", "2"
    )
    assert chosen.exit_code == 0, chosen.output
    assert "accuracy borrowed from fast" in " ".join(chosen.output.split())
    assert "accuracy and exits are borrowed from fast: acc@1" in " ".join(chosen.output.split())
    refused = gfjobs(
        "choose", "r", "--results", root, "--device", "slow", "--max-blocks", "4",
        "--confidence", "0.9",
    )  # fmt: skip
    assert refused.exit_code == 2
    assert "slow borrows its accuracy from fast" in " ".join(refused.output.split())
    classes = gfjobs("summary", "r", "--results", root, "--classes")
    assert "accuracy borrowed from fast" in " ".join(classes.output.split())


def test_rules_are_judged_by_own_answers_alone(
    write_grid: Callable, tmp_path: Path, run_tasks: Callable
) -> None:
    """By those of the lender; that the other has none is said, and no figure of it is there."""
    run_tasks(flipping)
    root = made(write_grid(text()), tmp_path / "results")
    figure = tmp_path / "rules.svg"
    shown = gfjobs("curve", "r", "--rules", "--results", root, "-o", figure)
    assert shown.exit_code == 0, shown.output
    assert "dynn, digits on fast" in shown.stdout
    assert "slow" not in shown.stdout
    assert shown.stdout.count("paired bootstrap") == 1
    reason = "exit rules of dynn: not compared: slow borrows its answers from fast"
    assert reason in " ".join(shown.stderr.split())
    lines = shown.output.replace(str(figure), "rules.svg").splitlines()
    assert max(map(len, lines)) <= 80
    assert "slow" not in figure.read_text(encoding="utf-8")
    report = read_report(root, "r")
    assert [each.cell["device"] for each in report.passes if each.rules] == ["fast"]
    assert reason in markdown_report(report)


@pytest.mark.parametrize("tasks", [1, 2, 3, 4, 5])
def test_an_interrupted_run_is_resumed(
    tasks: int, write_grid: Callable, tmp_path: Path, run_tasks: Callable
) -> None:
    """After any task: the rows are those of a run that nobody interrupted."""
    left = tasks

    def interrupting(task: Task, *inputs: Any) -> Outcome:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return run_task(task, *inputs)

    grid = write_grid(text())
    whole = storage.query(made(grid, tmp_path / "whole"), EXITS)
    run_tasks(interrupting)
    root = tmp_path / "results"
    with pytest.raises(RunInterruptedError):
        submit(grid, root, INLINE, lambda _: None, "r")
    for row in slow_rows(root):  # never a figure without its bound
        assert row["accuracy_from"] is None or row["acc1_bound_points"] is not None
    run_tasks(run_task)
    assert resume(root, "r", INLINE, lambda _: None).is_done
    assert storage.query(root, EXITS).equals(whole)
    assert slow_rows(root)[0]["accuracy_from"] == "fast"


def test_a_lender_that_fails_lends_nothing_until_it_is_resumed(
    write_grid: Callable, tmp_path: Path, run_tasks: Callable
) -> None:
    """The reason stands in the ladder; the sample stays."""

    def failing(task: Task, *inputs: Any) -> Outcome:
        if task.device == "fast":
            return Outcome({}, None, error="Traceback\nOSError: the link is down")
        return run_task(task, *inputs)

    run_tasks(failing)
    root = tmp_path / "results"
    assert not submit(write_grid(text()), root, INLINE, lambda _: None, "r").is_done
    (row,) = slow_rows(root)
    assert (row["acc1"], row["accuracy_from"]) == (None, None)
    assert (
        "accuracy: not borrowed: fast has not answered all images (its cell is failed: OSError: the"
        " link is down)"
    ) in row["note"]
    commits = storage.query(root, "from commits where node = 'laptop' order by all").to_pylist()
    run_tasks(run_task)
    assert resume(root, "r", INLINE, lambda _: None).is_done
    assert slow_rows(root)[0]["acc1_bound_points"] == pytest.approx(BOUND)
    after = storage.query(root, "from commits order by all").to_pylist()
    assert [row for row in after if row in commits] == commits


def test_a_sample_can_grow_and_measured_answers_take_its_place(
    write_grid: Callable, tmp_path: Path
) -> None:
    """Of the same run: nothing is answered twice that is still asked for."""
    root = made(write_grid(text()), tmp_path / "results")
    made(write_grid(text(accuracy={"borrow": "fast", "sample": 40})), root)
    (row,) = slow_rows(root)
    assert "0 of 40 images differ" in row["note"]
    lent = storage.query(
        root,
        "select count(*) rows from commits join cells using (cell_id)"
        " where kind = 'exits' and device = 'fast'",
    )
    assert lent["rows"].to_pylist() == [2]
    made(write_grid(text(accuracy=None)), root)
    (row,) = slow_rows(root)
    assert (row["accuracy_from"], row["acc1_bound_points"]) == (None, None)
    assert "borrowed" not in row["note"]


def test_a_run_that_measured_can_borrow_later_and_keeps_what_it_has(
    write_grid: Callable, tmp_path: Path
) -> None:
    """A finished pass is better than a sample; a model that is new borrows."""
    grid = text(accuracy=None, models=["flat.safetensors"])
    root = made(write_grid(grid), tmp_path / "results")
    made(write_grid(text()), root)
    assert [row["accuracy_from"] for row in slow_rows(root, "flat")] == [None]
    assert [row["accuracy_from"] for row in slow_rows(root)] == ["fast"]


def test_a_resumed_run_keeps_the_devices_of_one_machine(
    write_grid: Callable, tmp_path: Path
) -> None:
    """Its node's row names one of them, which is not that of every cell."""
    grid = text(accuracy=None, models=["dynn.safetensors"], devices=["slow", "fast"])
    root = made(write_grid(grid), tmp_path / "results")
    sql = "select cell_id, device from cells order by position"
    before = storage.query(root, sql).to_pylist()
    assert [row["device"] for row in before] == ["slow", "slow", "fast", "fast"]
    made(write_grid(grid.replace("[0.5]", "[0.5, 0.25]")), root)
    after = storage.query(root, sql).to_pylist()
    assert [row for row in after if row in before] == before
    assert [row["device"] for row in after] == 3 * ["slow"] + 3 * ["fast"]


def test_a_comparison_and_a_judge_leave_borrowed_answers_out(
    write_grid: Callable, tmp_path: Path
) -> None:
    """With the reason; the lender's own are compared and judged."""
    root, grid = tmp_path / "results", write_grid(text(models=["dynn.safetensors"]))
    for run_id in ("first", "second"):
        made(grid, root, run_id)
    compared = compare(root, Side("first"), Side("second"))
    reasons = {(row.device, row.figure): row.reason for row in compared.rows}
    for figure in ("accuracy", "exits"):
        assert reasons["slow", figure] == (
            "the first borrows its accuracy from fast: the cells of that device are compared"
        )
    assert reasons["fast", "accuracy"] is None
    judged = judge(root, "second", Settings())
    devices = {row.device for row in judged.rows if row.metric == "accuracy"}
    assert devices == {"fast"}


def test_a_choice_by_the_response_uses_what_is_borrowed(
    write_grid: Callable, tmp_path: Path
) -> None:
    """Measured or simulated, with the bound of the chosen one; not the accuracy of the sample."""
    grid = text(
        measure=["accuracy", "latency", "exit_costs", "serving"],
        serving={"arrivals": [400], "seconds": 2},
    )
    root = made(write_grid(grid), tmp_path / "results")
    served = storage.query(root, "from served").to_pylist()
    assert all(row["p99_ms"] is not None or row["is_overloaded"] for row in served)
    own = {row["model"]: row["acc1"] for row in storage.query(root, "from ladder").to_pylist()}
    for rate, how in ((400, "as measured"), (0.1, "simulated from")):
        for model in ("flat", "dynn"):
            shown = gfjobs(
                *("choose", "r", "--results", root, "--max-p99-ms", 9999, "--at", rate),
                *("--model", model),
            )
            said = " ".join(shown.output.split())
            if "all are overloaded" in said and rate == 400:
                continue  # this machine is slow now
            assert shown.exit_code == 0, shown.output
            assert how in said
            assert f"±{math.ceil(100 * BOUND) / 100:.2f} borrowed" in said
            assert "accuracy is borrowed from fast" in said
            if rate == 400:
                assert f"acc@1 {own[model]:.2f} ±" in said
    rates = gfjobs("choose", "r", "--results", root, "--max-p99-ms", 9999)
    assert "accuracy is borrowed from fast" in rates.output
    assert f"{own['flat']:.2f}" in rates.output


def test_a_lender_that_is_not_timed_says_why(write_grid: Callable, tmp_path: Path) -> None:
    """The grid measures latency, though not there."""
    root = made(write_grid(text()), tmp_path / "results")
    said = " ".join(ladder(root, "r").split())
    assert "dynn: at full depth, since no image was routed there; `gfjobs curve`" in said
    assert "has no latency" not in said
