"""How near to the ideal 40 cells end on boards of unequal speed, by default 1 : 4 : 16.

No models, no Ray: the boards of an executor answer after the time that a task would take there, and
all else is the real thing, driver, placement and storage. What a task takes varies by a quarter
more or less; the driver knows no speed beforehand. Boards run one task at a time and hold one more,
as nodes of one processor do. The clock is made up: it stands at the next end of a task. Only
`asleep` waits in earnest.

`shared` has all-exit passes of one device name that three boards share. `blocks` has timed cells of
eight data sets, each of which one board must take whole. `both` has the two together. `devices` has
a device name for each board, with cells that it alone may take, and cells for `any`, which becomes
one of the three. In `leaves` the board of speed 4 goes away when 40 % of the ideal time is over,
and what it had not ended is done again. `nodes` are 200 boards in equal parts of each speed.

The ideal knows all speeds from the start, and that a board leaves. For passes it is the work over
the speeds; for blocks the best of all ways to part them, each whole (of 200 boards: the larger of
the work over the speeds and the longest block on the fastest board); for devices the best of the
three that `any` can be.

    python benchmarks/makespan.py [--speeds 1 4 16] [--draws 7] [--nodes 200] [--asleep 100]
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import itertools
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import storage
from jobs.common.yaml_document import Document
from jobs.driver.cell_states import queued_rows
from jobs.driver.driver import Driver
from jobs.grid.reader import read_grid
from jobs.machine.devices import ANY
from jobs.machine.slots import Host, Slot
from jobs.plan.cell import Cell
from jobs.plan.order import CellBlock, make_blocks
from jobs.plan.plan import Plan, make_plan
from jobs.plan.task import Outcome, Task

AIM = 1.10
CELLS = 40
ROUNDS = 5
FEW = 4
"""So many boards at most are tried in all ways."""

IMAGES_PER_S = 10.0
"""Of the slowest board with the smaller model; the larger one takes twice as long."""

ASLEEP = ("shared", "blocks")
"""Cases that are run in earnest too, for long enough that what the driver takes is little of it."""

LEAVES_AT = 0.4
LOST_S = 10.0
"""From when a board has gone until its tasks count as lost."""

MEMORY = Path("/dev/shm")  # noqa: S108 - a temporary folder is made in it


class Clock:
    """Seconds that pass only while all wait; `is_real` ones pass by themselves."""

    def __init__(self, *, is_real: bool = False) -> None:
        self.is_real = is_real
        self._now_s = 0.0

    def __call__(self) -> float:
        """The time."""
        return time.monotonic() if self.is_real else self._now_s

    def wait_until(self, at_s: float) -> None:
        """Wait."""
        if self.is_real:
            time.sleep(max(at_s - time.monotonic(), 0.0))
        else:
            self._now_s = max(self._now_s, at_s)


@dataclass(frozen=True)
class Board:
    """A simulated board: its speed, the device that it registers, and when it goes away."""

    name: str
    speed: float
    device: str
    leaves_s: float = float("inf")


def takes_s(task: Task) -> float:
    """What a task takes on a board of speed 1, in seconds."""
    images = task.shard.stop - task.shard.start
    factor = 2.0 if task.model == "digits-gfnet" else 1.0
    draw = random.Random(f"{task.key} {task.dataset}").random()  # noqa: S311 - no secret
    return images * factor * (0.75 + draw / 2) / IMAGES_PER_S


class Boards:
    """An executor of boards that take the time a task would take."""

    is_one_host = False
    is_full = False

    def __init__(self, boards: Sequence[Board], clock: Clock, scale: float = 1.0) -> None:
        self._boards = {board.name: board for board in boards}
        self._hosts = {b.name: Host(b.name, 2, {b.device: 1}, is_here=False) for b in boards}
        self._clock, self._scale = clock, scale
        self._began_s = clock()
        self._free_s = dict.fromkeys(self._boards, self._began_s)
        self._ends: list[tuple[float, int, Task, Slot, float]] = []
        self._count = itertools.count()
        self.last_s = self._began_s

    def hosts(self) -> list[Host]:
        """Those that have not left."""
        since_s = self._clock() - self._began_s
        return [self._hosts[name] for name, b in self._boards.items() if b.leaves_s > since_s]

    def submit(self, task: Task, slot: Slot) -> None:
        """Take a task, behind what the board has."""
        board = self._boards[slot.host]
        busy_s = self._scale * takes_s(task) / board.speed
        ends_s = max(self._free_s[slot.host], self._clock()) + busy_s
        self._free_s[slot.host] = ends_s
        leaves_s = self._began_s + board.leaves_s
        known_s = ends_s if ends_s <= leaves_s else leaves_s + LOST_S * self._scale
        heapq.heappush(self._ends, (known_s, next(self._count), task, slot, busy_s))

    def wait(self, timeout_s: float | None = None) -> tuple[Task, Outcome] | None:
        """The next that ends, or that is lost."""
        until_s = self._clock() + (timeout_s or 0.0)
        if not self._ends or self._ends[0][0] > until_s:
            self._clock.wait_until(until_s)
            return None
        known_s, _, task, slot, busy_s = heapq.heappop(self._ends)
        self._clock.wait_until(known_s)
        board = self._boards[slot.host]
        if known_s > self._began_s + board.leaves_s:
            return task, Outcome({}, None, error="NodeDiedError", is_lost=True, is_gone=True)
        self.last_s = known_s
        columns = {
            "run_id": task.run_id,
            "cell_id": task.cell_id,
            "image_id": task.shard.start,
            "exit_block": 0,
        }
        table = storage.KINDS[task.kind].table
        if table == "records":
            columns |= {"round": task.round, "node": slot.host, "device": slot.device}
        node = storage.NodeRow(run_id=task.run_id, node=slot.host, device=slot.device)
        tables = {table: storage.build_table(table, columns)}
        return task, Outcome(tables, node, task.shard.stop - task.shard.start, busy_s=busy_s)

    def close(self) -> None:
        """Nothing to close."""


def plan_of(
    folder: Path,
    devices: Sequence[str],
    measure: Sequence[str],
    sets: int,
    images: Callable[[Cell], int],
    *,
    thresholds: int = 4,
) -> Plan:
    """All-exit passes or timed cells of two models and some data sets, or both."""
    grid = {
        "name": "makespan",
        "models": ["digits-dynn", "digits-gfnet"],
        "datasets": [{"name": "digits", "limit": number + 1} for number in range(sets)],
        "devices": list(devices),
        "threads": [1],
        "thresholds": [(number + 1) / (thresholds + 1) for number in range(thresholds)],
        "measure": list(measure),
        "latency": {"rounds": ROUNDS},
    }
    path = folder / "makespan.yaml"
    path.write_text(json.dumps(grid))
    plan = make_plan(read_grid(Document.read(path), None, folder))
    return replace(plan, cells=tuple(replace(cell, images=images(cell)) for cell in plan.cells))


@dataclass(frozen=True)
class Case:
    """Cells and boards of one kind; `plan` draws its numbers of images from a seed."""

    name: str
    boards: Callable[[], list[Board]]
    plan: Callable[[Path, random.Random], Plan]
    does_leave: bool = False


def seconds_of(block: CellBlock) -> float:
    """Seconds of all its tasks on a board of speed 1."""
    return sum(takes_s(task) for task in block.tasks("r", ()))


def ideal_s(plan: Plan, boards: Sequence[Board], leaver: Board | None, leaves_s: float) -> float:
    """The shortest time in which boards that are known from the start can do all."""
    blocks = make_blocks(plan, by_device=True)
    names = list(dict.fromkeys(board.device for board in boards))
    is_any = any(block.device == ANY for block in blocks)
    return min(
        _ideal_of(blocks, boards, meant, leaver, leaves_s)
        for meant in (names if is_any else names[:1])
    )


def _ideal_of(
    blocks: Sequence[CellBlock],
    boards: Sequence[Board],
    meant: str,
    leaver: Board | None,
    leaves_s: float,
) -> float:
    """The ideal where `any` is one of the devices: the longest of the devices."""
    passes: dict[str, float] = {}
    whole: dict[str, list[float]] = {}
    for block in blocks:
        device = meant if block.device == ANY else str(block.device)
        if block.is_timed:
            whole.setdefault(device, []).append(seconds_of(block))
        else:
            passes[device] = passes.get(device, 0.0) + seconds_of(block)
    return max(
        _shortest_s(
            passes.get(name, 0.0),
            whole.get(name, []),
            [board for board in boards if board.device == name],
            leaver,
            leaves_s,
        )
        for name in passes.keys() | whole.keys()
    )


def _shortest_s(
    passes: float,
    whole: Sequence[float],
    boards: Sequence[Board],
    leaver: Board | None,
    leaves_s: float,
) -> float:
    """The shortest time for passes that boards share and blocks that each do whole."""
    speed = sum(board.speed for board in boards)
    if len(boards) > FEW:
        longest = max(whole, default=0.0) / max(board.speed for board in boards)
        return max((passes + sum(whole)) / speed, longest)
    best = float("inf")
    for taken in itertools.product(range(len(boards)), repeat=len(whole)):
        ends = [0.0] * len(boards)
        for block, number in zip(whole, taken, strict=True):
            ends[number] += block / boards[number].speed
        gone = [end for board, end in zip(boards, ends, strict=True) if board == leaver]
        if any(end > leaves_s for end in gone):
            continue
        best = min(best, _filled_s(passes, ends, boards, leaver, leaves_s))
    return best


def _filled_s(
    passes: float,
    ends: Sequence[float],
    boards: Sequence[Board],
    leaver: Board | None,
    leaves_s: float,
) -> float:
    """When all is done if passes fill what blocks leave free."""

    def room(until_s: float) -> float:
        return sum(
            board.speed * max(min(until_s, leaves_s if board == leaver else until_s) - end, 0.0)
            for board, end in zip(boards, ends, strict=True)
        )

    low_s, high_s = max(ends), max(ends) + passes / min(board.speed for board in boards) + 1.0
    if room(low_s) >= passes:
        return low_s
    for _ in range(60):
        middle_s = (low_s + high_s) / 2
        low_s, high_s = (low_s, middle_s) if room(middle_s) >= passes else (middle_s, high_s)
    return high_s


@dataclass(frozen=True)
class Taken:
    """What a run took, and what it might have."""

    tasks: int
    makespan_s: float
    ideal_s: float
    cpu_s: float

    @property
    def ratio(self) -> float:
        """The makespan over the ideal."""
        return self.makespan_s / self.ideal_s


def run(case: Case, folder: Path, seed: int, asleep_s: float | None = None) -> Taken:
    """All tasks of a case through driver and storage; `asleep_s` long in earnest, if given."""
    plan = case.plan(folder, random.Random(seed))  # noqa: S311 - no secret
    boards = case.boards()
    ideal = ideal_s(plan, boards, None, 0.0)
    if case.does_leave:
        leaver = boards[1]
        leaves_s = LEAVES_AT * ideal
        ideal = ideal_s(plan, boards, leaver, leaves_s)
        boards[1] = replace(leaver, leaves_s=leaves_s)
    clock = Clock(is_real=asleep_s is not None)
    scale = asleep_s / ideal if asleep_s else 1.0
    executor = Boards(boards, clock, scale)
    row = storage.RunRow(run_id="r", name="makespan")
    root = folder / f"{case.name}-{seed}-{asleep_s}"
    with storage.RunStore.create(root, row, queued_rows(plan, "r"), {}) as store:
        began_s, cpu_s = clock(), time.process_time()
        if not Driver(store, plan, executor, clock=clock).run():
            raise RuntimeError(f"the run failed: {[cell.error for cell in store.cells]}")
        cpu_s = time.process_time() - cpu_s
    tasks = sum(cell.rounds * len(cell.shards) for cell in plan.cells)
    return Taken(tasks, executor.last_s - began_s, ideal * scale, cpu_s)


def cases(speeds: Sequence[float]) -> list[Case]:
    """The cases of a few boards."""
    fastest = max(speeds)

    def alike() -> list[Board]:
        return [Board(f"board-{n}", speed, "board") for n, speed in enumerate(speeds)]

    def named() -> list[Board]:
        return [Board(f"board-{n}", speed, f"kind-{n}") for n, speed in enumerate(speeds)]

    def shared(folder: Path, draw: random.Random) -> Plan:
        return plan_of(
            folder, ["board"], ["accuracy"], CELLS // 2, lambda _cell: draw.randint(2_000, 12_000)
        )

    def blocks(folder: Path, draw: random.Random) -> Plan:
        sizes = [draw.randint(300, 3_000) for _ in range(CELLS)]
        return plan_of(folder, ["board"], ["latency"], CELLS // 5, lambda cell: sizes[limit(cell)])

    def both(folder: Path, draw: random.Random) -> Plan:
        sizes = [draw.randint(300, 3_000) for _ in range(CELLS)]
        return plan_of(
            folder,
            ["board"],
            ["accuracy", "latency"],
            CELLS // 8,
            lambda cell: (1 if cell.is_timed else 4) * sizes[limit(cell)],
            thresholds=5,
        )

    def devices(measure: str) -> Callable[[Path, random.Random], Plan]:
        def plan(folder: Path, draw: random.Random) -> Plan:
            names = [board.device for board in named()]
            sizes = [draw.randint(1_000, 3_000) for _ in range(CELLS)]
            shares = dict(zip(names, speeds, strict=True)) | {ANY: fastest}
            thinned = 1 if measure == "accuracy" else 4
            sets = CELLS // (len(shares) * (2 if measure == "accuracy" else 5))
            return plan_of(
                folder,
                [ANY, *names],
                [measure],
                sets,
                lambda cell: max(
                    int(sizes[limit(cell)] * shares[cell.setting.device] / thinned), 50
                ),
            )

        return plan

    return [
        Case("shared", alike, shared),
        Case("blocks", alike, blocks),
        Case("both", alike, both),
        Case("devices", named, devices("accuracy")),
        Case("devices, timed", named, devices("latency")),
        Case("shared, leaves", alike, shared, does_leave=True),
        Case("blocks, leaves", alike, blocks, does_leave=True),
        Case("both, leaves", alike, both, does_leave=True),
    ]


def limit(cell: Cell) -> int:
    """The number of the cell's data set."""
    return (cell.dataset.limit or 1) - 1


