"""Which processors are chosen, and that every thread keeps to them; engines' pools: integration."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jobs.plan.order import make_blocks
from jobs.plan.plan import Plan
from jobs.plan.sources import Sources
from jobs.worker import cpu_pinning
from jobs.worker import run_task as worker
from jobs.worker.cpu_pinning import choose_processors, pin_threads
from jobs.worker.kinds import ROWS
from jobs.worker.run_task import run_task

HAS_AFFINITY = hasattr(os, "sched_setaffinity")
ALLOWED = frozenset(os.sched_getaffinity(0)) if HAS_AFFINITY else frozenset()
on_linux = pytest.mark.skipif(not HAS_AFFINITY, reason="this system has no affinity of threads")
on_two = pytest.mark.skipif(len(ALLOWED) < 2, reason="one processor: nothing to choose from")

Tree = Callable[[Mapping[int, str], Mapping[int, int]], Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A kernel's files: siblings by processor, and the highest clocks in kHz."""

    def make(siblings: Mapping[int, str], khz: Mapping[int, int]) -> Path:
        files = {n: ("topology/thread_siblings_list", text) for n, text in siblings.items()}
        for processors in (
            files,
            {n: ("cpufreq/cpuinfo_max_freq", str(f)) for n, f in khz.items()},
        ):
            for number, (name, text) in processors.items():
                path = tmp_path / f"sys/devices/system/cpu/cpu{number}" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text + "\n")
        return tmp_path

    return make


