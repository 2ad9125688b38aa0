"""Tasks that fail, hang, starve or are given something else than was sent."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from faults.bench import GRID, Bench, Run, environment, until
from faults.scenario import Scenario
from PIL import Image

IMAGES = 12
SHARDS, SHARD_IMAGES = 5, 1000
"""Of 30 MB each: two in flight are all that half of a store of 100 MB has room for."""
LAST_BITS = 1e-6
"""Sums of float32 go in another order in a batch of another size; gates' scores lie in 0 to 1."""

BATCHES = """\
name: batches
models: [digits-gfnet, digits-dynn]
datasets: [{name: digits, split: train, limit: 1000}]
thresholds: [0.5]
threads: [1]
batch_sizes: {accuracy: 1000}
measure: [accuracy]
"""
FOLDER = """\
name: folder
models: [digits-gfnet, digits-dynn]
datasets: [{name: "imagefolder:FOLDER"}]
thresholds: [0.5]
threads: [1]
latency: {rounds: 2, warmup_images: 4}
"""


def broken_model(bench: Bench, times: int) -> None:
    """Its cells fail with its error; the others go on."""
    for _ in range(times):
        run = bench.run()
        began_s = time.monotonic()
        code, said = run.submit("--inline", wound="broken-model:digits-dynn").end()
        assert code == 1, said
        run.injected()
        cells = run.cells()
        failed = [cell for cell in cells if cell["status"] == "failed"]
        assert {cell["model"] for cell in failed} == {"digits-dynn"}
        assert all("the model is broken" in cell["error"] for cell in failed)
        run.compare(lambda row: row[2] != "digits-dynn")
        assert "RuntimeError: the model is broken" in said
        run.finish("--inline")
        bench.tally.recoveries_s.append(time.monotonic() - began_s)
        run.compare()


