"""Real short nights on this machine: A/A runs that must raise no alarm, then planted slowdowns.

Each night is a run of two bundled models on digits, in this process, the static one being the
control. Nothing changes from night to night, so every alarm is false. Then come nights in which the
other model is 10 % slower: after each of its forward passes, within what is timed, the processor
spins for a tenth of the time that the pass took. What is spun is the only thing that this script
changes in the package, and only in its own process.

Suspects are measured again as `gfjobs judge` does it. Nights minutes apart scatter less than nights
do, or more where something else runs meanwhile; it says how this machine's scattered. Resumable:
nights that are there under --results are not run again.

    python benchmarks/nights.py [--results FOLDER] [--nights 20] [--planted 2] [--rounds 16]
                                [--images 150]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import gfnet
import storage
from jobs.analysis.regressions.judge import judge
from jobs.analysis.regressions.remeasure import make_remeasure
from jobs.analysis.regressions.settings import Settings
from jobs.runs.submit import submit
from jobs.runs.target import Target

SLOWER = 0.1
CONTROL, CELL = "digits-gfnet", "digits-dynn"
INLINE = Target(is_inline=True)


class Slowed:
    """A runtime whose passes take a tenth longer: it spins after each."""

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime

    def __getattr__(self, name: str) -> Any:
        """All but the passes is the runtime's own."""
        return getattr(self._runtime, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """A pass at full depth."""
        return _slowly(self._runtime, *args, **kwargs)

    def route(self, *args: Any, **kwargs: Any) -> Any:
        """A pass through the gates."""
        return _slowly(self._runtime.route, *args, **kwargs)


def _slowly(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    began = time.perf_counter()
    result = call(*args, **kwargs)
    until = time.perf_counter() + SLOWER * (time.perf_counter() - began)
    while time.perf_counter() < until:
        pass
    return result


class Planted:
    """Makes the worker's models with exits slow, as long as it is entered."""

    def __enter__(self) -> None:
        """Wrap what the worker makes its engines by."""
        self._runtime = gfnet.runtime

        def runtime(name: str, model: gfnet.GFNet, **options: Any) -> Any:
            made = self._runtime(name, model, **options)
            return Slowed(made) if model.config.exit_blocks else made

        gfnet.runtime = runtime

    def __exit__(self, *_: object) -> None:
        """Give it back."""
        gfnet.runtime = self._runtime


def run_night(grid: Path, root: Path, name: str) -> float:
    """Run a night that is not there yet, and judge it; gives the seconds that took."""
    began = time.perf_counter()
    submit(grid, root, INLINE, _ignore, name)
    return time.perf_counter() - began


def judged(root: Path, name: str) -> tuple[str, storage.RegressionRow, bool]:
    """The line of the cell's latency, its row, and whether somebody would be told."""
    settings = Settings(control=CONTROL)
    verdict = judge(root, name, settings, make_remeasure(root, INLINE, _ignore))
    (row,) = [r for r in verdict.rows if (r.model, r.metric) == (CELL, "latency")]
    control = next(r for r in verdict.rows if (r.model, r.metric) == (CONTROL, "latency"))
    change = "" if row.effect_pct is None else f"{row.effect_pct:+8.1f} %"
    share = "" if row.control_share is None else f"{row.control_share:8.2f}"
    line = (
        f"{name:12}{row.value or np.nan:9.3f}{control.value or np.nan:9.3f}{change:>10}{share:>8}"
        f"  {row.verdict}{', measured again' if row.confirmed_run_id else ''}"
    )
    return line, row, verdict.is_regression


def _ignore(_text: str) -> None:
    """Say nothing."""


def scatter(root: Path, names: list[str]) -> str:
    """How the nights of cell and control scattered, and of their ratio."""
    rows = storage.query(root, "SELECT run_id, model, forward_ms FROM ladder").to_pylist()
    by_night = {(row["run_id"], row["model"]): row["forward_ms"] for row in rows}
    logs = np.log([[by_night[name, model] for model in (CELL, CONTROL)] for name in names])
    cell, control, ratio = np.std([*logs.T, logs[:, 0] - logs[:, 1]], axis=1, ddof=1)
    return f"nights scattered by {cell:.1%} (cell), {control:.1%} (control), {ratio:.1%} (ratio)"


def main() -> None:
    """Print the table; exit code 1 where an A/A night is told, or no planted one is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, help="default: a folder that is gone afterwards")
    parser.add_argument("--nights", type=int, default=20)
    parser.add_argument("--planted", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--images", type=int, default=150)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = options.results or Path(folder) / "results"
        grid = Path(folder) / "nights.yaml"
        grid.write_text(
            f"name: nights\nmodels: [{CONTROL}, {CELL}]\nthresholds: [0.7]\nthreads: [1]\n"
            f"datasets: [{{name: digits, limit: {options.images}}}]\n"
            f"latency: {{rounds: {options.rounds}, warmup_images: 20}}\n"
        )
        names = [f"night-{number:02}" for number in range(1, options.nights + 1)]
        slow = [f"slow-{number:02}" for number in range(1, options.planted + 1)]
        print(f"{options.nights} A/A nights, then {options.planted} with {CELL} 10 % slower")
        print(f"{'night':12}{CELL[:8]:>9}{'control':>9}{'change':>10}{'share':>8}  verdict")
        alarms, found = 0, []
        for name in names:
            run_night(grid, root, name)
            line, _, is_told = judged(root, name)
            alarms += is_told
            print(line, flush=True)
        with Planted():
            for name in slow:
                run_night(grid, root, name)
                line, row, _ = judged(root, name)
                found.append(row.verdict == "regression")
                print(line, flush=True)
        print(scatter(root, names))
    print(f"alarms in A/A nights: {alarms}; planted ones found: {sum(found)} of {len(found)}")
    sys.exit(bool(alarms) or (bool(found) and not any(found)))


if __name__ == "__main__":
    main()
