"""Faults inside a process: of its memory, its clock, its model, what it sends, the moment it dies.

A wound is a name with arguments, `name:argument:...`. It is inflicted in a driver before that is
`gfjobs`; what must happen in a worker travels there as the work of its executor.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

FIRST_NIGHT = datetime(2026, 10, 24, 20, 50, tzinfo=timezone.utc)
"""Where a hastened clock begins: hours before the clocks of Europe are set back."""


def inflict(wound: str) -> None:
    """Inflict it in this process."""
    name, *arguments = wound.split(":")
    WOUNDS[name](*arguments)


def die_in(method: str, seed: str) -> None:
    """Be killed at a random step of a method of RunStore: a file opened, renamed or removed.

    Of `commit_group` at a random one of the first eight.
    """
    from storage import RunStore

    chance = random.Random(int(seed))  # noqa: S311
    calls_left = chance.randrange(8) if method == "commit_group" else 0
    # A merge does most of its work inside of one step; a commit has eight.
    steps_left = chance.randrange(8 if method == "commit_group" else 60)
    delay_s = chance.random() * 0.03
    inside = False
    original = getattr(RunStore, method)

    def audit(event: str, _arguments: tuple[Any, ...]) -> None:
        nonlocal steps_left
        if inside and event in ("open", "os.rename", "os.remove", "os.listdir", "os.scandir"):
            steps_left -= 1
            if steps_left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def wounded(self: Any, *rest: Any, **named: Any) -> Any:
        nonlocal inside, calls_left
        calls_left -= 1
        inside = calls_left < 0
        if inside and method == "merge":

            def kill() -> None:
                time.sleep(delay_s)
                os.kill(os.getpid(), signal.SIGKILL)

            threading.Thread(target=kill, daemon=True).start()
        try:
            return original(self, *rest, **named)
        finally:
            if inside:  # no step is left: the kill comes right after
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(audit)
    setattr(RunStore, method, wounded)


def hasten(began_s: str, factor: str) -> None:
    """The scheduler's clock, and what it waits by, are so many times as fast since a moment."""
    from jobs.nightly import commands
    from jobs.nightly.daemon import Scheduler

    def clock() -> datetime:
        passed_s = time.time() - float(began_s)
        return FIRST_NIGHT + timedelta(seconds=passed_s * float(factor))

    def pause(seconds: float) -> None:
        time.sleep(min(max(seconds / float(factor), 0.02), 0.2))

    commands.Scheduler = partial(Scheduler, clock=clock, pause=pause)


def set_clock_back(seconds: str, after_s: str) -> None:
    """The wall clock is set back, once, some time from now."""
    from jobs.common import clock

    began_s, back_s = time.monotonic(), float(seconds)
    time_s, time_ns = time.time, time.time_ns

    def is_back() -> bool:
        return time.monotonic() - began_s > float(after_s)

    time.time = lambda: time_s() - back_s * is_back()
    time.time_ns = lambda: time_ns() - int(back_s * 1e9) * is_back()
    clock._clock = clock.DayClock(time.time_ns, time.monotonic_ns)


def lack_memory(spare_mib: str) -> None:
    """Let each task have little more memory than its process has when it begins."""
    import torch

    from jobs.worker import run_task as worker

    original = worker.run_kind
    unlimited = resource.RLIM_INFINITY

    def poor(task: Any, model: Any, *rest: Any, **more: Any) -> Any:
        # What first calls load is not to be what fails.
        model.forward_exits(torch.zeros(2, 3, *[model.config.img_size] * 2))
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + int(spare_mib) * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, unlimited))
        try:
            return original(task, model, *rest, **more)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (unlimited, unlimited))

    worker.run_kind = poor


def break_model(name: str) -> None:
    """One model raises, whatever it is given."""
    from jobs.worker import run_task as worker

    original = worker.run_kind

    def broken(task: Any, *rest: Any, **more: Any) -> Any:
        if task.model == name:
            raise RuntimeError("the model is broken")
        return original(task, *rest, **more)

    worker.run_kind = broken


