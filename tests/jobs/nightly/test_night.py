"""One night, for real and in this process: run, judged, written down; cut short, gone on with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import storage
from jobs.analysis.regressions.judge import NightVerdict
from jobs.common.errors import RunInterruptedError
from jobs.driver.driver import Driver
from jobs.nightly import night as night_module
from jobs.nightly.ledger import Ledger
from jobs.nightly.night import run_night
from jobs.nightly.records import Entry, Night

from .conftest import AUTUMN

GRID = """\
name: ladder
models: [digits-dynn]
datasets: [{name: digits, limit: 10}]
thresholds: [0.5]
threads: [1]
latency: {rounds: 2, warmup_images: 2, images: 10}
"""
Runner = Callable[..., Night]


@pytest.fixture
def run(ledger: Ledger, entry: Entry, write: Callable[..., Path]) -> Runner:
    """Run the night of a day, with more in the schedule."""
    write(GRID, "grid.yaml")

    def run_one(more: str = "", day: int = 21, text: str = entry.text) -> Night:
        due = AUTUMN.replace(day=day)
        if due not in ledger.due_times("nightly", AUTUMN.replace(day=1)):
            ledger.begin(replace(entry, text=text + more), due, f"n{day}", due)
        (night,) = ledger.running()
        return run_night(ledger, night, lambda _: None, lambda: due)

    return run_one


def runs(folder: Path) -> list[tuple[str, str]]:
    """Under a results root."""
    return [(run.run_id, run.status) for run in storage.list_runs(folder)]


def test_a_first_night_is_learning(run: Runner, tmp_path: Path) -> None:
    """Run, judged, in the table; nobody is told."""
    night = run("notify: {command: [./tell]}\n")
    assert (night.state, night.is_news, night.tell_at) == ("learning", False, None)
    assert "digits-dynn" in (night.found or "")
    rows = storage.query(tmp_path / "results", "FROM regressions").to_pylist()
    assert {row["verdict"] for row in rows} == {"learning"}
    assert run("notify: {command: [./tell], always: true}\n", day=22).tell_at is not None
    assert runs(tmp_path / "results") == [("n22", "done"), ("n21", "done")]


def test_cut_short_it_goes_on(
    run: Runner, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the run and in the verdict; there is one run, with each row once."""
    settle, judge = Driver._settle, night_module.judge

    def stop(driver: Driver, *, is_idle: bool) -> None:
        settle(driver, is_idle=is_idle)
        raise KeyboardInterrupt

    monkeypatch.setattr(Driver, "_settle", stop)
    with pytest.raises(RunInterruptedError):
        run()
    monkeypatch.undo()
    (night,) = ledger.running()
    assert runs(tmp_path / "results") == [("n21", "interrupted")]

    def die(*_: Any) -> NightVerdict:
        raise KeyboardInterrupt

    monkeypatch.setattr(night_module, "judge", die)
    with pytest.raises(KeyboardInterrupt):
        run()
    monkeypatch.setattr(night_module, "judge", judge)
    assert run().night_id == night.night_id
    assert runs(tmp_path / "results") == [("n21", "done")]
    images = storage.query(
        tmp_path / "results", "SELECT round, count(*) n FROM records GROUP BY round"
    )
    assert [row["n"] for row in images.to_pylist()] == [10, 10]


