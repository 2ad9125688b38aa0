"""Results roots that take nothing more in mid-run."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from faults.bench import Bench, Run
from faults.scenario import Scenario, needs_root

FIXED_KIB, TASK_KIB = 60, 5
"""Room for the beginning of a run, and not for all of it: files take whole pages."""


def _mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


@contextlib.contextmanager
def _unmounted(path: Path) -> Iterator[None]:
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def _mend(bench: Bench, run: Run) -> None:
    """Go on, now that it can be written to."""
    run.injected()
    began_s = time.monotonic()
    started = run.resume("--inline")
    run.recovers(began_s)
    code, said = started.end()
    assert code == 0, said
    run.compare()
    names = [path.name for path in run.root.rglob("*") if path.name.startswith(".tmp-")]
    assert not names, names
    assert bench.tally.remarks == []


def disk_full(bench: Bench, times: int) -> None:
    """A small disk: the driver says so and ends; with more room it goes on."""
    for _ in range(times):
        run = bench.run()
        run.root.mkdir()
        tasks = bench.whole().tasks
        size_kib = FIXED_KIB + TASK_KIB * tasks + bench.random.randrange(4 * tasks)
        _mount("-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", run.root)
        with _unmounted(run.root):
            code, said = run.submit("--inline").end()
            assert code in (1, 2), said
            assert "No space left on device" in said, said
            assert "Traceback" not in said, said
            _mount("-o", "remount,size=64m", run.root)
            _mend(bench, run)


def read_only(bench: Bench, times: int) -> None:
    """The root becomes read-only under a driver at work."""
    for _ in range(times):
        run = bench.run()
        run.root.mkdir()
        started = run.submit("--inline")
        run.until_commits(bench.random.randrange(1, 6))
        _mount("--bind", "-o", "ro", run.root, run.root)
        try:
            code, said = started.end()
        finally:
            subprocess.run(["umount", "--lazy", str(run.root)], check=True)
        assert code in (1, 2), said
        assert "Read-only file system" in said, said
        assert "Traceback" not in said, said
        _mend(bench, run)


SCENARIOS = (
    Scenario("disk-full", "disk full while writing", disk_full, 5, 1, needs_root),
    Scenario("read-only", "results root read-only", read_only, 5, 1, needs_root),
)
