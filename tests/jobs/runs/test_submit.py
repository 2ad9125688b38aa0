"""Submitting and resuming in this process: from a grid file to rows."""

from __future__ import annotations

import io
import platform
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import storage
from gfnet.runtimes import availability
from jobs.common.errors import BadInputError, RunInterruptedError, UsageError
from jobs.plan.task import Outcome, Task
from jobs.report.terminal.status import status
from jobs.report.terminal.summary import ladder
from jobs.runs import submit as run
from jobs.runs import target as where
from jobs.runs.submit import resume, submit
from jobs.runs.target import Target
from jobs.worker.kinds import ROWS
from jobs.worker.run_task import run_task
from storage.backends import file_lock
from tests.jobs.conftest import SMALL_GRID

INLINE = Target(is_inline=True)

RECORDS = (
    "select * exclude (run_id, forward_ms, elapsed_ms, device_ms, started_at) from records"
    " order by cell_id, round, image_id"
)
EXITS = "select * exclude (run_id) from exits order by cell_id, image_id, exit_block"


def quiet(_text: str) -> None:
    """Narrate to nobody."""


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Give the process its threads back: workers set them."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_grid_becomes_rows(small_grid: Path, tmp_path: Path) -> None:
    """One row per image, round and routed cell; one per image and exit of an all-exit pass."""
    root = tmp_path / "results"
    ended = submit(small_grid, root, INLINE, quiet)
    assert ended.is_done
    assert ended.run_id.startswith("small-")
    counts = storage.query(
        root,
        "select (select count(*) from records) r, (select count(*) from exits) e,"
        " (select count(*) from images) i, (select count(*) from nodes) n",
    ).to_pylist()[0]
    assert counts == {"r": 2 * 2 * 20, "e": 30 * (1 + 3), "i": 450, "n": 1}
    (row,) = storage.list_runs(root)
    assert (row.status, row.name, row.grid) == ("done", "small", small_grid.read_text())
    assert row.finished_at is not None
    ladder = storage.query(root, "from ladder").to_pylist()
    assert [(line["model"], line["threshold"]) for line in ladder] == [
        ("flat", None),
        ("dynn", 0.5),
    ]
    for line in ladder:
        assert sum(line["exit_counts"]) == 30
        assert line["forward_ms"] > 0
        assert line["is_valid"]


def test_the_all_exit_pass_answers_as_the_router_does(ran: Callable[[str], Path]) -> None:
    """Accuracy and exits of the routed images, replayed from `exits`, are those in `records`."""
    flips = storage.query(
        ran(SMALL_GRID),
        """
        with replayed as (
            select image_id, min(exit_block) exit_block, arg_min(prediction, exit_block) prediction
            from exits where model = 'dynn' and (gate_score is null or gate_score >= 0.5::float)
            group by image_id
        )
        select count(*) n, count(*) filter (
            r.exit_block != p.exit_block or r.prediction != p.prediction) flips
        from records r join replayed p using (image_id) where r.model = 'dynn'
        """,
    ).to_pylist()[0]
    assert flips == {"n": 40, "flips": 0}


def test_exit_costs_are_rows_of_a_run(write_grid: Callable, tmp_path: Path) -> None:
    """One an image, round and exit; the cell counts them, and a finished run is left alone."""
    grid = write_grid(
        "models: [flat.safetensors, dynn.safetensors]\ndatasets: [{name: digits, limit: 20}]\n"
        "threads: [1]\nmeasure: [exit_costs]\nlatency: {rounds: 2, warmup_images: 2, images: 6}\n"
    )
    assert submit(grid, tmp_path, INLINE, quiet, "costs").is_done
    cells = storage.query(tmp_path, "from cells").to_pylist()
    assert [(c["kind"], c["model"], c["rows"], c["is_valid"]) for c in cells] == [
        ("exit_costs", "dynn", 6 * 2 * 3, True)
    ]
    keys = storage.query(
        tmp_path, "select count(distinct (round, image_id, exit_block)) n from exit_costs"
    ).to_pylist()
    assert keys == [{"n": 36}]
    assert submit(grid, tmp_path, INLINE, quiet, "costs").is_done


