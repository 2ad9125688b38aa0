"""A run that is served: measured and simulated figures, choices by p99, and how it is shown."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import storage
from jobs.analysis.serving.gaps import NO_ACCURACY, explain_candidates, explain_rates
from jobs.analysis.serving.limit import (
    P99_SAMPLES,
    Candidate,
    choose_at_rate,
    find_rates,
    pass_of,
)
from jobs.analysis.serving.served import NO_TIMES, read_served
from jobs.analysis.serving.service_times import read_service_times
from jobs.analysis.serving.view import describe_candidates, describe_rates
from jobs.cli import main
from jobs.common.errors import UsageError
from jobs.report.html.page import html_page
from jobs.report.read import read_report
from jobs.report.terminal.load import encode_load, load, load_alone

GRID = """\
name: loaded
models: [flat.safetensors, dynn.safetensors]
datasets: [{name: digits, limit: 30}]
thresholds: [0.4, 0.6]
threads: [1]
batch_sizes: {throughput: [1, 8]}
measure: [accuracy, latency, exit_costs, throughput, serving]
latency: {rounds: 2, warmup_images: 4}
serving: {arrivals: [40], seconds: 2}
"""
PLAIN = GRID.replace(", throughput, serving", "").replace("name: loaded", "name: plain")


@pytest.fixture(scope="module")
def root(ran: Callable[[str], Path]) -> Path:
    """A root with the run."""
    return ran(GRID)


@pytest.fixture(scope="module")
def run_id(root: Path) -> str:
    """The run's name."""
    (run,) = storage.list_runs(root)
    return run.run_id


def test_each_cell_is_simulated(root: Path, run_id: str) -> None:
    """From exit costs or latencies, on the requests that it had."""
    cells = read_served(root, run_id)
    assert [(cell.row["model"], cell.row["threshold"] is None) for cell in cells] == [
        ("flat", True),
        ("dynn", False),
        ("dynn", False),
    ]
    for cell in cells:
        assert cell.row["requests"] == cell.row["answered"] > 64
        assert cell.simulated
        times = read_service_times(root, run_id, cell.row["cell_id"])
        assert times
        assert times.ms.shape == (2, 30, 1 if cell.row["model"] == "flat" else 3)
        median = cell.simulated_ms(50)
        assert median is not None
        assert times.pause_ratios is not None
        quickest = times.ms * np.minimum(times.pause_ratios, 1)  # noise: a pause speeds nothing up
        assert quickest.min() < median < times.ms.max() * 10
        measured = cell.row["p50_ms"]
        assert cell.error_pct(50) == pytest.approx(100 * (median / measured - 1))
        assert cell.error_pct(99) is None  # too few requests


def test_it_is_shown(root: Path, run_id: str) -> None:
    """Every model, threshold, batch size and rate; in 80 columns; and as JSON."""
    shown = load(root, run_id)
    assert load_alone(root, run_id) == shown
    assert "throughput" in shown
    assert "simulated from exit costs" in shown
    assert "p99 needs 662 requests" in shown
    assert "– simulated from 60 times of each exit: rare slow ones may be missing" in shown
    content = json.loads(encode_load(root, run_id, "json"))
    assert [(row["kind"], row["model"], row["batch_size"]) for row in content[:6]] == [
        ("throughput", model, size) for model in ("flat", "dynn", "dynn") for size in (1, 8)
    ]
    assert [row["kind"] for row in content[6:]] == ["serving"] * 3
    assert content[7]["simulated_p50_ms"] > 0
    assert {row["arrivals_per_s"] for row in content[6:]} == {40}


def test_every_gap_has_its_reason(root: Path, run_id: str) -> None:
    """A dash of a model, and `none`, each with what it is for, once."""
    found = [replace(each, timed=None) for each in find_rates(root, run_id, 1000.0, {})]
    said = [f"p99 needs 662 requests, has {each.row['answered']}, at 40/s" for each in found]
    for each in said:
        assert f"no rate as measured: {each}" in " ".join(describe_rates(found, 1000.0).split())
    static, routed, _ = found
    lone = {key: value for key, value in static.row.items() if key != "arrivals_per_s"}
    gaps = [
        replace(each, measured=None, exceeded=None, acc1=None, simulated_per_s=None, row=row)
        for each, row in ((static, lone), (routed, routed.row))
    ]
    assert explain_rates(gaps)[:3] == [
        f"{NO_ACCURACY} (flat; {routed.name})",
        "no rate as measured: it was not served (measure: [serving]) (flat)",
        "simulation: its latency was not measured at batch 1 (measure: [latency]) (flat)",
    ]
    assert explain_rates(gaps)[4].startswith("simulation: exit costs were not measured at batch 1")
    slow = Candidate(routed.row, 90.0, 40.0, 70.0, is_simulated=False)
    above = replace(routed, measured=None, exceeded=slow, simulated_per_s=0.0)
    limited = "no rate as measured: a p99 of 70 ms at 40/s, its lowest rate, is above the limit"
    assert explain_rates([above]) == [
        f"{limited} ({routed.name})",
        f"no rate as simulated: a single request at a time is above the limit ({routed.name})",
    ]
    overloaded = replace(slow, p99_ms=None, row={**routed.row, "note": "overloaded: 2 of 9"})
    assert explain_candidates([overloaded, replace(slow, p99_ms=None, is_simulated=True)]) == [
        f"no p99: overloaded: 2 of 9 ({routed.name})",
        f"no p99: overloaded in the simulation ({routed.name})",
    ]
    assert explain_candidates([slow]) == []


