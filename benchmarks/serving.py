"""Responses under load, measured and simulated; and images per second by batch size.

A run as `gfjobs submit` makes it: models are served at each rate and timed in batches, and exit
costs, from which responses are simulated, take turns with them, so that a drift of the machine
affects both. Rates are given; or shares of what the slowest model bears when it is never idle, by a
first run of its latency. The error is of the simulated percentile against the measured one, in
percent of that; of each percentile the median over all served cells is printed, without its sign.

Where the error comes from is printed, too. *The queue alone*: the same percentiles from the times
of service as they were under load, so that only what lies between two of them is left: how late the
system wakes a sleeping server. *Service*: how much longer a forward pass takes under load than
where exit costs were measured, as a ratio of means. *After a pause*: that ratio as the simulation
has it, measured before requests arrive. *No pauses*: the error of the simulation without it.

With `--clock processor` all is in processor time, and a sleep ends when it should: for a machine
that others use meanwhile, which would be most of what is measured there.

    python benchmarks/serving.py [--models digits-gfnet digits-dynn] [--dataset digits]
                                 [--images 200] [--thresholds 0.5] [--loads 0.2 0.5 0.8]
                                 [--rates 20 50] [--batches 1 8 32] [--seconds 20] [--rounds 3]
                                 [--clock processor]
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from statistics import median

import numpy as np

import storage
from jobs.analysis.serving.served import ServedCell, read_served
from jobs.analysis.serving.service_times import ServiceTimes, read_service_times
from jobs.analysis.serving.simulation import PERCENTILES, Requests, simulate
from jobs.report.terminal.load import load
from jobs.runs.submit import submit
from jobs.runs.target import Target
from jobs.statistics.queueing import Numbers, queue_responses
from jobs.worker import serving, shard
from jobs.worker.timing import TimedShard

RUN = "serving"


def count_processor_time() -> None:
    """Let the clock of workers here count processor time, and sleeps as they were asked for."""
    slept_ns = 0

    def clock() -> int:
        return time.thread_time_ns() + slept_ns

    def sleep(seconds: float) -> None:
        nonlocal slept_ns
        time.sleep(seconds)
        slept_ns += round(seconds * 1e9)

    for name in ("serve", "measure_pauses"):
        setattr(serving, name, partial(getattr(serving, name), clock=clock, sleep=sleep))
    shard.TimedShard = partial(TimedShard, clock=time.thread_time_ns)


def make_grid(options: argparse.Namespace, measure: Sequence[str], rates: Sequence[float]) -> str:
    """The grid of a run, as JSON, which is YAML."""
    grid = {
        "name": RUN,
        "models": options.models,
        "datasets": [{"name": options.dataset, "limit": options.images}],
        "thresholds": options.thresholds,
        "threads": [1],
        "batch_sizes": {"throughput": options.batches},
        "measure": [*measure],
        "latency": {"rounds": options.rounds, "warmup_images": 20},
        **({"serving": {"arrivals": [*rates], "seconds": options.seconds}} if rates else {}),
    }
    return json.dumps(grid)


def run_grid(text: str, folder: Path) -> Path:
    """Run a grid in this process, and return its root."""
    folder.mkdir()
    grid = folder / "grid.yaml"
    grid.write_text(text)
    root = folder / "results"
    assert submit(grid, root, Target(is_inline=True), lambda _: None, RUN).is_done
    return root


def find_rates(options: argparse.Namespace, folder: Path) -> list[float]:
    """Rates at which the slowest model is busy for the given shares of the time."""
    root = run_grid(make_grid(options, ["latency"], ()), folder)
    rows = storage.query(root, "SELECT max(forward_ms) AS ms FROM ladder").to_pylist()
    most_per_s = 1000 / rows[0]["ms"]
    return [float(f"{share * most_per_s:.3g}") for share in options.loads]


def describe_errors(cells: Sequence[ServedCell], name: str) -> str:
    """The median error of each percentile."""
    parts = []
    for percentile in PERCENTILES:
        errors = [abs(e) for cell in cells if (e := cell.error_pct(percentile)) is not None]
        shown = f"{median(errors):.1f} % (largest {max(errors):.1f} %)" if errors else "unknown"
        parts.append(f"p{percentile} {shown}")
    return f"error of {name}, median of {len(cells)} cells: {', '.join(parts)}"


@dataclass(frozen=True)
class MeasuredRound:
    """The answered requests of a round; `service` and `responses` in ms."""

    requests: Requests
    service: Numbers
    responses: Numbers


def measured_rounds(root: Path, cell: ServedCell, times: ServiceTimes) -> list[MeasuredRound]:
    """The rounds of a cell, as they were."""
    rows = storage.named_query(
        root, "requests", run_ids=[RUN], run_id=RUN, cell_id=cell.row["cell_id"]
    ).to_pylist()
    rounds = []
    for _, group in groupby(rows, key=itemgetter("round")):
        answered = [row for row in group if row["ended_ms"] is not None]
        arrived, began, ended = (
            np.array([row[f"{name}_ms"] for row in answered])
            for name in ("arrived", "began", "ended")
        )
        image_ids = np.array([row["image_id"] for row in answered])
        exits = np.array([times.exit_blocks.index(row["exit_block"]) for row in answered])
        requests = Requests(arrived, image_ids, exits)
        rounds.append(MeasuredRound(requests, ended - began, ended - arrived))
    return rounds


def describe_parts(root: Path, cells: Sequence[ServedCell]) -> tuple[str, list[ServedCell]]:
    """Where the error comes from, by cell; and the cells as simulated without pauses."""
    lines = [
        f"{'':33}queue alone, error        no pauses, error          service, ratio",
        f"{'model':16}{'t':>4}{'/s':>8}  {'     p50     p90     p99' * 2}    load  after a pause",
    ]
    plain = []
    for cell in cells:
        row = cell.row
        times = read_service_times(root, RUN, row["cell_id"])
        assert times is not None
        assert cell.simulated is not None
        rounds = measured_rounds(root, cell, times)
        queued = np.concatenate(
            [queue_responses(each.requests.arrived_ms, each.service) for each in rounds]
        )
        measured = np.concatenate([each.responses for each in rounds])
        errors = np.percentile(queued, PERCENTILES) / np.percentile(measured, PERCENTILES) - 1
        without = simulate(
            replace(times, pause_ratios=None), [each.requests for each in rounds], math.inf
        )
        plain.append(replace(cell, simulated=without))
        exits = np.concatenate([each.requests.exits for each in rounds])
        unloaded = times.ms.mean(axis=(0, 1))[exits].mean()
        shown = "".join(f"{error:>8.1%}" for error in errors)
        for percentile in PERCENTILES:
            error = plain[-1].error_pct(percentile)
            shown += f"{'–':>8}" if error is None else f"{error:>7.1f}%"
        threshold = "–" if row["threshold"] is None else f"{row['threshold']:.3g}"
        lines.append(
            f"{row['model']:16}{threshold:>4}{row['arrivals_per_s']:>8g}  {shown}"
            f"{row['service_ms'] / unloaded:>8.2f}{cell.simulated.pause_ratio or math.nan:>15.2f}"
        )
    return "\n".join(lines), plain


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["digits-gfnet", "digits-dynn"])
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.5])
    parser.add_argument("--loads", type=float, nargs="+", default=[0.2, 0.5, 0.8])
    parser.add_argument("--rates", type=float, nargs="+", default=[])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall")
    options = parser.parse_args()
    if options.clock == "processor":
        count_processor_time()
    with tempfile.TemporaryDirectory() as folder:
        rates = options.rates or find_rates(options, Path(folder) / "latency")
        measure = ["accuracy", "latency", "exit_costs", "throughput", "serving"]
        root = run_grid(make_grid(options, measure, rates), Path(folder) / "serving")
        print(load(root, RUN))
        cells = read_served(root, RUN)
        parts, plain = describe_parts(root, cells)
        print(parts)
        print(describe_errors(plain, "the simulation without pauses"))
        print(describe_errors(cells, "the simulation"))


if __name__ == "__main__":
    main()
