"""Throughput and responses: hand-worked figures, what is left out, and why figures are missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import storage
from storage.maintenance.fsck import fsck
from tests.storage.conftest import Builder


def _respond(build: Builder, cell: storage.CellRow, ms: list[float], **changes: Any) -> None:
    """Requests every 100 ms, each answered after a time; the first half of it is waiting."""
    arrived = 100.0 * np.arange(len(ms))
    columns = {
        "request": list(range(len(ms))),
        "image_id": [number % 2 for number in range(len(ms))],
        "exit_block": [1 if number % 4 else 3 for number in range(len(ms))],
        "arrived_ms": arrived,
        "began_ms": arrived + np.array(ms) / 2,
        "ended_ms": arrived + np.array(ms),
    }
    build.commit(cell, changes.pop("round_", 0), responses={**columns, **changes})


def _served(build: Builder, **changes: Any) -> storage.CellRow:
    asked = {"arrivals_per_s": 10.0, "arrivals_s": 10.0, "arrivals_seed": 0}
    early = {"exit_blocks": (1,), "model": "early", "threshold": 0.5, "thresholds": (0.5,)}
    return build.cell("serving", **{**asked, **early, **changes})


def test_figures_of_responses(build: Builder) -> None:
    """100 requests of 1 to 100 ms in 10 s: busy for half of their sum."""
    cell = _served(build)
    _respond(build, cell, [float(ms) for ms in range(1, 101)])
    build.store()
    (row,) = build.query("FROM served")
    assert (row["requests"], row["answered"], row["rounds"]) == (100, 100, 1)
    assert not row["is_overloaded"]
    assert row["response_ms"] == pytest.approx(50.5)
    assert row["wait_ms"] == row["service_ms"] == pytest.approx(25.25)
    assert row["p50_ms"] == pytest.approx(50.5)
    assert row["p90_ms"] == pytest.approx(90.1)
    assert row["p99_ms"] is None
    assert row["note"] == "p99 needs 662 requests, has 100"
    assert row["busy_pct"] == pytest.approx(100 * 25.25 * 100 / 10_000)
    assert row["answered_per_s"] == pytest.approx(10.0)
    assert row["mean_blocks"] == pytest.approx(2.5)
    assert row["acc1"] is None
    assert (row["arrivals_per_s"], row["arrivals_s"], row["arrivals_seed"]) == (10.0, 10.0, 0)


def test_an_overloaded_cell_has_no_percentiles(build: Builder) -> None:
    """It lasts until its last answer; how many it answered in a second is known."""
    cell = _served(build)
    ms = [40.0 * number for number in range(1, 101)]
    missing = [None] * 20
    columns = {
        "request": list(range(100)),
        "exit_block": [*[3] * 80, *missing],
        "arrived_ms": 10.0 * np.arange(100),
        "began_ms": [*[end - 40 for end in ms[:80]], *missing],
        "ended_ms": [*ms[:80], *missing],
    }
    build.commit(cell, responses={"image_id": 0, **columns})
    build.store()
    (row,) = build.query("FROM served")
    assert row["is_overloaded"]
    assert [row[f"{name}_ms"] for name in ("p50", "p90", "p99", "response", "wait")] == [None] * 5
    assert row["answered_per_s"] == pytest.approx(25)
    assert row["busy_pct"] == pytest.approx(100)
    assert row["note"] == "overloaded: 20 of 100 requests had no answer when the rounds were ended"


def test_throttled_rounds_are_left_out(build: Builder) -> None:
    """And a cell whose rounds all were has no figures."""
    kept, none = _served(build, rounds=2), _served(build, arrivals_per_s=20.0)
    for round_, ms, is_throttled in ((0, 10.0, False), (1, 99.0, True)):
        _respond(build, kept, [ms] * 11, round_=round_)
        rounds = {"node": "node-a", "is_throttled": is_throttled}
        build.commit(kept, round_, shard=1, rounds=rounds)
    _respond(build, none, [1.0] * 11)
    build.commit(none, 0, shard=1, rounds={"node": "node-a", "is_throttled": True})
    build.store()
    rows = build.query("FROM served")
    assert [row["p50_ms"] for row in rows] == [pytest.approx(10.0), None]
    assert [row["rounds"] for row in rows] == [1, 0]
    assert rows[1]["note"] == "every round was throttled"
    by_name = storage.named_query(build.root, "requests", run_id="run-1", cell_id=kept.cell_id)
    assert set(by_name.column("round").to_pylist()) == {0}


def test_accuracy_is_that_of_the_pass(build: Builder) -> None:
    """At the cell's thresholds: of four images, one exits early and is wrong."""
    rows: dict[str, object] = {
        "image_id": [0, 0, 1, 1, 2, 2, 3, 3],
        "exit_block": [1, 3] * 4,
        "gate_score": [0.9, None, 0.4, None, 0.1, None, float("nan"), None],
    }
    for status, right in (
        ("failed", [False] * 8),
        ("done", [False, True, False, True, True, True, True, False]),
    ):
        passed = build.cell("exits", exit_blocks=(1,), model="early", images=4, status=status)
        build.commit(passed, exits={**rows, "is_correct": right})
    for threshold, rate in ((0.5, 10.0), (0.5, 20.0), (0.3, 10.0)):
        cell = _served(build, arrivals_per_s=rate, threshold=threshold, thresholds=(threshold,))
        _respond(build, cell, [1.0] * 4)
    other = _served(build, model="other")
    _respond(build, other, [1.0] * 4)
    build.store()
    asked = storage.named_query(build.root, "requests", run_id="run-1", cell_id=other.cell_id)
    assert asked.num_rows == 4
    assert [row["acc1"] for row in build.query("FROM served")] == [50.0, 50.0, 25.0, None]


