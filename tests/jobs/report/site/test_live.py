"""Runs are followed by what lies under the root; the site is rebuilt as often as it is worth it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.leaks import no_thread_left

import storage
from jobs.report.site import live
from jobs.report.site.live import (
    REBUILD_S,
    RECHECK_S,
    Follower,
    RootState,
    RunProgress,
    read_root_state,
)
from jobs.runs.watch import RunCounts
from storage import CellStatus


def state(**runs: str | tuple[object, ...]) -> RootState:
    """A root with runs of such a status, or with more in their state."""
    known = {name: each if isinstance(each, tuple) else (each,) for name, each in runs.items()}
    counts = RunCounts(1, 4, 1000, 4000)
    running = [RunProgress(name, counts, 65.0) for name, each in known.items() if "running" in each]
    return RootState(known, running)


class Played:
    """A follower whose clock, root and builds are the test's."""

    def __init__(self) -> None:
        self.now_s, self.takes_s = 0.0, 0.0
        self.root = state(old="done")
        self.builds = 0
        self.problem: Exception | None = None
        self.said: list[str] = []
        self.follower = Follower(
            "nowhere",
            self._build,
            self.said.append,
            built=self.root,
            look=self._look,
            clock=lambda: self.now_s,
        )
        self.unreadable: storage.StorageError | None = None

    def _look(self, _root: storage.Root) -> RootState:
        if self.unreadable:
            raise self.unreadable
        return self.root

    def _build(self, say: Callable[[str], None]) -> None:
        say("a page")
        self.builds += 1
        self.now_s += self.takes_s
        if self.problem:
            raise self.problem

    def look(self, after_s: float, root: RootState | None = None) -> int:
        """Look after a while, and wait for a build; returns how many there were in all."""
        self.now_s += after_s
        self.root = root or self.root
        self.follower.look()
        if self.follower._builder:
            self.follower._builder.join(30)
        return self.builds


@pytest.fixture
def played() -> Played:
    """One of a root with a run that is done."""
    return Played()


def test_a_change_is_built_after_a_rest(played: Played) -> None:
    """Of five seconds, or of four times what the last build took."""
    assert played.look(1) == 0
    assert played.look(0, state(old="done", new=("running", 0))) == 1, "a run has begun"
    assert played.look(1, state(old="done", new=("running", 1))) == 1
    assert played.look(REBUILD_S) == 2
    assert played.look(100) == 2, "nothing has changed"
    played.takes_s = 10.0
    assert played.look(0, state(old="done", new=("running", 2))) == 3
    assert played.look(39, state(old="done", new=("running", 3))) == 3
    assert played.look(2) == 4
    assert played.follower.version == 5


def test_an_end_is_built_at_once(played: Played) -> None:
    """Whenever the last build was."""
    played.look(0, state(old="done", new=("running", 0)))
    played.takes_s = 10.0
    played.look(REBUILD_S, state(old="done", new=("running", 1)))
    assert played.look(2, state(old="done", new="done")) == 3


def test_verdicts_are_looked_for_now_and_then(played: Played) -> None:
    """A build finds out; not while a run is timed."""
    assert played.look(RECHECK_S) == 0
    assert played.look(REBUILD_S) == 1
    assert played.look(RECHECK_S) == 1
    assert played.look(REBUILD_S) == 2
    played.look(0, state(old="done", new=("running", 0)))
    assert played.look(10 * RECHECK_S) == 3


def test_a_build_that_fails(played: Played) -> None:
    """Is said once, and shown until one succeeds; the version stays."""
    played.problem = ValueError("no \x1b[31mdisk")
    for number in range(1, 4):
        played.look(REBUILD_S, state(old=("done", number)))
    assert played.builds == 3
    assert played.follower.error == "no \\x1b[31mdisk"
    assert played.said == [
        "the site could not be rebuilt, the earlier pages remain: no \\x1b[31mdisk"
    ]
    assert played.follower.version == 1
    played.problem = None
    played.look(REBUILD_S, state(old=("done", 4)))
    assert (played.follower.error, played.follower.version) == (None, 2)


def test_a_root_that_cannot_be_read_for_a_while(played: Played) -> None:
    """What was known is kept; nothing is built."""
    played.unreadable = storage.StorageError("the network is away")
    played.look(100)
    assert (played.builds, played.follower.state.error) == (0, "the network is away")
    assert played.follower.state.runs == state(old="done").runs
    played.unreadable = None
    played.look(0)
    assert played.follower.state.error is None