def test_a_cancelled_night_has_failed(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody wanted it to end: it does not go on."""

    def cancelled(_driver: Driver, **_: bool) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Driver, "_settle", cancelled)
    with pytest.raises(RunInterruptedError):
        run()
    monkeypatch.undo()
    from jobs.runs.cancel import cancel

    cancel(tmp_path / "results", "n21", lambda _: None)
    night = run()
    assert (night.state, night.note) == ("failed", "run n21 was cancelled")


@pytest.mark.parametrize("looks", [2, 10**9])
def test_a_lease_that_outlives_its_process(
    looks: int, run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on an object store: it is waited for, but not for ever."""
    monkeypatch.setattr(night_module, "LEASE_POLL_S", 0.001)
    monkeypatch.setattr(night_module, "LEASE_S", 60.0 if looks == 2 else 0.01)
    (tmp_path / "results").mkdir()
    left = iter(range(looks))

    def is_locked(_root: Any, _run_id: str) -> bool:
        return next(left, None) is not None

    monkeypatch.setattr(storage, "is_locked", is_locked)
    assert run().state == "learning"
    assert (next(left, None) is None) == (looks == 2)


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        (None, "there is no such file"),
        ("models: [", "not YAML"),
        (GRID.replace("digits-dynn", "gone.safetensors"), "gone.safetensors"),
        (GRID + "devices: [tpu-9]\n", "unknown device 'tpu-9'"),
    ],
)
def test_a_grid_that_has_become_invalid(
    grid: str | None, words: str, run: Runner, tmp_path: Path
) -> None:
    """The night is invalid, with the message; nothing was written."""
    (tmp_path / "grid.yaml").unlink()
    if grid is not None:
        (tmp_path / "grid.yaml").write_text(grid)
    night = run("notify: {command: [./tell]}\n")
    assert night.state == "invalid"
    assert words in (night.note or "")
    assert night.is_news
    assert night.tell_at is not None
    assert not (tmp_path / "results").exists()


def test_a_schedule_that_this_version_cannot_read(run: Runner) -> None:
    """The night is invalid."""
    night = run("later: 1\n")
    assert night.state == "invalid"
    assert "unknown key" in (night.note or "")


def test_a_night_without_a_row_is_empty(run: Runner, tmp_path: Path) -> None:
    """All its cells can run nowhere."""
    grid = f"{GRID}runtimes: [onnx]\nprecisions: [bfloat16]\nmeasure: [latency]\n"
    (tmp_path / "grid.yaml").write_text(grid)
    night = run()
    assert (night.state, night.note) == ("empty", "no cell produced a row")


def test_failed_cells(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """The night has failed, and says how many and where to look."""

    def broken(*_: Any) -> Any:
        raise ValueError("broken model")

    monkeypatch.setattr("jobs.worker.run_task._load", broken)
    night = run()
    assert night.state == "failed"
    assert night.note == "2 of 2 cells failed: see `gfjobs status n21`"


def test_a_baseline_that_is_gone(run: Runner) -> None:
    """There is nothing to compare with: the night is invalid."""
    night = run("judge: {baseline: gone}\n")
    assert night.state == "invalid"
    assert "baseline gone is not a finished run" in (night.note or "")


def test_no_cluster_at_its_address(run: Runner, tmp_path: Path) -> None:
    """The night has failed: it was in order, and nobody ran it."""
    night = run(text="grid: grid.yaml\ncron: 0 2 * * *\naddress: 127.0.0.1:9\n")
    assert night.state == "failed"
    assert "no Ray cluster answers" in (night.note or "")
    assert not (tmp_path / "results" / "runs").exists()


def test_a_report_that_cannot_be_written(run: Runner, tmp_path: Path) -> None:
    """The night is not in order, and keeps its verdict."""
    (tmp_path / "reports").touch()
    night = run("report: reports\n")
    assert night.state == "failed"
    assert "no report: " in (night.note or "")
    assert "digits-dynn" in (night.found or "")


def test_the_site_is_made_after_each_night(run: Runner, tmp_path: Path) -> None:
    """Of all runs so far, in a folder that is made."""
    assert run("site: pages/site\n").note == run("site: pages/site\n", day=22).note
    for name in ("index.html", "runs/n21.html", "runs/n22.html"):
        assert (tmp_path / "pages" / "site" / name).is_file(), name


@pytest.mark.parametrize("day", [21, 22])
def test_a_site_that_cannot_be_made(run: Runner, tmp_path: Path, day: int) -> None:
    """The night is what it is; why there is no site is told, once a night."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "letter.txt").touch()
    night = run("site: site\nnotify: {command: [./tell]}\n", day=day)
    assert night.state == "learning"
    assert "no site: " in (night.note or "")
    assert "letter.txt" in (night.note or "")
    assert night.is_news
    assert night.tell_at is not None


def test_a_site_is_made_of_a_night_that_failed_too(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even an error of ours in it ends no night."""
    from jobs.report.site import build

    def fail(*_: Any, **__: Any) -> None:
        raise KeyError("column")

    monkeypatch.setattr(build, "build_site", fail)
    assert run("site: site\n").note == "KeyError"