def places() -> dict[int, frozenset[int]]:
    """Where each thread of this process may run, but for those that end meanwhile."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):  # an earlier test's thread has just ended
            found[int(task.name)] = frozenset(os.sched_getaffinity(int(task.name)))
    return found


@pytest.mark.parametrize(
    ("threads", "allowed", "chosen"),
    [
        (1, range(8), {7}),
        (3, range(8), {5, 6, 7}),
        (4, range(8), {4, 5, 6, 7}),
        (5, range(8), {3, 4, 5, 6, 7}),
        (2, {0, 3, 7}, {0, 7}),  # 3 is of the same core as 7
        (3, {0, 3, 7}, {0, 3, 7}),
        (9, {1, 2}, {1, 2}),
    ],
)
def test_each_core_comes_once_before_any_comes_twice(
    tree: Tree, threads: int, allowed: set[int], chosen: set[int]
) -> None:
    """Four cores of two hardware threads, n and n + 4."""
    root = tree({n: f"{n % 4},{n % 4 + 4}" for n in range(8)}, {})
    assert choose_processors(threads, allowed, root) == chosen


def test_neighbours_may_be_siblings_too(tree: Tree) -> None:
    """Written as a range: 0-1, 2-3."""
    root = tree({0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"}, {})
    assert choose_processors(2, range(4), root) == {1, 3}


def test_fast_cores_come_first(tree: Tree) -> None:
    """Two fast ones with two hardware threads each, two slow ones with one: 0, 1; 2, 3; 4; 5."""
    siblings = {0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3", 4: "4", 5: "5"}
    root = tree(siblings, {n: 5_000_000 if n < 4 else 3_000_000 for n in range(6)})
    by_number = [choose_processors(n, range(6), root) for n in range(1, 6)]
    assert by_number == [{3}, {1, 3}, {1, 3, 5}, {1, 3, 4, 5}, {1, 2, 3, 4, 5}]


@pytest.mark.parametrize("text", [None, "", "none"])
def test_without_a_topology_the_last_are_chosen(tree: Tree, text: str | None) -> None:
    """A kernel that shows none, or something else."""
    root = tree({} if text is None else dict.fromkeys(range(4), text), {})
    assert choose_processors(2, range(4), root) == {2, 3}


@on_linux
@on_two
def test_every_thread_is_pinned_and_put_back() -> None:
    """Older ones, one that had a place of its own, and one that begins inside; after a failure."""
    stop, own = threading.Event(), min(ALLOWED)
    older = threading.Thread(target=stop.wait)
    narrow = threading.Thread(target=stop.wait)
    younger = threading.Thread(target=stop.wait)
    (one,) = choose_processors(1, ALLOWED)
    try:
        older.start()
        narrow.start()
        os.sched_setaffinity(narrow.native_id or 0, {own})
        with pytest.raises(RuntimeError, match="inside"), pin_threads(1) as why_not:  # noqa: PT012
            younger.start()
            assert why_not == ""
            inside = places()
            assert {older.native_id, narrow.native_id, younger.native_id} <= inside.keys()
            assert set(inside.values()) == {frozenset({one})}
            raise RuntimeError("inside")
        after = places()
        assert after.pop(narrow.native_id or 0) == {own}
        assert set(after.values()) == {ALLOWED}
        assert younger.native_id in after
    finally:
        stop.set()
        for thread in (older, narrow, younger):
            if thread.ident:
                thread.join()


@on_linux
def test_no_threads_asked_change_nothing() -> None:
    """0: all that the process may use."""
    before = places()
    with pin_threads(0) as why_not:
        assert why_not == ""
        inside = places()
        assert os.getpid() in inside
        assert {thread: before.get(thread, ALLOWED) for thread in inside} == inside


@on_linux
def test_more_threads_than_processors_are_said() -> None:
    """They get all there are."""
    many = len(ALLOWED) + 1
    with pin_threads(many) as why_not:
        assert why_not.startswith(f"{many} threads share {len(ALLOWED)} processor")
        assert why_not.endswith("this process may use no more")
        assert set(places().values()) == {ALLOWED}


@on_linux
@pytest.mark.parametrize(
    ("threads", "quota", "is_said"),
    [(1, 0.5, True), (1, 1.0, False), (0, 0.5, True), (0, 1, False)],
)
def test_the_limit_of_a_container_is_said(
    monkeypatch: pytest.MonkeyPatch, threads: int, quota: float, *, is_said: bool
) -> None:
    """Its threads see all processors, and are stopped when their time is used up."""
    monkeypatch.setattr(cpu_pinning, "processor_quota", lambda: quota)
    with pin_threads(threads) as why_not:
        assert why_not.startswith("the limit of this container or service (cgroup)") == is_said
        assert (f"is the time of {quota:g} processors" in why_not) == is_said


def test_a_system_without_affinity_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """As macOS is; there is nothing to put back."""
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    with pin_threads(1) as why_not:
        assert why_not.endswith("not pinned: this system cannot restrict threads to processors")


@on_linux
def test_a_system_that_refuses_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox may; the task is timed all the same."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    with pin_threads(1) as why_not:
        assert why_not == "threads are not pinned: Operation not permitted"


GRID = """\
models: [dynn.safetensors]
datasets: [{name: digits, limit: 4}]
thresholds: [0.5]
threads: [1]
measure: [accuracy, latency, exit_costs, profile, throughput, serving]
batch_sizes: {throughput: [2]}
serving: {arrivals: [40], seconds: 1}
latency: {rounds: 1, warmup_images: 2}
"""


@pytest.fixture
def _threads_of_torch() -> Iterator[None]:
    """A task sets the threads of its process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    worker._models.clear()


@on_linux
@on_two
@pytest.mark.usefixtures("_threads_of_torch")
def test_timed_tasks_alone_are_pinned(
    plan_of: Callable[[str], Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kind, by where its threads are while it works; and what was not as asked is noted."""
    plan = plan_of(GRID)
    sources = Sources.of(plan)
    queue = make_blocks(plan, by_device=False)[0].tasks("r", frozenset())
    seen: dict[str, set[frozenset[int]]] = {}
    for kind, rows_of in list(ROWS.items()):

        def look(work: object, kind: str = kind, rows_of: Callable = rows_of) -> object:
            rows = rows_of(work)
            seen[kind] = set(places().values())
            return rows

        monkeypatch.setitem(ROWS, kind, look)
    tasks = list(queue)
    for task in tasks:
        outcome = run_task(task, lambda t=task: sources.weights(t), sources.shard(task))
        assert (outcome.error, outcome.note) == ("", "")
    one = choose_processors(1, ALLOWED)
    assert seen == {k: {ALLOWED if k == "exits" else one} for k in ROWS}
    assert set(places().values()) == {ALLOWED}
    many = replace(tasks[-1], threads=len(ALLOWED) + 1)
    outcome = run_task(many, lambda: sources.weights(many), sources.shard(many))
    assert f"{many.threads} threads share" in outcome.note
