"""What the terminal says of rounds that end when figures are known: before, after, and too late."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from support.until import Timed, make_text

import storage
from jobs.analysis.comparison.compare import compare
from jobs.analysis.comparison.run_data import Side
from jobs.analysis.latency_intervals import mean_latencies
from jobs.plan.estimate import estimate
from jobs.plan.plan import Plan
from jobs.plan.view import describe_plan
from jobs.report.terminal.status import status
from jobs.report.terminal.summary import ladder
from jobs.runs.progress import Progress
from jobs.runs.submit import submit
from jobs.statistics.sequential import half_width


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Give the process its threads back: workers set them."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def run(write_grid: Callable, tmp_path: Path) -> Callable[..., Path]:
    """Run a grid as the run `r`, with rounds that differ as the test double says."""

    def ran(text: str, run_id: str = "r") -> Path:
        root = tmp_path / "results"
        assert submit(write_grid(text), root, Timed(), lambda _: None, run_id).is_done
        return root

    return ran


def test_the_interval_is_that_of_the_look(run: Callable) -> None:
    """As wide as the rule that ended the rounds has it, which is wider than of planned rounds."""
    root = run(make_text("0.3%").replace("images: 1", "images: 4"))
    cells = storage.query(root, "select cell_id, rounds, reached_pct from cells").to_pylist()
    means = mean_latencies(root, "r")
    rows = storage.query(
        root, "select cell_id, round, avg(forward_ms) ms from records group by all order by round"
    ).to_pylist()
    for cell in cells:
        values = np.array([row["ms"] for row in rows if row["cell_id"] == cell["cell_id"]])
        (mean,) = (found for key, found in means.items() if key[0] == cell["cell_id"])
        reach = half_width(values, cell["rounds"])
        assert len(values) == cell["rounds"]
        assert mean.forward_ms == pytest.approx(
            (values.mean(), values.mean() - reach, values.mean() + reach)
        )
        assert 100 * reach / values.mean() == pytest.approx(cell["reached_pct"], rel=1e-4)


def test_summary_and_status_say_what_was_spent(run: Callable) -> None:
    """Rounds, and how many they could have been."""
    root = run(make_text("0.3%"))
    (rounds,) = storage.query(root, "select distinct rounds from cells")["rounds"].to_pylist()
    said = f"until 0.3 % of each mean: known after {rounds} of at most 24 rounds"
    assert f"– {said}\n" in ladder(root, "r")
    assert f"{said}: 2 cells\n" in status(root, "r")
    assert max(map(len, [*ladder(root, "r").splitlines(), *status(root, "r").splitlines()])) <= 80


def test_a_width_that_was_not_reached_is_said_with_what_was(run: Callable) -> None:
    """By the name of the model, as all notes."""
    root = run(make_text("0.05%", most=6))
    told = ladder(root, "r")
    assert "– until 0.05 %: not reached after 6 rounds: ±" in told
    assert "until 0.05 %: not reached after 6 rounds: ±" in status(root, "r")


def test_a_plan_tells_how_many_rounds_by_earlier_runs(
    run: Callable, plan_of: Callable[[str], Plan], tmp_path: Path
) -> None:
    """Before any run the range alone; then the look at which rounds that differ so are enough."""
    text = make_text("0.3%")
    plan = plan_of(text)
    before = describe_plan(plan, estimate(plan, tmp_path / "results"))
    assert "at most 48 tasks of" in before
    assert "3 to 24 rounds, until each mean is known to ±0.3 %: no earlier run tells" in before
    assert "1 x 3-24" in before
    root = run(text)
    (rounds,) = storage.query(root, "select distinct rounds from cells")["rounds"].to_pylist()
    found = estimate(plan, root)
    assert rounds / 2 <= found.rounds <= rounds
    assert f"about {found.rounds} by earlier runs" in describe_plan(plan, found)
    narrower = plan_of(make_text("0.1%", most=40))
    assert rounds < estimate(narrower, root).rounds <= 40
    ratio = plan_of(make_text("{ratio: 0.3%}"))
    assert rounds / 2 <= estimate(ratio, root).rounds <= rounds


def test_the_time_left_is_at_most(plan_of: Callable[[str], Plan]) -> None:
    """Tasks that turn out not to be needed are counted no more."""
    plan = plan_of(make_text())
    console = Console(file=io.StringIO(), width=200)
    with Progress(plan, frozenset(), console) as progress:
        assert progress.line() == "0/2 cells, 0/48 images"
        progress.shorten({cell.cell_id: [1] * 20 for cell in plan.runnable})
        assert progress.line() == "0/2 cells, 0/8 images"


def test_a_comparison_allows_for_the_looks(run: Callable) -> None:
    """It says so beside its interval."""
    text = make_text("1%").replace("images: 1", "images: 4")
    run(text)
    root = run(text, "s")
    for row in compare(root, Side("r"), Side("s")).rows:
        is_timed = row.figure == "latency"
        assert ("ended when figures were known: interval and p allow" in str(row.note)) == is_timed