def test_a_run_without_load_shows_none(ran: Callable[[str], Path]) -> None:
    """Nothing below the ladder, and asked for alone it says what to do."""
    root = ran(PLAIN)
    run = storage.list_runs(root)[0].run_id
    assert load(root, run) == ""
    for view in (load_alone, partial(encode_load, form="json")):
        with pytest.raises(UsageError, match=r"measures no load; set measure: \[accuracy"):
            view(root, run)


def test_without_enough_requests_the_choice_is_simulated(root: Path, run_id: str) -> None:
    """And says so; thresholds that were not served are among what it chooses from."""
    best, every, _ = choose_at_rate(root, run_id, 1000.0, 40.0, {})
    assert best.is_simulated
    assert best.acc1 == max(each.acc1 for each in every if each.acc1 is not None)
    assert len(every) > 5
    text = describe_candidates(best, every, 1000.0)
    assert "simulated from exit costs, not measured" in " ".join(text.split())
    assert "serving: {arrivals: [40], seconds: 17}" in " ".join(text.split())  # 662 requests
    assert "simulated from 60 times of each exit" in text
    (needed,) = storage.query(root, "select samples_for(99) as n").column("n").to_pylist()
    assert needed == P99_SAMPLES
    enough = [replace(each, timed=P99_SAMPLES) for each in every]
    assert "times of each exit" not in describe_candidates(enough[0], enough, 1000.0)
    assert max(map(len, text.splitlines())) <= 80


def test_rates_of_the_simulation(root: Path, run_id: str) -> None:
    """Higher where more is allowed, none where a single image takes too long."""
    longest_ms = max(  # of an idle server, for which a pass after a pause takes longer
        times.ms.max() * max(1.0, times.pause_ratios.max())
        for cell in read_served(root, run_id)
        if (times := read_service_times(root, run_id, cell.row["cell_id"]))
        and times.pause_ratios is not None
    )
    some, more = (find_rates(root, run_id, share * longest_ms, {}) for share in (2, 8))
    assert [each.name.split(" ")[0] for each in some] == ["flat", "dynn", "dynn"]
    for low, high in zip(some, more, strict=True):
        assert low.measured is None  # p99 is not known
        assert low.simulated_per_s is not None
        assert high.simulated_per_s is not None
        assert 0 < low.simulated_per_s < high.simulated_per_s
    none = find_rates(root, run_id, 1e-6, {"model": "dynn"})
    assert [each.simulated_per_s for each in none] == [0.0, 0.0]
    text = describe_rates(none, 1e-6)
    assert "none" in text
    assert "simulated from 60 times of each exit" in text
    assert max(map(len, text.splitlines())) <= 80


def test_what_cannot_be_chosen(root: Path, run_id: str) -> None:
    """Each refusal says what there is."""
    with pytest.raises(UsageError, match="nothing is within 1e-06 ms at 40/s: the lowest 99th"):
        choose_at_rate(root, run_id, 1e-6, 40.0, {})
    said = f"run {run_id} has nothing with --model other; choose one of:"
    for choose in (partial(choose_at_rate, per_s=40.0), find_rates):
        with pytest.raises(UsageError) as refused:
            choose(root, run_id, 50.0, narrowing={"model": "other"})
        assert str(refused.value) == f"{said}\n  --model flat\n  --model dynn"
    with pytest.raises(
        UsageError, match=r"has nothing with --device tpu.*\n  --model flat --device"
    ):
        find_rates(root, run_id, 50.0, {"device": "tpu"})