def test_a_borrower_has_the_accuracy_of_its_sample(build: Builder) -> None:
    """And its note says so."""
    early = {"exit_blocks": (1,), "model": "early"}
    passed = build.cell("exits", images=2, borrowed_from="cpu", **early)
    rows = {"image_id": [0, 0], "exit_block": [1, 3], "gate_score": [0.9, None]}
    build.commit(passed, exits={**rows, "is_correct": True})
    _respond(build, _served(build), [1.0] * 4)
    build.store()
    (row,) = build.query("FROM served")
    assert row["acc1"] == 100.0
    assert row["note"].startswith("accuracy: of the sample of 2 images that this device answered")


def test_the_pass_of_most_images_gives_the_accuracy(build: Builder) -> None:
    """A larger sample, or all images, that came later."""
    early = {"exit_blocks": (1,), "model": "early"}
    rows = {"image_id": [0, 0], "exit_block": [1, 3], "gate_score": [0.9, None]}
    for images, lender, is_correct in ((1, "cpu", False), (2, None, True)):
        passed = build.cell("exits", images=images, borrowed_from=lender, **early)
        build.commit(passed, exits={**rows, "is_correct": is_correct})
    _respond(build, _served(build), [1.0] * 11)
    build.store()
    (row,) = build.query("FROM served")
    assert row["acc1"] == 100.0
    assert "sample" not in row["note"]


def test_a_pass_that_is_not_finished_gives_no_accuracy(build: Builder) -> None:
    """It has answered only some of its images."""
    passed = build.cell("exits", exit_blocks=(1,), model="early", images=9, status="running")
    rows = {"image_id": [0, 0], "exit_block": [1, 3], "gate_score": [0.9, None]}
    build.commit(passed, exits={**rows, "is_correct": True})
    _respond(build, _served(build), [1.0] * 11)
    build.store()
    assert [row["acc1"] for row in build.query("FROM served")] == [None]


def test_rounds_without_a_request(build: Builder) -> None:
    """They last as long as others, and are not taken for throttled ones."""
    some, none = _served(build, rounds=2), _served(build, arrivals_per_s=0.01)
    _respond(build, some, [10.0] * 11)
    for cell, rounds in ((some, 2), (none, 1)):
        for round_ in range(rounds):
            build.commit(cell, round_, shard=1, rounds={"node": "node-a", "is_throttled": False})
    build.store()
    first, second = build.query("FROM served")
    assert (first["rounds"], second["rounds"]) == (2, 1)
    assert first["answered_per_s"] == pytest.approx(11 / 20)
    assert first["busy_pct"] == pytest.approx(100 * 11 * 0.005 / 20)
    assert (second["requests"], second["busy_pct"], second["is_overloaded"]) == (0, None, None)
    assert second["note"] == "no request arrived: serve more per second, or for longer"


def test_invalid_cells_say_why(build: Builder) -> None:
    """Their figures stay, for inspection."""
    _respond(build, _served(build, is_valid=False, note="throttled: 2 of 3 rounds"), [1.0] * 11)
    _served(build, status="queued", is_valid=None, arrivals_per_s=1.0)
    changing = _served(build, rounds=2, arrivals_per_s=2.0)
    for round_, mode in enumerate(("15W", "25W")):
        _respond(build, changing, [1.0], round_=round_)
        rounds = {"node": "node-a", "power_mode": mode, "is_throttled": False}
        build.commit(changing, round_, shard=1, rounds=rounds)
    build.store()
    rows = build.query("FROM served")
    assert [row["is_valid"] for row in rows] == [False, None, False]
    assert "the power mode changed while it was timed: 15W, 25W" in rows[2]["note"]
    assert rows[0]["p50_ms"] == pytest.approx(1.0)
    assert rows[0]["note"].startswith("throttled: 2 of 3 rounds; p90 needs")
    assert rows[1]["note"] == "the cell is queued"