def many(speeds: Sequence[float], nodes: int) -> list[Case]:
    """The cases of many boards."""

    def boards() -> list[Board]:
        return [Board(f"board-{n}", speeds[n % len(speeds)], "board") for n in range(nodes)]

    def shared(folder: Path, draw: random.Random) -> Plan:
        return plan_of(
            folder,
            ["board"],
            ["accuracy"],
            CELLS // 2,
            lambda _cell: nodes * draw.randint(1_000, 4_000),
        )

    def blocks(folder: Path, draw: random.Random) -> Plan:
        sizes = [draw.randint(100, 1_000) for _ in range(4 * nodes)]
        return plan_of(
            folder, ["board"], ["latency"], 4 * nodes, lambda cell: sizes[limit(cell)], thresholds=1
        )

    return [Case("nodes", boards, shared), Case("nodes, blocks", boards, blocks)]


@contextlib.contextmanager
def temporary() -> Iterator[Path]:
    """A folder in memory, if there is such a thing."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield Path(folder)


def main() -> None:
    """Print the tables; exit code 1 if the aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--speeds", type=float, nargs="+", default=[1, 4, 16])
    parser.add_argument("--draws", type=int, default=7, help="of the numbers of images")
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--asleep", type=float, default=100.0, help="seconds of the ideal")
    parser.add_argument("--only", help="cases whose name contains this")
    options = parser.parse_args()
    few = [case for case in cases(options.speeds) if (options.only or "") in case.name]
    large = [
        case for case in many(options.speeds, options.nodes) if (options.only or "") in case.name
    ]
    is_missed = False
    print(f"boards of speeds {' : '.join(f'{s:g}' for s in options.speeds)}; aim {AIM:g}")
    print(f"{'case':16}{'tasks':>8}{'makespan s':>12}{'ideal s':>10}{'ratio':>8}{'worst':>7}")
    for case in few:
        with temporary() as folder:
            found = [run(case, folder, seed) for seed in range(options.draws)]
        ratio = statistics.median(taken.ratio for taken in found)
        worst = max(taken.ratio for taken in found)
        middle = min(found, key=lambda taken: abs(taken.ratio - ratio))
        print(
            f"{case.name:16}{middle.tasks:8,}{middle.makespan_s:12,.0f}{middle.ideal_s:10,.0f}"
            f"{ratio:8.3f}{worst:7.3f}",
            flush=True,
        )
        is_missed |= ratio > AIM
    for case in few if options.asleep else ():
        if case.name not in ASLEEP:
            continue
        with temporary() as folder:
            taken = run(case, folder, 0, options.asleep)
        print(
            f"{case.name:16}{taken.tasks:8,}{taken.makespan_s:12.2f}{taken.ideal_s:10.2f}"
            f"{taken.ratio:8.3f}  asleep",
            flush=True,
        )
    for case in large if options.nodes else ():
        with temporary() as folder:
            taken = run(case, folder, 0)
        print(
            f"{case.name:16}{taken.tasks:8,}{taken.makespan_s:12,.0f}{taken.ideal_s:10,.0f}"
            f"{taken.ratio:8.3f}  {options.nodes} nodes: {taken.cpu_s / taken.tasks * 1e3:.2f} ms"
            f" of the driver a task, {taken.cpu_s / taken.makespan_s:.1%} of a core",
            flush=True,
        )
        is_missed |= taken.ratio > AIM
    if is_missed:
        sys.exit(1)


if __name__ == "__main__":
    main()