def test_a_profile_is_rows_of_a_run(write_grid: Callable, tmp_path: Path) -> None:
    """One commit of each model; merged once, resumed without running it again."""
    grid = write_grid(
        "models: [flat.safetensors, dynn.safetensors]\ndatasets: [{name: digits, limit: 20}]\n"
        "threads: [1]\nmeasure: [profile]\nlatency: {rounds: 2, warmup_images: 2, images: 6}\n"
    )
    assert submit(grid, tmp_path, INLINE, quiet, "where").is_done
    cells = storage.query(tmp_path, "from cells").to_pylist()
    assert [(c["kind"], c["model"], c["rows"], c["is_valid"]) for c in cells] == [
        ("profile", "flat", 6, True),
        ("profile", "dynn", 6, True),
    ]
    profile = """
        select model, count(*) n, count(distinct (component, block)) parts, max(calls) calls,
            round(sum(share) filter (component != 'profiling'), 9) as share
        from profile join cells using (run_id, cell_id) group by model order by model desc
    """
    rows = [
        {"model": "flat", "n": 3 * 7 + 5, "parts": 26, "calls": 6, "share": 1.0},
        {"model": "dynn", "n": 5 * 7 + 2 * 4 + 5, "parts": 48, "calls": 6, "share": 1.0},
    ]
    assert storage.query(tmp_path, profile).to_pylist() == rows
    text = grid.read_text().replace("rounds: 2", "rounds: 3")
    grid.write_text(text)
    assert submit(grid, tmp_path, INLINE, quiet, "where").is_done
    assert storage.query(tmp_path, profile).to_pylist() == rows
    names = [path.name for path in (tmp_path / "runs" / "where" / "data").iterdir()]
    assert len([name for name in names if name.startswith("profile-merged-")]) == 1


def test_bad_input_runs_and_writes_nothing(write_grid: Callable, tmp_path: Path) -> None:
    """Not even the results root."""
    root = tmp_path / "results"
    grid = write_grid("models: [flat.safetensors]\ndatasets: [digits]\nmeasure: [speed]\n")
    with pytest.raises(BadInputError):
        submit(grid, root, INLINE, quiet)
    excluded = write_grid(
        "models: [flat.safetensors]\ndatasets: [digits]\nexclude: [{model: flat}]\n"
    )
    with pytest.raises(BadInputError, match="leaves nothing to run"):
        submit(excluded, root, INLINE, quiet)
    assert not root.exists()


def test_a_root_that_cannot_be_written(small_grid: Path, tmp_path: Path) -> None:
    """Said before anything runs."""
    (tmp_path / "file").touch()
    with pytest.raises(storage.RootNotWritableError):
        submit(small_grid, tmp_path / "file" / "results", INLINE, quiet)


