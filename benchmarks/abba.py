"""Two identical cells in one ABBA run: how often an interval of their difference excludes zero.

One checkpoint under two names goes the way of any grid: planner, driver, worker, rows. Its rounds
are interleaved: A B, B A, A B, ... Of 95 % intervals one in twenty may exclude zero; more than 6 of
50 would be seen in 1 % of all series.

The interval of a difference: two rounds there and back (A B, B A) are one unit, in which a slow
drift and a place in the order cancel. In it each image has one difference, B's two times less A's
two, halved. Units are drawn, then images within them, by the bootstrap that makes each interval of
`gfjobs summary` (`jobs.statistics.bootstrap`). It goes by Student's t, so it must hold
with few units too: the first rounds of each run are also looked at alone.

The last two columns are what `gfjobs summary` shows, an interval for each cell by itself: how often
the two lie apart, and how far they reach. The first run loads and warms, and is not counted; what
is loaded by then is left out of the collections of garbage before each task, which would take half
of the time.

    python benchmarks/abba.py [--repetitions 50] [--model digits-gfnet] [--dataset digits]
                              [--rounds 20] [--images 60] [--warmup 10]
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import storage
from jobs.common.yaml_document import Document
from jobs.driver.cell_states import queued_rows
from jobs.driver.driver import Driver
from jobs.driver.inline_executor import InlineExecutor
from jobs.grid.reader import read_grid
from jobs.machine.devices import local_devices
from jobs.plan.plan import Plan, make_plan
from jobs.plan.sources import Sources
from jobs.statistics.bootstrap import IntervalEstimate, estimate_mean

AIM = 6 / 50  # of all intervals
NAMES = ("first", "second")
VISITS = 2  # rounds of a unit: there and back

Times = NDArray[np.float64]
"""(rounds, images) forward ms of one cell."""


def make_grid(folder: Path, options: argparse.Namespace) -> Plan:
    """One checkpoint under two names, timed in as many rounds as asked."""
    path = folder / "abba.yaml"
    models = ", ".join(f"{{name: {name}, checkpoint: {options.model}}}" for name in NAMES)
    path.write_text(
        f"name: abba\nmodels: [{models}]\n"
        f"datasets: [{{name: {options.dataset}, limit: {options.images}}}]\n"
        "thresholds: [default]\nthreads: [1]\nmeasure: [latency]\n"
        f"latency: {{rounds: {options.rounds}, warmup_images: {options.warmup},"
        f" images: {options.images}}}\n"
    )
    return make_plan(read_grid(Document.read(path), local_devices(), Path.cwd()))


def run_once(plan: Plan, root: Path) -> list[Times]:
    """Run the grid under a root of its own, and read the times of both cells."""
    run = storage.RunRow("abba")
    with storage.RunStore.create(root, run, queued_rows(plan, run.run_id), {}) as store:
        driver = Driver(store, plan, InlineExecutor(Sources.of(plan)))
        if not driver.run():
            raise RuntimeError(f"the run failed: {[cell.error for cell in store.cells]}")
    rows = storage.query(
        root,
        "select model, round, list(forward_ms order by image_id) as ms from records"
        " group by model, round order by round",
    ).to_pylist()
    return [np.array([row["ms"] for row in rows if row["model"] == name]) for name in NAMES]


def difference(first: Times, second: Times) -> IntervalEstimate:
    """How much longer the second cell takes, in ms, from as many rounds of both; an even number."""
    by_unit = (second - first).reshape(-1, VISITS, first.shape[1]).mean(axis=1)
    return estimate_mean([(unit, np.ones(len(unit))) for unit in by_unit])


def alone(cell: Times) -> IntervalEstimate:
    """The mean of one cell, as `gfjobs summary` has it."""
    return estimate_mean([(times, np.ones(len(times))) for times in cell])


def row(runs: Sequence[list[Times]], rounds: int) -> tuple[str, int]:
    """A line of the table, of the first rounds of each run; and how many intervals exclude zero."""
    cut = [[cell[:rounds] for cell in cells] for cells in runs]
    mean_ms = float(np.mean(cut))
    differences = [difference(*cells) for cells in cut]
    excluding = sum(each.low > 0 or each.high < 0 for each in differences)
    reach = np.median([(each.high - each.low) / 2 for each in differences]) / mean_ms
    off = max(abs(each.value) for each in differences) / mean_ms
    means = [[alone(cell) for cell in cells] for cells in cut]
    apart = sum(a.high < b.low or b.high < a.low for a, b in means)
    each_reach = np.median([(it.high - it.low) / 2 for pair in means for it in pair]) / mean_ms
    line = (
        f"{rounds:6}{rounds // VISITS:7}{excluding:8} of {len(runs):<5}{off:9.2%}{reach:9.2%}"
        f"{apart:9}{each_reach:11.2%}"
    )
    return line, excluding


def main() -> None:
    """Print the table; exit code 1 where too many intervals of the whole runs exclude zero."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=50)
    parser.add_argument("--model", default="digits-gfnet")
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--warmup", type=int, default=10)
    options = parser.parse_args()
    if options.rounds % VISITS:
        parser.error(f"--rounds {options.rounds} is odd: cells go there and back")
    with tempfile.TemporaryDirectory() as folder:
        plan = make_grid(Path(folder), options)
        run_once(plan, Path(folder) / "warm")
        gc.freeze()
        runs = [
            run_once(plan, Path(folder) / f"results-{number}")
            for number in range(options.repetitions)
        ]
    mean_ms = float(np.mean(runs))
    print(
        f"{options.model} as two cells of {options.images} images a round, {mean_ms:.3f} ms an"
        f" image, {options.repetitions} runs"
    )
    print(
        f"{'':13}{'exclude 0':>14}{'largest':>11}{'median':>9}{'apart in':>12}{'median ±':>9}\n"
        f"{'rounds':>6}{'units':>7}{'':14}{'|diff|':>9}{'±':>9}{'summary':>9}{'of a cell':>11}"
    )
    shown = sorted({rounds for rounds in (4, 6, 10, options.rounds) if rounds <= options.rounds})
    excluding = 0
    for rounds in shown:
        line, excluding = row(runs, rounds)
        print(line)
    allowed = round(AIM * options.repetitions)
    print(f"aim, of all {options.rounds} rounds: at most {allowed} of {options.repetitions}")
    sys.exit(excluding > allowed)


if __name__ == "__main__":
    main()