def poisoned_image(bench: Bench, times: int) -> None:
    """Images that are cut short, of an impossible mode, or none: named, and the rest is there."""
    for _ in range(times):
        folder = bench.folder / f"images-{bench.tally.times}"
        _write_images(folder)
        grid = FOLDER.replace("FOLDER", str(folder))
        whole = bench.whole(grid).rows  # before they are poisoned: only these rows may miss
        paths = sorted(path for path in folder.rglob("*.png"))
        poisoned = bench.random.sample(range(len(paths)), 3)
        content = paths[poisoned[0]].read_bytes()
        paths[poisoned[0]].write_bytes(content[: len(content) // 2])
        Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(paths[poisoned[1]], "TIFF")
        paths[poisoned[2]].write_bytes(b"\x89PNG no more")
        run = bench.run(grid)
        began_s = time.monotonic()
        code, said = run.submit("--inline").end()
        assert code == 0, said
        bench.tally.recoveries_s.append(time.monotonic() - began_s)
        run.injected(3)
        for cell in run.cells():
            assert cell["note"].count(" not decoded: ") == len(poisoned), cell["note"]
            for place in poisoned:
                assert f"(image_id {place}) not decoded: " in cell["note"], cell["note"]
                assert f"{paths[place].name} of " in cell["note"], cell["note"]
        names = {f"imagefolder:{folder}", *(row[3] for row in whole)}
        run.compare(lambda row, bad=poisoned, all_=names: row[3] in all_ and row[6] not in bad)


def _write_images(folder: Path) -> None:
    for number in range(IMAGES):
        path = folder / str(number % 10) / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        path.write_bytes(file.getvalue())


def out_of_memory(bench: Bench, times: int) -> None:
    """A process whose memory is bounded: batches halve, and the cell's note says so."""
    for _ in range(times):
        run = bench.run(BATCHES)
        began_s = time.monotonic()
        code, said = run.submit("--inline", wound="memory:100").end()
        assert code == 0, said
        bench.tally.recoveries_s.append(time.monotonic() - began_s)
        run.injected()
        notes = {cell["note"] for cell in run.cells()}
        assert any(note and "out of memory at batch size 1000" in note for note in notes), notes
        run.compare(gate_tolerance=LAST_BITS)


def clock_back(bench: Bench, times: int) -> None:
    """By an hour, in mid-run: nothing ends before it began."""
    whole_s = bench.whole().seconds
    for _ in range(times):
        run = bench.run()
        after_s = bench.random.random() * whole_s
        code, said = run.submit("--inline", wound=f"clock-back:3600:{after_s}").end()
        assert code == 0, said
        run.injected()
        for cell in run.cells():
            lasted_s = (cell["finished_at"] - cell["started_at"]).total_seconds()
            assert 0 <= lasted_s < 600, cell
        run.compare()


def worker_killed(bench: Bench, times: int) -> None:
    """In the middle of a task, over and over; each costs a try."""
    done = 0
    while done < times:
        run = bench.run()
        started = run.submit()
        for _ in range(2):  # a third loss of one task would fail its cell
            run.until_commits(run.commits() + 1)
            worker = _worker(started, run)
            if worker is None:
                break
            began_s = time.monotonic()
            os.kill(worker, signal.SIGKILL)
            run.injected()
            done += 1
            run.recovers(began_s)
        code, said = started.end()
        assert code == 0, said
        assert "was lost" in said, said
        run.compare()


def _worker(started: Any, run: Run) -> int | None:
    """A worker of Ray's with a task; None where the run ended first."""
    found: list[int] = []

    def look() -> bool:
        for process in started.below():
            with contextlib.suppress(psutil.Error, IndexError):  # it may end meanwhile
                if process.cmdline()[0].startswith(("ray::latency", "ray::exits")):
                    found.append(process.pid)
        return bool(found) or run.status() == "done"

    until(look, "a worker at work")
    return found[0] if found else None


def raylet_killed(bench: Bench, times: int) -> None:
    """On one machine that is the end of its Ray; the run resumes."""
    for _ in range(times):
        run = bench.run()
        started = run.submit()
        run.until_commits(2)
        (raylet,) = [each for each in started.below() if each.name() == "raylet"]
        os.kill(raylet.pid, signal.SIGKILL)
        run.injected()
        code, said = started.end()
        assert code != 0, said
        began_s = time.monotonic()
        started = run.resume()
        run.recovers(began_s)
        code, said = started.end()
        assert code == 0, said
        run.compare()


def corrupted(bench: Bench, times: int) -> None:
    """Images, weights and rows with a byte changed on the way: noticed, and sent again."""
    for number in range(times):
        what = ("images", "weights", "rows")[number % 3]
        run = bench.run()
        began_s = time.monotonic()
        started = run.submit(wound=f"corrupt:{what}")
        code, said = started.end()
        assert code == 0, said
        assert f"{what} were corrupted in transfer" in said, said
        bench.tally.recoveries_s.append(time.monotonic() - began_s)
        run.injected()
        run.compare()


def hang(bench: Bench, times: int) -> None:
    """A task that finishes nothing is ended and tried again; the third time its cell fails."""
    for number in range(times):
        run = bench.run()
        is_last = number % 2 == 1
        wound = f"work:hanging:{run.folder}:{3 if is_last else 1}"
        began_s = time.monotonic()
        started = run.submit("--stall", "25s", wound=wound)
        until(lambda r=run: (r.folder / "hang-0").exists(), "a task that hangs")
        began_s = time.monotonic()
        run.recovers(began_s)
        code, said = started.end()
        assert "StalledError: it finished no batch in 25 s" in said, said
        run.injected(3 if is_last else 1)
        if is_last:
            assert code == 1, said
            (failed,) = [cell for cell in run.cells() if cell["status"] == "failed"]
            assert "StalledError" in failed["error"]
            run.finish()
        else:
            assert code == 0, said
        run.compare()


def slow_is_no_hang(bench: Bench, times: int) -> None:
    """Tasks that take half as long again as a stall, but go on: none is ended."""
    grid = GRID.replace("rounds: 6", "rounds: 1").replace(
        "thresholds: [0.5, 0.9]", "thresholds: [0.5]"
    )
    for _ in range(times):
        run = bench.run(grid)
        code, said = run.submit("--stall", "20s", wound="work:slow:30").end()
        assert code == 0, said
        assert "StalledError" not in said, said
        run.injected()
        run.compare()


def store_full(bench: Bench, times: int) -> None:
    """One shard larger than Ray's object store: it is spilled."""
    for _ in range(times):
        folder = bench.folder / "large"
        for number in range(20):
            path = folder / str(number % 10) / f"{number:02}.tiff"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, 256, (1500, 1500, 3), np.uint8)
            Image.fromarray(pixels).save(path)
        grid = FOLDER.replace("FOLDER", str(folder)).replace("rounds: 2", "rounds: 1")
        run = bench.run(grid)
        with environment(RAY_object_spilling_threshold="0.9"):
            began_s = time.monotonic()
            code, said = run.submit(wound="store:100").end()
        assert code == 0, said
        bench.tally.recoveries_s.append(time.monotonic() - began_s)
        run.injected()
        run.compare()


def store_of_shards(bench: Bench, times: int) -> None:
    """Shards that the store does not hold together, and no disk to spill to: they take turns.

    By what the driver lets be in flight; and without that, by what Ray refuses.
    """
    folder = bench.folder / "shards"
    for number in range(SHARDS * SHARD_IMAGES):
        path = folder / str(number % 10) / f"{number:04}.tiff"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (100, 100, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    grid = FOLDER.replace("FOLDER", str(folder)).replace("latency", "measure: [accuracy]\nlatency")
    for number in range(times):
        run = bench.run(grid)
        wound = "store:100:10" if number % 2 else "store:100"
        # Ray takes every disk for full, and says so of each put that memory has no room for.
        with environment(RAY_local_fs_capacity_threshold="0.0"):
            began_s = time.monotonic()
            code, said = run.submit(wound=wound).end()
        assert code == 0, said
        bench.tally.recoveries_s.append(time.monotonic() - began_s)
        run.injected()
        run.compare()


SCENARIOS = (
    Scenario("exception", "an exception in a model", broken_model, times=3, quick=1),
    Scenario("poisoned", "poisoned images", poisoned_image, times=3, quick=1),
    Scenario("clock-back", "clock set back by an hour", clock_back, times=5, quick=1),
    Scenario("memory", "out of memory in a task", out_of_memory, times=3),
    Scenario("corrupted", "corrupted in transit", corrupted, times=3),
    Scenario("worker-killed", "worker killed in mid-task", worker_killed, times=10),
    Scenario("raylet-killed", "raylet of one machine killed", raylet_killed, times=2),
    Scenario("hang", "a task that hangs", hang, times=2),
    Scenario("slow", "a slow task, which is no hang", slow_is_no_hang, times=1),
    Scenario("store-full", "object store full", store_full, times=1),
    Scenario("store-shards", "object store full of shards", store_of_shards, times=2),
)
