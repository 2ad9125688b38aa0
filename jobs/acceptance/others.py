"""Others: another process on the device is noticed around a timed round."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.acceptance.bench import Bench
from jobs.acceptance.check_result import CheckResult

LEAST_LOAD = 0.4
"""Processors of which a process that computes without pause on one must be seen to use."""

WATCHED_S = 1.5
PATIENCE_S = 60.0
_NAME = "another process is noticed"

# The child watches, and this process is the load: a child's time would count as this one's own.
_WATCH = """
import json, sys, time
from jobs.machine.conditions import ROOT, Machine, Watch

name, seconds = sys.argv[1], float(sys.argv[2])
if name == "cuda":
    import torch

    torch.zeros(1, device="cuda")
machine = Machine(name, ROOT)
watch = Watch(machine)
print("watching", flush=True)
watch.begin()
time.sleep(seconds)
columns = watch.end()
print(json.dumps({
    "load": columns["load"],
    "gpu_others": columns["gpu_others"],
    "processors": machine.first.processors,
    "missing": dict(machine.first.missing),
}))
"""


def check_others(bench: Bench) -> Iterator[CheckResult]:
    """Watch from a second process while this one computes, and read what it has seen."""
    command = [sys.executable, "-c", _WATCH, bench.device.name, str(WATCHED_S)]
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, *sys.path])}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as child:
        try:
            assert child.stdout is not None
            child.stdout.readline()
            _compute(bench, WATCHED_S)
            out, err = child.communicate(timeout=PATIENCE_S)
        finally:
            child.kill()
    try:
        seen = json.loads(out)
    except ValueError:
        yield CheckResult.broken(_NAME, "a process that watches", (err or out).strip()[-300:])
        return
    yield judge_load(seen)
    if bench.is_gpu:
        yield judge_gpu_others(seen)


def judge_load(seen: dict[str, Any]) -> CheckResult:
    """Judge the load that a watching process has seen of this one."""
    load, processors = seen["load"], seen["processors"]
    busy = None if load is None or processors is None else load * processors
    found = "it could not be read" if busy is None else f"load {load:.2f}: {busy:.2f} processors"
    return CheckResult.judged(
        f"{_NAME}, on the processors",
        f"a load of at least {LEAST_LOAD:g} processors, of one that computes without pause",
        found,
        {"load": load, "busy_processors": busy},
        is_ok=busy is not None and busy >= LEAST_LOAD,
    )


def judge_gpu_others(seen: dict[str, Any]) -> CheckResult:
    """Judge the processes that a watching process has counted on the GPU."""
    others = seen["gpu_others"]
    name, expected = f"{_NAME}, on the GPU", "at least 1 other: this one"
    if others is None:
        reason = seen["missing"].get("others on the GPU", "NVML did not say at the end")
        return CheckResult.skipped(name, expected, reason)
    return CheckResult.judged(
        name, expected, f"{others} others", {"gpu_others": others}, is_ok=others >= 1
    )


def _compute(bench: Bench, seconds: float) -> None:
    """Compute without pause, on the device; on a GPU one processor waits busily for it."""
    import torch

    matrix = torch.ones(512, 512, device=bench.device.name)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        matrix @ matrix
        bench.device.synchronise()