def test_images_per_second_and_the_best_batch(build: Builder) -> None:
    """All images over the sum of their times; the best is of one model, threshold and setting."""
    for size, ms, is_valid in ((1, 4.0, True), (8, 16.0, True), (32, 1.0, False)):
        cell = build.cell("throughput", batch_size=size, is_valid=is_valid)
        columns = {"batch": [0, 1], "images": size, "forward_ms": ms / 2}
        build.commit(cell, throughput={**columns, "elapsed_ms": [ms, 3 * ms]})
    other = build.cell("throughput", batch_size=1, model="other")
    columns = {"batch": 0, "images": 1, "forward_ms": 50.0, "elapsed_ms": 100.0}
    build.commit(other, throughput=columns)
    slow = build.cell("throughput", batch_size=2, model="other")
    build.commit(slow, throughput={**columns, "images": 2})
    build.commit(slow, shard=1, rounds={"node": "node-a", "is_throttled": True})
    build.store()
    rows = build.query("FROM throughputs")
    assert [row["images_per_s"] for row in rows] == [125.0, 250.0, 16000.0, 10.0, None]
    assert [row["forward_images_per_s"] for row in rows[:2]] == [500.0, 1000.0]
    assert [row["is_best"] for row in rows] == [False, True, None, True, None]
    assert (rows[1]["images"], rows[1]["batches"], rows[1]["rounds"]) == (16, 2, 1)
    assert rows[4]["note"] == "every round was throttled"


def test_service_times_are_of_the_setting(build: Builder) -> None:
    """Of forced exits for a model with gates, of routed images for a static one."""
    cell = _served(build)
    costs = build.cell("exit_costs", exit_blocks=(1,), model="early", rounds=2)
    build.cell("exit_costs", exit_blocks=(1,), model="early", threads=2)
    columns = {"image_id": [5, 5, 7], "exit_block": [1, 3, 1]}
    build.commit(costs, exit_costs={**columns, "forward_ms": [1.0, 2.0, 9.0]})
    build.commit(costs, 1, exit_costs={**columns, "forward_ms": [1.5, 2.5, 9.0]})
    untimed = _served(build, model="untimed")
    build.store()
    found = storage.named_query(
        build.root, "service_times", run_id="run-1", cell_id=cell.cell_id
    ).to_pylist()
    assert [(row["round"], row["image_id"], row["exit_ms"]) for row in found] == [
        (0, 5, [1.0, 2.0]),
        (1, 5, [1.5, 2.5]),
    ]
    assert found[0]["exit_blocks"] == [1, 3]
    assert not storage.named_query(
        build.root, "service_times", run_id="run-1", cell_id=untimed.cell_id
    ).num_rows


def test_static_service_times_are_latencies(build: Builder) -> None:
    """Of batch 1, in a valid cell."""
    served = build.cell("serving", arrivals_per_s=10.0, arrivals_s=1.0)
    build.records(build.cell(batch_size=8), 2, forward_ms=9.0)
    build.records(build.cell(is_valid=False), 2, forward_ms=8.0)
    build.records(build.cell(), 2, forward_ms=[3.0, 4.0])
    build.store()
    found = storage.named_query(
        build.root, "service_times", run_id="run-1", cell_id=served.cell_id
    ).to_pylist()
    assert [(row["image_id"], row["exit_ms"]) for row in found] == [(0, [3.0]), (1, [4.0])]


def test_pause_ratios_are_of_the_setting(build: Builder) -> None:
    """Of all rates and rounds; not of other threads, of a throttled round, of an invalid cell."""
    cells = [
        _served(build),
        _served(build, arrivals_per_s=20.0, threshold=0.6, thresholds=(0.6,)),
        _served(build, threads=2),
        _served(build, arrivals_per_s=30.0, is_valid=False),
    ]
    for number, cell in enumerate(cells):
        for round_ in range(2):
            ratios = [[1.0 + number, 2.0 + round_]]
            build.commit(cell, round_, rounds={"node": "node-a", "pause_ratios": ratios})
    build.commit(cells[0], 2, rounds={"pause_ratios": [[9.0, 9.0]], "is_throttled": True})
    costs = build.cell("exit_costs", exit_blocks=(1,), model="early")
    build.store()
    for cell in (cells[0], costs):
        found = storage.named_query(
            build.root, "pause_ratios", run_id="run-1", cell_id=cell.cell_id
        ).to_pylist()
        expected = [[1.0, 2.0], [1.0, 3.0], [2.0, 2.0], [2.0, 3.0]]
        assert [row["pause_ratios"] for row in found] == expected


def test_duplicates_are_found(build: Builder) -> None:
    """A request or a batch twice in a round; the number of images is that of commits."""
    cell = _served(build, rows=10)
    _respond(build, cell, [1.0] * 4, request=[0, 1, 2, 2])
    good = build.cell("throughput", batch_size=4, rows=10)
    build.commit(good, throughput={"batch": [0, 1], "images": 4, "elapsed_ms": 1.0})
    build.store(merge=True)
    (found,) = fsck(build.root)
    assert "1 of 4 rows of responses, round 0, are duplicates" in found.what