def lose_device(name: str) -> None:
    """Every task of a device fails: it has left."""
    from jobs.worker import run_task as worker

    original = worker.run_kind

    def lost(task: Any, *rest: Any, **more: Any) -> Any:
        if task.device == name:
            raise RuntimeError("the device is gone")
        return original(task, *rest, **more)

    worker.run_kind = lost


def work_as(name: str, *arguments: str) -> None:
    """Let workers do something else with a task: a function of this module."""
    from jobs.cluster import ray as fanout

    work = partial(WORKS[name], *arguments)
    fanout.RayExecutor = partial(fanout.RayExecutor, work=work)


def corrupt(what: str) -> None:
    """Change one byte of the first images, weights or rows on their way."""
    if what == "rows":
        work_as("corrupting")
        return
    import jobs.cluster.ray  # noqa: F401, I001 - sets what Ray reads when it is loaded
    import ray

    original = ray.put
    is_done = False

    def put(value: Any) -> Any:
        nonlocal is_done
        if isinstance(value, bytes) == (what == "weights") and not is_done:
            is_done = True
            value = _changed(value)
        return original(value)

    ray.put = put


def _changed(value: Any) -> Any:
    if isinstance(value, bytes):
        return value[:-1] + bytes([value[-1] ^ 1])
    rows = value.to_pydict()
    rows["image"][0] = _changed(rows["image"][0])
    return type(value).from_pydict(rows, value.schema)


def small_store(mib: str, share: str = "") -> None:
    """An object store that a few shards fill; with a share of it that tasks in flight may take."""
    from jobs.cluster.ray import connection, executor, object_store

    connection.EMBEDDED_STORE_BYTES = int(mib) * 2**20
    executor.EMBEDDED_STORE_BYTES = int(mib) * 2**20
    object_store.FULL_SHARE = float(share) if share else object_store.FULL_SHARE


def _once(folder: str, name: str) -> bool:
    """Whether this is the first process to ask."""
    try:
        os.close(os.open(f"{folder}/{name}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def hanging(folder: str, times: str, task: Any, *rest: Any) -> Any:
    """The first tasks of a timed cell hang for ever; all others are done."""
    from jobs.worker.run_task import run_task

    for number in range(int(times)):
        if task.is_timed and task.round == 1 and _once(folder, f"hang-{number}"):
            signal.pause()
    return run_task(task, *rest)


def slow(seconds: str, task: Any, *rest: Any) -> Any:
    """A task takes long, and goes on all the time."""
    from jobs.machine.heartbeat import count_batch
    from jobs.worker.run_task import run_task

    end_s = time.monotonic() + float(seconds)
    while time.monotonic() < end_s:
        time.sleep(0.2)
        count_batch()
    return run_task(task, *rest)


def failing(node: str, task: Any, *rest: Any) -> Any:
    """One node fails every task."""
    from jobs.machine.registration import node_name
    from jobs.plan.task import Outcome
    from jobs.worker.run_task import run_task

    if node_name() == node:
        return Outcome({}, None, error="Traceback\nRuntimeError: no kernel image for this device")
    return run_task(task, *rest)


def corrupting(task: Any, *rest: Any) -> Any:
    """The first rows of a worker are changed behind its back, after they were summed up."""
    from dataclasses import replace

    from faults import wounds

    from jobs.cluster.ray import worker_side
    from jobs.worker.run_task import run_task

    original = worker_side.seal_outcome
    if not wounds.is_corrupt:
        wounds.is_corrupt = True

        def seal(outcome: Any) -> Any:
            worker_side.seal_outcome = original
            sealed = original(outcome)
            tables = {name: _changed(content) for name, content in sealed.tables.items()}
            return replace(sealed, tables=tables)

        worker_side.seal_outcome = seal
    return run_task(task, *rest)


is_corrupt = False

WOUNDS: dict[str, Callable[..., None]] = {
    "hasten": hasten,
    "die-in": die_in,
    "clock-back": set_clock_back,
    "memory": lack_memory,
    "broken-model": break_model,
    "lose-device": lose_device,
    "work": work_as,
    "corrupt": corrupt,
    "store": small_store,
}
WORKS: dict[str, Callable[..., Any]] = {
    "hanging": hanging,
    "slow": slow,
    "failing": failing,
    "corrupting": corrupting,
}