def cut_off(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Interrupt the run in this process when it has done some tasks."""
    done: list[Task] = []

    def run(task: Task, *rest: object) -> Outcome:
        if len(done) == after:
            raise KeyboardInterrupt
        done.append(task)
        return run_task(task, *rest)

    executor = where.InlineExecutor
    monkeypatch.setattr(where, "InlineExecutor", lambda sources: executor(sources, run))


@pytest.mark.parametrize("after", [0, 1, 3, 5])
def test_a_resumed_run_has_the_rows_of_an_undisturbed_one(
    after: int,
    ran: Callable[[str], Path],
    small_grid: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wherever it was cut off, timings aside, each row once."""
    undisturbed = ran(SMALL_GRID)
    with monkeypatch.context() as patch:
        cut_off(patch, after)
        with pytest.raises(KeyboardInterrupt):
            submit(small_grid, tmp_path / "cut", INLINE, quiet, "r")
    (row,) = storage.list_runs(tmp_path / "cut")
    assert row.status == "interrupted"
    said: list[str] = []
    assert resume(tmp_path / "cut", "r", INLINE, said.append).is_done
    assert f"{6 - after} task{'s' if after < 5 else ''} to go" in said[0]
    for sql in (RECORDS, EXITS):
        whole = storage.query(undisturbed, sql)
        assert whole.num_rows
        assert storage.query(tmp_path / "cut", sql).equals(whole)


def test_a_finished_run_is_left_alone(copy_of: Callable[[str], Path], small_grid: Path) -> None:
    """Neither resume nor submitting it again runs anything."""
    root = copy_of(SMALL_GRID)
    before = storage.query(root, "from commits")
    said: list[str] = []
    assert resume(root, "r", INLINE, said.append).is_done
    assert said == ["run r is done: nothing is missing"]
    assert submit(small_grid, root, INLINE, quiet, "r").is_done
    assert storage.query(root, "from commits").equals(before)


def test_cells_that_another_machine_began_do_not_go_on_here(
    small_grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their rounds would mix; nothing is dropped. Whole cells do not matter."""
    with monkeypatch.context() as patch:
        cut_off(patch, 3)  # two all-exit passes, and one timed task
        patch.setattr("jobs.machine.node_info.node_name", lambda: "board1")
        with pytest.raises(KeyboardInterrupt):
            submit(small_grid, tmp_path, INLINE, quiet, "r")
    words = "of device any on digits began on node board1, and this is .*--address HOST:PORT"
    with pytest.raises(UsageError, match=words):
        resume(tmp_path, "r", INLINE, quiet)
    with pytest.raises(UsageError, match=words):
        submit(small_grid, tmp_path, INLINE, quiet, "r")
    assert len(storage.query(tmp_path, "from commits")) == 3
    with monkeypatch.context() as patch:
        patch.setattr("jobs.machine.node_info.node_name", lambda: "board1")
        patch.setattr(where, "node_name", lambda: "board1")
        assert resume(tmp_path, "r", INLINE, quiet).is_done
    assert submit(small_grid, tmp_path, INLINE, quiet, "r").is_done
    small_grid.write_text(small_grid.read_text().replace("rounds: 2", "rounds: 3"))
    with pytest.raises(UsageError, match=words):
        submit(small_grid, tmp_path, INLINE, quiet, "r")


def test_a_changed_checkpoint_is_not_mixed_in(
    small_grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resume and submit refuse, and show what differs; a gone checkpoint is bad input."""
    with monkeypatch.context() as patch:
        cut_off(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            submit(small_grid, tmp_path, INLINE, quiet, "r")
    flat = small_grid.parent / "flat.safetensors"
    target = flat.resolve()
    flat.unlink()
    flat.symlink_to(target.with_name("distil.safetensors"))
    changed = r"checkpoint of model flat: then sha256 [0-9a-f]{12}, now sha256 [0-9a-f]{12}\n"
    with pytest.raises(UsageError, match=changed):
        resume(tmp_path, "r", INLINE, quiet)
    with pytest.raises(UsageError, match=r"another --run"):
        submit(small_grid, tmp_path, INLINE, quiet, "r")
    flat.unlink()
    with pytest.raises(BadInputError, match="no such checkpoint"):
        resume(tmp_path, "r", INLINE, quiet)
    small_grid.write_text(small_grid.read_text().replace("limit: 30", "limit: 31"))
    flat.symlink_to(target)
    with pytest.raises(UsageError, match="limit of data set digits: then 30, now 31\n"):
        submit(small_grid, tmp_path, INLINE, quiet, "r")


def test_an_undecodable_image_is_named_and_the_others_go_on(
    write_grid: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run is done, its cells say which image is missing, accuracy is of the rest.

    Each command names the image once.
    """
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(4):
            file = io.BytesIO()
            Image.fromarray(np.full((8, 8), 50 * number, np.uint8)).save(file, "PNG")
            (tmp_path / "data" / name / f"{number}.png").write_bytes(file.getvalue())
    (tmp_path / "data" / "b" / "2.png").write_bytes(b"not an image")
    grid = write_grid(
        "models: [dynn.safetensors]\ndatasets: ['imagefolder:data']\nthreads: [1]\n"
        "latency: {warmup_images: 1}\n"
    )
    assert submit(grid, tmp_path / "results", INLINE, quiet).is_done
    cells = storage.query(tmp_path / "results", "select status, rows, note from cells").to_pylist()
    assert [(cell["status"], cell["rows"]) for cell in cells] == [("done", 21), ("done", 21)]
    assert all("b/2.png of data (image_id 6) not decoded: " in cell["note"] for cell in cells)
    assert capsys.readouterr().err.count("1 of 8 images not decoded\n") == 1
    (run,) = storage.list_runs(tmp_path / "results")
    for view in (ladder, status):
        assert view(tmp_path / "results", run.run_id).count("b/2.png") == 1
    (line,) = storage.query(tmp_path / "results", "from ladder").to_pylist()
    assert sum(line["exit_counts"]) == 7
    assert line["dataset"] == "data"
    assert "b/2.png" in line["note"]


@pytest.fixture
def tiny(write_grid: Callable[[str], Path]) -> Path:
    """A grid of one task."""
    return write_grid(
        "name: tiny\nmodels: [flat.safetensors]\ndatasets: [{name: digits, limit: 2}]\n"
        "threads: [1]\nmeasure: [accuracy]\n"
    )


def test_run_names_do_not_collide(tiny: Path, tmp_path: Path) -> None:
    """Two runs in one second, and names that would escape the root."""
    first = submit(tiny, tmp_path, INLINE, quiet).run_id
    second = submit(tiny, tmp_path, INLINE, quiet).run_id
    assert first != second
    with pytest.raises(storage.StorageError):
        submit(tiny, tmp_path, INLINE, quiet, "../escape")
    assert not (tmp_path.parent / "escape").exists()


def test_a_name_that_was_taken_since_the_listing_is_passed_over(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two submits in one second: one made its run, another still makes it; none was named."""
    monkeypatch.setattr("jobs.runs.submit.now", lambda: datetime(2026, 1, 2, 3, 4, 5))  # noqa: DTZ001
    first = submit(tiny, tmp_path, INLINE, quiet).run_id
    making = tmp_path / "runs" / f"{first}-2"
    making.mkdir()
    monkeypatch.setattr("storage.list_runs", lambda _: ())
    with file_lock.FileLease(making):
        assert submit(tiny, tmp_path, INLINE, quiet).run_id == f"{first}-3"
    with pytest.raises(storage.RunExistsError, match="choose another name with --run"):
        submit(tiny, tmp_path, INLINE, quiet, first)


def test_runs_stay_in_order_where_the_clock_is_set_back(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The later run comes after the first for nights, trends and `latest`, and is told of it."""
    root, said = tmp_path / "results", list[str]()
    submit(tiny, root, INLINE, quiet, "z-first")
    (first,) = storage.list_runs(root)
    assert first.submitted_at is not None
    yesterday = first.submitted_at - timedelta(days=1)
    monkeypatch.setattr(run, "now", lambda: yesterday)
    submit(tiny, root, INLINE, said.append, "a-second")
    nights = storage.named_query(root, "nights", run_id="a-second").column("run_id").to_pylist()
    assert list(dict.fromkeys(nights)) == ["z-first", "a-second"]
    assert storage.resolve_run(root, "latest") == "a-second"
    (line,) = [text for text in said if "clock" in text]
    assert f"it is {yesterday:%Y-%m-%d %H:%M:%S} UTC, and run z-first was submitted" in line
    monkeypatch.setattr(run, "now", lambda: first.submitted_at + timedelta(hours=1))
    submit(tiny, root, INLINE, quiet, "third")
    third = next(each for each in storage.list_runs(root) if each.run_id == "third")
    assert third.submitted_at == first.submitted_at + timedelta(hours=1)


def test_one_data_set_with_two_limits_keeps_its_answers_apart(
    write_grid: Callable, tmp_path: Path
) -> None:
    """Each ladder row answers for its own images."""
    grid = write_grid(
        "models: [dynn.safetensors]\nthreads: [1]\nlatency: {rounds: 1, warmup_images: 1}\n"
        "datasets: [{name: digits, limit: 5}, {name: digits, limit: 30}]\n"
    )
    submit(grid, tmp_path / "r", INLINE, quiet)
    ladder = storage.query(tmp_path / "r", "from ladder").to_pylist()
    images = {row["dataset"]: sum(row["exit_counts"]) for row in ladder}
    assert images == {"digits/test@5": 5, "digits/test@30": 30}


def test_cells_know_where_they_ran_after_a_kill(copy_of: Callable[[str], Path]) -> None:
    """Nothing but commits was saved: a resume still says device and node, in one group."""
    root = copy_of(SMALL_GRID)
    with storage.RunStore.open(root, "r") as store:
        store.save_cells(
            [
                replace(cell, device="any", node=None, status="running", attempts=0)
                for cell in store.cells
            ]
        )
        store.save_run(replace(store.run, status="running"))
    assert resume(root, "r", INLINE, quiet).is_done
    cells = storage.query(root, "select distinct device, node, attempts from cells")
    assert cells.to_pylist() == [{"device": "cpu", "node": platform.node(), "attempts": 1}]
    assert storage.query(root, "from ladder").num_rows == 2


def test_a_failed_latency_cell_keeps_its_accuracy(
    small_grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row a model, with the accuracy of the all-exit pass and the reason for no latency."""

    def fail(*_: object) -> None:
        raise RuntimeError("no clock")

    monkeypatch.setitem(ROWS, "latency", fail)
    assert not submit(small_grid, tmp_path, INLINE, quiet).is_done
    ladder = storage.query(tmp_path, "from ladder").to_pylist()
    assert [(row["model"], row["threshold"]) for row in ladder] == [("flat", None), ("dynn", 0.5)]
    for row in ladder:
        assert row["acc1"] is not None
        assert row["forward_ms"] is None
        assert "no clock" in row["note"]


def test_what_this_machine_cannot_run_is_skipped(write_grid: Callable, tmp_path: Path) -> None:
    """The other cells run, the run is done, and the cells say why."""
    grid = write_grid(
        "models: [flat.safetensors]\ndatasets: [{name: digits, limit: 5}]\nmeasure: [accuracy]\n"
        "runtimes: [torch, onnx]\nprecisions: [float32, bfloat16]\nthreads: [1]\n"
    )
    said: list[str] = []
    ended = submit(grid, tmp_path, INLINE, said.append, "r")
    assert ended.is_done
    assert said == [
        "running r: 3 cells, 3 tasks to go",
        "1 cell will be skipped: runtime onnx supports float32, float16 and int8, not\n  bfloat16",
    ]
    rows = storage.query(tmp_path, "select runtime, precision, status, note from cells").to_pylist()
    found = {(row["runtime"], row["precision"]): (row["status"], row["note"]) for row in rows}
    reason = "runtime onnx supports float32, float16 and int8, not bfloat16"
    assert found.pop(("onnx", "bfloat16")) == ("skipped", reason)
    assert set(found.values()) == {("done", None)}
    assert reason in " ".join(status(tmp_path, "r").split())
    answers = storage.query(
        tmp_path, "select distinct image_id, prediction from exits where precision = 'float32'"
    )
    assert answers.num_rows == 5  # both engines answer alike
    held = storage.query(
        tmp_path,
        "select runtime, precision, a.images, max_logit_difference < 1e-4 is_near"
        " from reference_agreement a join cells using (run_id, cell_id) order by all",
    ).to_pylist()
    assert [tuple(row.values())[:3] for row in held] == [
        ("onnx", "float32", 5),
        ("torch", "bfloat16", 5),
    ]
    assert held[0]["is_near"]
    shown = ladder(tmp_path, "r")
    assert re.search(r"onnx +float32", shown)
    assert not re.search(r"onnx +bfloat16", shown.partition("skipped")[0])
    assert "speed-" not in shown, "nothing was timed"
    assert shown.endswith(f"– 1 cell is skipped: {reason}\n".replace("not b", "not\n  b"))


def test_a_run_of_which_nothing_can_run_is_done_and_says_so(
    write_grid: Callable, tmp_path: Path
) -> None:
    """No task, no accuracy, no failure; running it once more changes nothing."""
    grid = write_grid(
        "models: [dynn.safetensors]\ndatasets: [{name: digits, limit: 5}]\n"
        "runtimes: [onnx]\nprecisions: [bfloat16]\nthreads: [1]\n"
    )
    lines = [
        "2 cells will be skipped: runtime onnx supports float32, float16 and int8, not\n  bfloat16"
    ]
    for _ in range(2):
        said: list[str] = []
        assert submit(grid, tmp_path, INLINE, said.append, "r").is_done
        assert said == [*lines, "nothing is left to run"]
        (run,) = storage.list_runs(tmp_path)
        assert run.status == "done"
        cells = storage.query(tmp_path, "select distinct status, attempts, note from cells")
        note = "runtime onnx supports float32, float16 and int8, not bfloat16"
        assert cells.to_pylist() == [{"status": "skipped", "attempts": 0, "note": note}]
    folded = note.replace("not bfloat16", "not\n  bfloat16")
    assert ladder(tmp_path, "r") == (
        f"the ladder is empty: every cell is skipped\n– 2 cells are skipped: {folded}\n"
    )
    assert status(tmp_path, "r").startswith("run r is done: 2 skipped\n")


def test_a_package_that_is_missing_is_the_workers_to_find_out(
    write_grid: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan does not look at what is installed here; once it is there, the cell runs."""
    grid = write_grid(
        "models: [flat.safetensors]\ndatasets: [{name: digits, limit: 5}]\n"
        "measure: [accuracy]\nruntimes: [onnx]\nthreads: [1]\n"
    )
    said: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(availability, "find_spec", lambda _: None)
        assert submit(grid, tmp_path, INLINE, said.append, "r").is_done
    assert said == ["running r: 1 cell, 1 task to go"]
    (cell,) = storage.query(tmp_path, "select status, note, attempts from cells").to_pylist()
    assert (cell["status"], cell["attempts"]) == ("skipped", 1)
    assert "pip install 'gfjobs[onnx]'" in cell["note"]
    assert submit(grid, tmp_path, INLINE, quiet, "r").is_done
    (cell,) = storage.query(tmp_path, "select status, note, rows from cells").to_pylist()
    assert cell == {"status": "done", "note": None, "rows": 5}


def test_rounds_can_be_added_not_taken_away(
    copy_of: Callable[[str], Path], small_grid: Path
) -> None:
    """The same grid with another round runs that round alone; with fewer it is refused."""
    root = copy_of(SMALL_GRID)
    text = small_grid.read_text()
    small_grid.write_text(text.replace("rounds: 2", "rounds: 3"))
    said: list[str] = []
    assert submit(small_grid, root, INLINE, said.append, "r").is_done
    assert said[0] == "run r: 2 cells get more rounds"
    assert "2 tasks to go" in said[1]
    cells = storage.query(root, "select rounds, rows from cells where kind = 'latency'")
    assert cells.to_pylist() == [{"rounds": 3, "rows": 60}] * 2
    assert "rounds: 3" in str(storage.list_runs(root)[0].grid)
    small_grid.write_text(text)
    with pytest.raises(UsageError, match="you can add rounds but not remove them"):
        submit(small_grid, root, INLINE, quiet, "r")


def test_latest_is_no_name(small_grid: Path, tmp_path: Path) -> None:
    """It would hide the newest run; and nothing is no name either."""
    for name in ("latest", ""):
        with pytest.raises((UsageError, storage.StorageError)):
            submit(small_grid, tmp_path / "r", INLINE, quiet, name)
    assert not (tmp_path / "r").exists()


def test_an_interruption_before_the_first_task_names_the_run(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while Ray starts: the run is there, and can be resumed by name."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Target, "executor", interrupt)
        with pytest.raises(RunInterruptedError) as caught:
            submit(tiny, tmp_path, INLINE, quiet)
    assert resume(tmp_path, caught.value.run_id, INLINE, quiet).is_done
