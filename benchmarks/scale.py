"""The driver with many nodes: how near to the ideal it keeps 1, 4, 16 and 32 of them busy.

Each simulated node is a raylet of its own (`ray.cluster_utils`) with one processor and a device of
its own name, all on this machine. A task sleeps for the time that is written for it, as measured
tasks vary, and returns one row: all else is the real thing, from placement to committed rows. The
first task of each node starts its worker process; the makespan goes from the moment when all nodes
have one. The ideal is the time asleep that the longest node has left then.

The second table has one node and tasks of no length: the driver's memory and its time a task as the
run grows, which should be flat.

    python benchmarks/scale.py [--nodes 1 4 16 32] [--tasks 20] [--seconds 2] [--most 10000]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

import storage
from jobs.cluster.ray import RayExecutor
from jobs.common.yaml_document import Document
from jobs.driver.cell_states import queued_rows
from jobs.driver.driver import Driver
from jobs.driver.events import RunEvents
from jobs.grid.reader import read_grid
from jobs.machine.slots import Slot
from jobs.plan.plan import Plan, make_plan
from jobs.plan.sources import Sources
from jobs.plan.task import Outcome, Task

MIB = 2**20
STORE_BYTES = 80 * MIB
WINDOWS = 5


def plan_for(folder: Path, devices: list[str], rounds: int) -> Plan:
    """A grid of one timed cell a device, one task a round."""
    path = folder / "scale.yaml"
    path.write_text(
        "name: scale\nmodels: [digits-gfnet]\ndatasets: [{name: digits, limit: 1}]\nthreads: [1]\n"
        f"devices: {json.dumps(devices)}\nmeasure: [latency]\nlatency: {{rounds: {rounds}}}\n"
    )
    return make_plan(read_grid(Document.read(path), None, folder))


def asleep_s(device: str, number: int, seconds: float) -> float:
    """How long a task takes: up to a quarter more or less, the same in every run."""
    draw = random.Random(f"{device} {number}").random()  # noqa: S311 - no secret
    return seconds * (0.75 + draw / 2)


def sleeper(seconds: float) -> Any:
    """What a worker does with a task: it sleeps, and returns one row."""

    def work(task: Task, _weights: Any, _images: Any, slot: Slot, _calibration: Any) -> Outcome:
        began_s = time.perf_counter()
        time.sleep(asleep_s(task.device, task.round, seconds))
        columns = {
            "run_id": task.run_id,
            "cell_id": task.cell_id,
            "round": task.round,
            "image_id": 0,
            "node": slot.host,
            "device": slot.device,
        }
        node = storage.NodeRow(run_id=task.run_id, node=slot.host, device=slot.device)
        tables = {"records": storage.build_table("records", columns)}
        return Outcome(tables, node, 1, busy_s=time.perf_counter() - began_s)

    return work


@contextlib.contextmanager
def cluster_of(devices: list[str]) -> Iterator[str]:
    """A Ray cluster of one node a device, and a head that does no work; its address."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "object_store_memory": STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for device in devices:
            cluster.add_node(
                num_cpus=1,
                object_store_memory=STORE_BYTES,
                resources={"timing": 1, f"device:{device}": 1},
                labels={"gfjobs.io/node": device, "gfjobs.io/device": device},
            )
        yield cluster.address
    finally:
        cluster.shutdown()


@dataclass
class Ends(RunEvents):
    """When each task ended, by device, and what the driver held in memory then."""

    by_device: dict[str, list[float]] = field(default_factory=dict)
    memory_mib: list[float] = field(default_factory=list)

    def update(self, task: Task, outcome: Outcome) -> None:  # noqa: ARG002 - when is enough
        """A task has ended."""
        self.by_device.setdefault(task.device, []).append(time.perf_counter())
        self.memory_mib.append(psutil.Process().memory_info().rss / MIB)


def run(devices: list[str], tasks: int, seconds: float, folder: Path) -> Ends:
    """All tasks of all devices through driver, Ray and storage."""
    plan = plan_for(folder, devices, tasks)
    ends = Ends()
    row = storage.RunRow(run_id="r", name="scale")
    with (
        cluster_of(devices) as address,
        contextlib.closing(RayExecutor(Sources.of(plan), address, sleeper(seconds))) as executor,
        storage.RunStore.create(
            folder / f"{len(devices)}-{tasks}", row, queued_rows(plan, "r"), {}
        ) as store,
    ):
        if not Driver(store, plan, executor, ends).run():
            raise RuntimeError(f"the run failed: {[cell.error for cell in store.cells]}")
    return ends


def makespan_s(ends: Ends, seconds: float) -> tuple[float, float]:
    """Seconds from the moment when all nodes are warm, and the ideal from there."""
    warm_s = max(times[0] for times in ends.by_device.values())
    left = []
    for device, times in ends.by_device.items():
        # The task under way at that moment is counted from its own beginning.
        first = next((n for n, end in enumerate(times) if end > warm_s), len(times))
        rest = sum(asleep_s(device, number, seconds) for number in range(first, len(times)))
        under_way_s = warm_s - times[first - 1] if first < len(times) and first else 0.0
        left.append(rest - min(under_way_s, rest))
    return max(times[-1] for times in ends.by_device.values()) - warm_s, max(left)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, nargs="*", default=[1, 4, 16, 32])
    parser.add_argument("--tasks", type=int, default=20, help="on each node")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a task, on average")
    parser.add_argument("--most", type=int, default=10_000, help="tasks of the second table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(f"{options.tasks} timed tasks of {options.seconds:g} s on each node; aim 1.05")
        print(f"{'nodes':>6}{'makespan s':>12}{'ideal s':>9}{'ratio':>7}")
        for count in options.nodes:
            devices = [f"board-{number}" for number in range(count)]
            ends = run(devices, options.tasks, options.seconds, Path(folder))
            taken_s, ideal_s = makespan_s(ends, options.seconds)
            print(f"{count:6}{taken_s:12.2f}{ideal_s:9.2f}{taken_s / ideal_s:7.3f}", flush=True)
        if not options.most:
            return
        ends = run(["board"], options.most, 0.0, Path(folder))
        times, size = ends.by_device["board"], max(options.most // WINDOWS, 1)
        print(f"\n{options.most:,} tasks of no length on one node")
        print(f"{'up to task':>10}{'ms a task':>11}{'driver MiB':>12}")
        for end in range(size, len(times) + 1, size):
            took_s = times[end - 1] - times[max(end - size, 0)]
            print(f"{end:10,}{took_s / size * 1e3:11.2f}{ends.memory_mib[end - 1]:12.0f}")


if __name__ == "__main__":
    main()