def test_never_two_builds_at_once_and_none_after_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A build that goes on while runs change is the only one; the end cuts it short."""
    monkeypatch.setattr(live, "LOOK_S", 0.01)
    began, looks, at_once = threading.Event(), threading.Semaphore(0), [0, 0]

    def look(_root: storage.Root) -> RootState:
        looks.release()
        return state(**{f"r{looks._value}": "done"})

    def build(say: Callable[[str], None]) -> None:
        at_once[0] += 1
        at_once[1] = max(at_once)
        began.set()
        while True:
            say("one more page")

    following = Follower("nowhere", build, lambda _: None, built=state(), look=look)
    with no_thread_left(), following:
        assert began.wait(30)
        for _ in range(10):
            assert looks.acquire(timeout=30)
    assert at_once == [1, 1]


def test_progress_as_a_page_shows_it() -> None:
    """Numbers for the bar, a text for the reader."""
    (progress,) = state(new="running").running
    assert progress.shown() == {
        "run": "new",
        "ended": 1,
        "cells": 4,
        "committed": 1000,
        "asked": 4000,
        "text": "1 of 4 cells, 1,000 of 4,000 images, about 1:05 min left",
    }
    progress = replace(progress, is_at_most=True)
    assert progress.shown()["text"].endswith("images, at most 1:05 min left")


@pytest.fixture
def root(made_run: Callable[..., Path], tmp_path: Path) -> Iterator[Path]:
    """A root with a run that is done, and one that goes on during the test."""
    folder = made_run(tmp_path / "results")
    cells = [
        storage.CellRow("new", "c", kind="latency", images=10, rounds=2, rows=5, status="running"),
        storage.CellRow("new", "d", kind="latency", images=10, rounds=2, status="skipped"),
    ]
    run = storage.RunRow("new", "n")
    with storage.RunStore.create(folder, run, cells, {"grid_path": "g.yaml", "base": "/"}):
        yield folder


def test_what_lies_under_a_root(root: Path) -> None:
    """The state of each run, the progress of those that run; no folder is no run."""
    found = read_root_state(root)
    assert {name: each[0] for name, each in found.runs.items()} == {
        "made": "done",
        "new": "running",
    }
    (progress,) = found.running
    assert progress.counts == RunCounts(0, 1, 5, 20)
    assert not progress.is_at_most
    assert read_root_state(root.with_name("none")) == RootState()


@pytest.mark.parametrize(
    ("status", "expected"), [("running", True), ("queued", True), ("done", False)]
)
def test_rounds_that_may_end_earlier_make_the_time_the_longest(
    tmp_path: Path, status: CellStatus, *, expected: bool
) -> None:
    """As long as a cell with `until` has not ended."""
    cells = [
        storage.CellRow("new", "c", images=10, rounds=8, rows=5, until_pct=1.0, status=status),
        storage.CellRow("new", "d", images=10, rounds=2, status="queued"),
    ]
    folder = tmp_path / "results"
    inputs = {"grid_path": "g.yaml", "base": "/"}
    with storage.RunStore.create(folder, storage.RunRow("new", "n"), cells, inputs):
        (progress,) = read_root_state(folder).running
    assert progress.is_at_most == expected


def test_a_long_list_is_read_less_often(
    played: Played, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After twenty times what that took; meanwhile the runs that run are read alone."""
    lists = []

    def look(folder: storage.Root) -> RootState:
        lists.append(folder)
        played.now_s += 0.5
        return read_root_state(folder)

    played.follower._root, played.follower._look = root, look
    played.look(2)
    storage.remove_run(root, "made")
    played.look(2)
    assert len(lists) == 1
    assert [each.run_id for each in played.follower.state.running] == ["new"]
    assert set(played.follower.state.runs) == {"made", "new"}
    played.look(9)
    assert len(lists) == 2
    assert set(played.follower.state.runs) == {"new"}

    def gone(*_: Any) -> None:
        raise storage.RunNotFoundError("gone")

    monkeypatch.setattr(storage, "find_run", gone)
    played.look(1)
    assert (len(lists), played.follower.state.error) == (2, None)
    played.look(1)
    assert len(lists) == 3, "a run was removed"


def test_a_run_that_is_removed_meanwhile(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cells can no longer be read: the others are still shown."""

    def gone(*_: Any) -> None:
        raise storage.RunNotFoundError("gone")

    monkeypatch.setattr(storage, "read_cells", gone)
    assert [each.counts.cells for each in read_root_state(root).running] == [0]