def test_a_simulation_can_be_overloaded(ran: Callable[[str], Path]) -> None:
    """Of a run without serving cells, for which `summary --load` has nothing."""
    root = ran(PLAIN)
    run = storage.list_runs(root)[0].run_id
    said = "nothing is within 100 ms at 100000/s: all are overloaded in the simulation; choose a"
    with pytest.raises(UsageError, match=said) as refused:
        choose_at_rate(root, run, 100.0, 100_000.0, {})
    assert "--load" not in str(refused.value)


def test_what_is_neither_measured_nor_simulated_is_named(
    ran: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reason: of one choice, of a refusal, and if it was not served at all."""
    root = ran(GRID.replace("exit_costs, throughput, ", ""))
    run = storage.list_runs(root)[0].run_id
    requests = read_served(root, run)[0].row["requests"]
    why = f"p99 needs 662 requests, has {requests}; {NO_TIMES}"
    best, every, left_out = choose_at_rate(root, run, 5000.0, 40.0, {})
    assert [each.name for each in every] == ["flat"]
    assert left_out == [f"{why} (dynn at 0.4; dynn at 0.6)"]
    text = " ".join(describe_candidates(best, every, 5000.0, left_out).split())
    assert f"– not compared: {left_out[0]}" in text
    with pytest.raises(UsageError, match="the lowest 99th") as refused:
        choose_at_rate(root, run, 1e-6, 40.0, {})
    assert str(refused.value).endswith(f"\n  not compared: {left_out[0]}")
    with pytest.raises(UsageError) as refused:
        choose_at_rate(root, run, 5000.0, 40.0, {"model": "dynn"})
    said = f"run {run} has no 99th percentile with --model dynn at 40/s:\n  {left_out[0]}"
    assert str(refused.value) == said
    *_, left_out = choose_at_rate(root, run, 5000.0, 1.0, {})
    assert left_out == [f"not served at this rate; {NO_TIMES} (dynn)"]
    with pytest.raises(UsageError, match="it was served at 40/s; `measure"):
        choose_at_rate(root, run, 5000.0, 1.0, {"model": "dynn"})
    monkeypatch.setattr(storage, "named_query", Planted([]).named_query(storage.named_query))
    *_, left_out = choose_at_rate(root, run, 5000.0, 40.0, {})
    assert left_out == [f"not served at this rate; {NO_TIMES} (dynn)"]


def test_the_chosen_one_is_listed(root: Path, run_id: str) -> None:
    """Even if more than are listed have the same accuracy."""
    best, every, _ = choose_at_rate(root, run_id, 1000.0, 40.0, {})
    alike = [replace(each, acc1=best.acc1) for each in every]
    (place,) = (place for place, each in enumerate(every) if each is best)
    last = [*alike[:place], *alike[place + 1 :], alike[place]]
    text = describe_candidates(last[-1], last, 1000.0)
    assert " chosen\n" in text
    assert f"{len(every) - 12} more were simulated" in text


@pytest.mark.parametrize(
    ("limit_ms", "rate", "said"),
    [
        (math.nan, 40.0, "--max-p99-ms nan: give milliseconds, a finite number"),
        (math.inf, 40.0, "--max-p99-ms inf: give milliseconds"),
        (50.0, math.nan, "--at nan: give requests per second, from 0.001 to 100,000"),
        (50.0, math.inf, "--at inf: give"),
        (50.0, 1e-300, "--at 1e-300: give"),
        (50.0, 1e300, r"--at 1e\+300: give"),
    ],
)
def test_no_number_is_no_limit(
    root: Path, run_id: str, limit_ms: float, rate: float, said: str
) -> None:
    """What no server can be asked for is refused, with what is allowed."""
    with pytest.raises(UsageError, match=said):
        choose_at_rate(root, run_id, limit_ms, rate, {})
    if not math.isfinite(limit_ms):
        with pytest.raises(UsageError, match=said):
            find_rates(root, run_id, limit_ms, {})


def test_other_limits_are_not_ignored(root: Path, run_id: str) -> None:
    """Nor is one of 0."""
    words = ["choose", run_id, "--max-p99-ms", "50", "--max-drop", "0", "--results", str(root)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert "leave out --max-drop" in result.output


@pytest.fixture(scope="module")
def several(ran: Callable[[str], Path]) -> Path:
    """A root with a run of two data sets in two settings."""
    sets = "[{name: digits, limit: 12}, {name: digits, split: train, limit: 8}]"
    text = GRID.replace("[{name: digits, limit: 30}]", sets).replace(
        "threads: [1]", "threads: [1, 2]"
    )
    text = text.replace("seconds: 2", "seconds: 0.5").replace("[0.4, 0.6]", "[0.4]")
    return ran(text.replace("[1, 8]", "[8]").replace("rounds: 2", "rounds: 1"))


def test_accuracies_of_several_data_sets_do_not_compare(several: Path) -> None:
    """The data set is asked for; settings are told apart."""
    run_id = storage.list_runs(several)[0].run_id
    with pytest.raises(UsageError, match="2 data sets, whose accuracies do not compare") as refused:
        choose_at_rate(several, run_id, 5000.0, 20.0, {})
    assert str(refused.value).endswith("  --dataset digits/test@12\n  --dataset digits/train@8")
    best, every, _ = choose_at_rate(several, run_id, 5000.0, 20.0, {"dataset": "digits/train@8"})
    text = describe_candidates(best, every, 5000.0)
    assert re.search(r"threads +acc@1", text)
    assert max(map(len, text.splitlines())) <= 80
    rates = describe_rates(find_rates(several, run_id, 5000.0, {}), 5000.0)
    assert re.search(r"dataset +threads +acc@1", rates)


def test_models_of_one_place_share_a_table(several: Path) -> None:
    """Although the grid has them by model first; reasons name the data set and the setting."""
    run_id = storage.list_runs(several)[0].run_id
    text = load(several, run_id)
    assert text.count("throughput; forward") == 2
    assert text.count("response in ms") == 2
    assert "flat, 40/s on digits/test@12 (1 thread)" in " ".join(text.split())


@dataclass
class Planted:
    """Serving cells as they might have been measured."""

    rows: list[dict[str, Any]]

    def named_query(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """Answer for served_in."""

        def ask(root: Any, name: str, **parameters: Any) -> Any:
            return self if name == "served_in" else real(root, name, **parameters)

        return ask

    def to_pylist(self) -> list[dict[str, Any]]:
        """Give the rows."""
        return self.rows


@pytest.fixture
def planted(root: Path, run_id: str, monkeypatch: pytest.MonkeyPatch) -> Planted:
    """Give cells at 10, 20 and 40 requests per second: p99, accuracy by model and threshold."""
    like = [cell.row for cell in read_served(root, run_id)]
    p99_ms: dict[int, list[float | None]] = {
        0: [30.0, 60.0, None],
        1: [10.0, 20.0, 49.0],
        2: [20.0, 45.0, 80.0],
    }
    rows = [
        {
            **like[place],
            "arrivals_per_s": rate,
            "p99_ms": value,
            "acc1": 90.0 - place,
            "is_overloaded": value is None,
        }
        for rate, values in zip((10.0, 20.0, 40.0), zip(*p99_ms.values(), strict=True), strict=True)
        for place, value in enumerate(values)
    ]
    found = Planted(rows)
    monkeypatch.setattr(storage, "named_query", found.named_query(storage.named_query))
    return found


@pytest.mark.parametrize(
    ("rate", "limit_ms", "expected"),
    [(10.0, 50.0, 0), (20.0, 50.0, 1), (40.0, 50.0, 1), (20.0, 60.0, 0), (20.0, 20.0, 1)],
)
@pytest.mark.usefixtures("planted")
def test_the_highest_accuracy_within_the_limit(
    root: Path, run_id: str, rate: float, limit_ms: float, expected: int
) -> None:
    """As measured, static or not; a limit that is just met is met."""
    best, every, _ = choose_at_rate(root, run_id, limit_ms, rate, {})
    assert not best.is_simulated
    assert best.acc1 == 90.0 - expected
    assert len(every) == 3
    assert "as measured" in describe_candidates(best, every, limit_ms)


def test_the_highest_rate_within_the_limit(root: Path, run_id: str, planted: Planted) -> None:
    """Up to which every lower one is within it, too."""
    found = find_rates(root, run_id, 50.0, {})
    assert [each.measured.per_s if each.measured else None for each in found] == [10.0, 40.0, 20.0]
    assert f"chosen: {found[1].name}, at 40/s as measured" in describe_rates(found, 50.0)
    planted.rows[0]["p99_ms"] = 70.0  # of the static model at 10
    planted.rows[1]["is_valid"] = False
    found = find_rates(root, run_id, 65.0, {})
    assert [each.measured.per_s if each.measured else None for each in found] == [None, None, 20.0]
    first = replace(found[0], simulated_per_s=169.0)
    assert first.exceeded is not None
    assert first.exceeded.per_s == 10.0
    said = " ".join(describe_rates([first], 65.0).split())
    assert "do not rely on 169/s as simulated, since a p99 of 70 ms was measured at 10/s" in said
    lower = replace(first, simulated_per_s=9.0)
    assert "do not rely" not in describe_rates([lower], 65.0)


def test_what_was_measured_refutes_a_simulated_choice(
    root: Path, run_id: str, planted: Planted
) -> None:
    """At the same or a lower rate, and at the same or a shallower threshold of the same model."""
    for row in planted.rows:  # so slow that no simulation on a busy machine is above the limits
        row["arrivals_per_s"] /= 10
        row["p99_ms"] = row["p99_ms"] and 100 * row["p99_ms"]

    def said(limit_ms: float, rate: float, model: str = "dynn") -> str:
        _, every, _ = choose_at_rate(root, run_id, limit_ms, rate, {"model": model})
        (best,) = (each for each in every if each.name in (model, f"{model} at 0.6"))
        assert best.is_simulated
        return " ".join(describe_candidates(best, every, limit_ms).split())

    refuted = "do not rely on the simulated p99 at"
    p99 = f"{refuted} 4.1/s, since a p99 of 8000 ms was measured of dynn at 0.6 at 4/s (dynn at 0.6"
    assert p99 in said(6000.0, 4.1)
    assert said(8000.0, 4.1).count(refuted) == 0, "a limit that is just met is met"
    assert said(7999.0, 3.9).count(refuted) == 0, "a higher rate refutes nothing"
    _, every, _ = choose_at_rate(root, run_id, 6000.0, 4.1, {"model": "dynn"})
    deeper = planted.rows[2]["threshold"]
    assert all((each.refuting is None) == (each.row["threshold"] < deeper) for each in every)
    assert f"{refuted} 5/s, since an overload was measured of flat at 4/s" in said(1e9, 5.0, "flat")
    for row in planted.rows:
        row["p99_ms"] = None
        row["is_overloaded"] = False
        row["p90_ms"] = 7000.0 if row["arrivals_per_s"] == 4 else None
        row["p50_ms"] = 1000 * row["arrivals_per_s"]
    assert f"{refuted} 4/s, since a p90 of 7000 ms was measured of dynn at 0.4" in said(6000.0, 4.0)
    assert f"{refuted} 2/s, since a p50 of 2000 ms was measured of dynn at 0.4" in said(1900.0, 2.0)
    planted.rows[1]["p50_ms"] = 3000.0  # of dynn at 0.4 at 1/s
    found = find_rates(root, run_id, 2500.0, {"model": "dynn"})
    assert [each.exceeded.per_s if each.exceeded else None for each in found] == [1.0, 4.0]
    text = " ".join(describe_rates(found, 2500.0).split())
    assert "no rate as measured: a p50 of 3000 ms at 1/s, its lowest rate, is above" in text
    assert f"{found[1].name}: do not rely on" in text
    assert "since a p50 of 3000 ms was measured of dynn at 0.4 at 1/s" in text
    for row in planted.rows:
        row["is_valid"] = False
    assert said(1900.0, 2.0).count(refuted) == 0


@pytest.mark.usefixtures("planted")
def test_a_choice_has_its_pass(root: Path, run_id: str) -> None:
    """Thresholds of a model with gates can be written; a static model has none."""
    best, *_ = choose_at_rate(root, run_id, 50.0, 20.0, {"model": "dynn"})
    assert pass_of(root, run_id, best)["model"] == "dynn"
    assert len(best.vector) == 2
    assert all(math.isfinite(value) for value in best.vector)
    best, *_ = choose_at_rate(root, run_id, 50.0, 10.0, {"model": "flat"})
    with pytest.raises(UsageError, match="flat has no thresholds to write: it is static"):
        pass_of(root, run_id, best)


def test_responses_of_every_round_differ(root: Path) -> None:
    """The rounds of a cell have other arrivals; cells of one round the same ones."""
    rows = storage.query(
        root,
        "SELECT cell_id, round, arrived_ms FROM responses WHERE request < 5 ORDER BY ALL",
    ).to_pylist()
    by_task: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        by_task.setdefault((row["cell_id"], row["round"]), []).append(row["arrived_ms"])
    first, second = (
        np.array([times for (_, number), times in by_task.items() if number == round_])
        for round_ in (0, 1)
    )
    assert (first == first[0]).all()
    assert (second == second[0]).all()
    assert (first[0] != second[0]).all()


def test_the_page_has_a_section(root: Path, run_id: str) -> None:
    """With a chart of responses and one of throughput."""
    page = html_page(root, read_report(root, run_id))
    assert '<section id="load"' in page
    for name in ("response-by-rate-1", "throughput-by-batch-1"):
        assert f'data-chart="{name}"' in page
