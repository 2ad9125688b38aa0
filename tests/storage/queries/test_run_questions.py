"""The named queries of one run: which rows they have and in which order, beside another run."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

import storage
from tests.storage.conftest import NOON, Builder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Row = dict[str, Any]
EARLY: Row = {"model": "early", "exit_blocks": (1,)}
MODE = "conditions: the power mode changed while it was timed: 15W, 25W"


OF_EACH_RUN = ("summary", "unusable_cells")
"""Questions about every run, of which the tests look at one."""


def _answers(root: Path, name: str, *columns: str, **parameters: Any) -> list[tuple[Any, ...]]:
    if name in OF_EACH_RUN:
        every = storage.named_query(root, name, **parameters).to_pylist()
        assert every == sorted(every, key=lambda row: str(row["run_id"]))  # run by run
        rows = [row for row in every if row["run_id"] == "run-1"]
    else:
        rows = storage.named_query(root, name, run_id="run-1", **parameters).to_pylist()
    return [tuple(row[column] for column in columns or row) for row in rows]


def _twin(build: Builder) -> Builder:
    """Another run below the same root."""
    return Builder(build.root, "run-2")


def test_status_has_each_cell_in_the_order_of_the_grid(build: Builder) -> None:
    """Of this run alone."""
    for each in (_twin(build), build):
        mine = each is build
        each.cell(cell_id="b", position=1, status="failed" if mine else "done", attempts=3)
        each.cell(cell_id="a", position=1)
        each.cell(cell_id="c", position=0, rows=7)
        each.store()
    found = _answers(build.root, "status", "cell_id", "status", "attempts", "rows")
    assert found == [("c", "done", 0, 7), ("a", "done", 0, 0), ("b", "failed", 3, 0)]


def test_the_summary_leaves_out_what_was_skipped_without_an_answer(build: Builder) -> None:
    """Tables together, each in the order of the grid; the baseline is that of the run."""
    for each in (_twin(build), build):
        each.run = dataclasses.replace(each.run, baseline=f"of {each.run.run_id}")
        gone = {"status": "skipped", "is_valid": None}
        each.cell(model="skipped", **gone)
        answered = each.cell("exits", model="answered")
        each.commit(answered, exits={"image_id": [0], "exit_block": 3, "is_correct": True})
        each.cell(model="answered", **gone)
        each.cell(model="queued", status="queued")
        each.cell(model="last", dataset="a", position=9)
        each.cell(model="first", dataset="a", position=8)
        each.cell(model="two", dataset="a", threads=2, position=7)
        each.store()
    assert _answers(build.root, "summary", "dataset", "model", "baseline") == [
        ("a", "first", "of run-1"),
        ("a", "last", "of run-1"),
        ("a", "two", "of run-1"),
        ("digits", "answered", "of run-1"),
        ("digits", "queued", "of run-1"),
    ]


def test_the_summary_shows_cells_that_never_began_with_those_of_their_device(
    build: Builder,
) -> None:
    """If the run has one node of it: a cell gets its node with its first rows. Not of two nodes."""
    twin = _twin(build)
    twin.cell(node="elsewhere")
    twin.store()
    build.cell(model="begun", position=2)
    build.cell(model="b", node=None, status="queued", position=3)
    build.cell(model="a", node=None, status="queued", position=1)
    for node in ("one", "two", None):
        build.cell(model="split", device="cuda", node=node)
    build.cell(model="alone", device="jetson", node=None)
    build.store()
    assert _answers(build.root, "summary", "device", "node", "model") == [
        ("cpu", "node-a", "a"),
        ("cpu", "node-a", "begun"),
        ("cpu", "node-a", "b"),
        ("cuda", "one", "split"),
        ("cuda", "two", "split"),
        ("cuda", None, "split"),
        ("jetson", None, "alone"),
    ]


def test_the_images_of_a_run_have_paths_labels_and_names(build: Builder) -> None:
    """Those of its data sets alone, in order, each once; another run has one of these too."""
    columns = {"image_id": [1, 0], "path": ["b", "a"], "label": [7, 3], "class_name": ["cat", None]}
    for each, digests in ((_twin(build), ("d0", "other")), (build, ("d0",))):
        for digest in digests:
            each.cell(dataset_sha256=digest)
            each.cell("exits", dataset_sha256=digest)
        with storage.RunStore.create(each.root, each.run, each.cells, {}) as store:
            for digest in digests:
                own = {"dataset_sha256": digest, **columns}
                store.save_images(digest, storage.build_table("images", own))
            store.save_run(dataclasses.replace(each.run, status="done"))
    found = _answers(build.root, "images_of")
    assert found == [("d0", 0, "a", 3, None), ("d0", 1, "b", 7, "cat")]


def test_nodes_that_were_set_aside(build: Builder) -> None:
    """Those of this run whose note begins so."""
    notes = {"b": "set aside: it failed", "a": "set aside: twice", "c": "not set aside", "d": None}
    build.store([storage.NodeRow("run-1", node, note=note) for node, note in notes.items()])
    _twin(build).store([storage.NodeRow("run-2", "e", note="set aside: elsewhere")])
    assert _answers(build.root, "set_aside") == [("a", notes["a"]), ("b", notes["b"])]


def test_what_is_committed_of_each_cell(build: Builder) -> None:
    """A shard of two rounds is two, with the images and seconds of both."""
    for each in (_twin(build), build):
        cell = each.cell(rounds=2)
        for round_, shard in ((0, 0), (0, 1), (1, 0)):
            each.records(each.cell(), 1)
            each.commit(cell, round_, shard, records={"image_id": [shard]})
        each.store()
    sql = "FROM committed WHERE run_id = 'run-1' AND cell_id = 'latency-0'"
    (row,) = storage.query(build.root, sql).to_pylist()
    assert (row["shards"], row["images"], row["busy_s"]) == (3, 30, 7.5)
    assert storage.query(build.root, "FROM committed").num_rows == 8


def _routed(build: Builder, routes: Sequence[tuple[int, float]], **changes: Any) -> None:
    """A pass whose image i scores as routes[i] says, and a cell that routed it to that block."""
    blocks, scores = zip(*routes, strict=True)
    images = list(range(len(routes)))
    passes = build.cell("exits", **EARLY, **changes)
    columns: Row = {"image_id": images * 2, "exit_block": [1] * len(images) + [3] * len(images)}
    columns["gate_score"] = [*scores, *[None] * len(images)]
    build.commit(passes, exits={**columns, "prediction": 1})
    cell = build.cell(threshold=0.5, **EARLY, **changes)
    build.records(cell, len(images), exit_block=list(blocks), gate_score=list(scores))


def test_certificates_are_together_by_table(build: Builder) -> None:
    """In the order of the grid within each; another run's are not among them."""
    for each in (_twin(build), build):
        for dataset, threads in (("b", 1), ("a", 2), ("a", 1)):
            setting = {"dataset": dataset, "dataset_sha256": f"of {dataset}", "threads": threads}
            _routed(each, [(1, 0.75), (3 if each is build else 1, 0.25)], **setting)
        each.store()
    columns = ("cell_id", "dataset", "threads", "images", "flips")
    assert _answers(build.root, "certify", *columns) == [
        ("latency-5", "a", 1, 2, 0),
        ("latency-3", "a", 2, 2, 0),
        ("latency-1", "b", 1, 2, 0),
    ]


def test_the_farthest_flips_come_first(build: Builder) -> None:
    """Those without a distance last; no more than asked for."""
    scores = [(3, 0.625), (1, float("nan")), (1, 0.0), (3, 0.75), (1, 0.75)]
    _routed(build, scores)
    build.store()
    found = _answers(build.root, "certify_flips", "image_id", "gate_distance", most=9)
    assert found == [(2, 0.5), (3, 0.25), (0, 0.125), (1, None)]
    assert _answers(build.root, "certify_flips", "image_id", most=2) == [(2,), (3,)]


def test_flips_come_by_round_and_image(build: Builder) -> None:
    """Of each routed cell."""
    _routed(build, [(3, 0.75), (3, 0.75)])
    build.records(build.cells[-1], 2, 1, exit_block=3)
    build.store()
    rows = storage.query(build.root, "SELECT round, image_id FROM flips('run-1')").to_pylist()
    assert [tuple(row.values()) for row in rows] == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_exit_times_are_of_one_pass(build: Builder) -> None:
    """In the order of rounds and images."""
    passes = []
    for model, factor in (("one", 1.0), ("ten", 10.0)):
        common: Row = {"model": model, "exit_blocks": (1,)}
        passes.append(build.cell("exits", **common))
        columns: Row = {"image_id": [1, 1, 0, 0], "exit_block": [1, 3, 1, 3]}
        scores = {"gate_score": [0.9, None, 0.1, None], "is_correct": True}
        build.commit(passes[-1], exits={**columns, **scores})
        costs = build.cell("exit_costs", rounds=2, **common)
        for round_ in (1, 0):
            times = [factor * (round_ + ms) for ms in (3.0, 4.0, 1.0, 2.0)]
            build.commit(costs, round_, exit_costs={**columns, "forward_ms": times})
    build.store()
    assert _answers(build.root, "exit_times", cell_id=passes[0].cell_id) == [
        (0, [1.0, 2.0]),
        (0, [3.0, 4.0]),
        (1, [2.0, 3.0]),
        (1, [4.0, 5.0]),
    ]


def _cells(build: Builder) -> None:
    """Cells that are and are not to be believed, by their own word or their rounds."""
    two, one = ("15W", "25W"), ("15W",)
    modes = {"mixed": two, "fine": ("15W", "15W"), "both": two, "slow": one, "failed": one}
    for name, changes in (
        ("fine", {}),
        ("mixed", {}),
        ("both", {"is_valid": False, "note": "bad"}),
        ("failed", {"is_valid": False, "status": "failed", "error": "Traceback\n x\nError: no\n"}),
        ("open", {"is_valid": None, "status": "running"}),
        ("costs", {"kind": "exit_costs", "is_valid": False}),
        ("profile", {"kind": "profile", "is_valid": False}),
        ("exits", {"kind": "exits", "is_valid": False, "note": "not finite"}),
        ("slow", {"rounds": 3}),
    ):
        cell = build.cell(**{"cell_id": name, **changes})
        for round_, mode in enumerate(modes.get(name, ())):
            rows = {"node": cell.node, "power_mode": mode}
            build.commit(cell, round_, 60, rounds=rows)
        if name == "slow":
            build.commit(cell, 1, 60, rounds={"node": cell.node, "is_throttled": True})
            build.records(cell, 2, 2, is_throttled=True)


def test_which_times_are_not_to_be_believed(build: Builder) -> None:
    """What a cell says of itself, and what its rounds show; not whose answers are not finite."""
    _cells(build)
    build.store()
    other = _twin(build)
    for name in ("fine", "mixed", "slow", "open"):
        cell = other.cell(cell_id=name, is_valid=False, note="of another run")
        for round_, mode in enumerate(("7W", "8W", "9W")):
            rows = {"node": cell.node, "power_mode": mode, "is_throttled": round_ == 2}
            other.commit(cell, round_, 60, rounds=rows)
    other.store()
    sql = "SELECT cell_id, note FROM invalid_cells WHERE run_id = 'run-1' ORDER BY 1"
    found = [tuple(row.values()) for row in storage.query(build.root, sql).to_pylist()]
    assert found == [
        ("both", f"bad; {MODE}"),
        ("costs", ""),
        ("failed", "Error: no"),
        ("mixed", MODE),
        ("profile", ""),
    ]
    columns = ("kind", "status", "throttled_rounds", "is_valid", "note")
    assert _answers(build.root, "unusable_cells", *columns) == [
        ("latency", "done", 0, False, MODE),
        ("latency", "done", 0, False, f"bad; {MODE}"),
        ("latency", "failed", 0, False, "Error: no"),
        ("latency", "queued", 0, True, None),
        ("exit_costs", "done", 0, False, None),
        ("profile", "done", 0, False, None),
        ("exits", "done", 0, False, "not finite"),
        ("latency", "done", 2, True, None),
    ]


def test_what_must_be_alike_before_rows_are_compared(build: Builder) -> None:
    """The machine's state in rounds that were not throttled, of the row's own node."""
    for each, more in ((_twin(build), 5000.0), (build, 0.0)):
        cell = each.cell(rounds=3)
        each.records(cell, 2)
        for shard, (node, mhz, governor, is_throttled) in enumerate(
            (
                ("node-a", 900.0, "b", None),
                ("node-a", 1000.0, "a", False),
                ("node-a", 3000.0, "c", True),
                ("node-b", 2000.0, "d", False),
            )
        ):
            state = {"node": node, "clock_mhz": mhz + more, "governor": governor}
            each.commit(cell, shard, 60, rounds={**state, "is_throttled": is_throttled})
        each.records(each.cell(protocol=3, warmup_images=50, model="new"), 2)
        nodes = {"node-a": True, "node-b": False}
        each.store(
            [
                storage.NodeRow(each.run.run_id, node, are_clocks_locked=are)
                for node, are in nodes.items()
            ]
        )
    columns = ("model", "protocol", "max_clock_mhz", "governor", "are_clocks_locked", "position")
    assert _answers(build.root, "measured_in", *columns) == [
        ("static", 1, 1000.0, "a / b", True, 0),
        ("new", 3, None, None, True, 1),
    ]


def test_batches_by_hand(build: Builder) -> None:
    """Twelve batches of two in each of two rounds, their times and first images together."""
    for each, more in ((_twin(build), 100.0), (build, 0.0)):
        cell = each.cell(batch_size=2, rounds=3)
        starts = [NOON + timedelta(seconds=(23 - image) // 2) for image in range(24)]
        for round_ in range(3):
            times = [more + round_ + 1.0] * 23 + [None]
            slow = {"is_throttled": [True] + [False] * 23} if round_ == 1 else {}
            each.records(cell, 24, round_, forward_ms=times, started_at=starts, **slow)
        each.records(each.cell(), 11, started_at=NOON)  # one image at a time, whenever it was
        few = each.cell(rounds=2)
        for round_ in (0, 1):
            each.records(few, 6, round_)
        each.store()
    rows = _answers(build.root, "timed_batches")
    assert [(cell, node, round_) for cell, node, round_, *_ in rows] == [
        ("latency-0", "node-a", 0),
        ("latency-0", "node-a", 2),
        ("latency-1", "node-a", 0),
        *(("latency-2", "node-a", round_) for round_ in (0, 1)),
    ]
    assert [tuple(map(len, each[3:])) for each in rows[-2:]] == [(6, 6, 6)] * 2
    del rows[-2:]
    assert rows.pop()[3:] == ([2.0] * 11, [1.0] * 11, list(range(11)))
    for (*_, total_ms, images, first), ms in zip(rows, (1.0, 3.0), strict=True):
        assert total_ms == [ms, *[2 * ms] * 11]  # of one image there is no time
        assert images == [1.0, *[2.0] * 11]
        assert first == list(range(22, -1, -2))


@pytest.mark.parametrize("asked", ["at_thresholds([0.75, 0.25])", "at_threshold(0.5)"])
def test_answers_at_thresholds_by_hand(build: Builder, asked: str) -> None:
    """Of four images with unknown scores and answers; a torn pass has counts and no accuracy."""
    scores = [0.8, 0.1, None, 0.5, 0.3, None, 0.5, 0.2, None, float("nan"), float("nan"), None]
    right = [True, False, False, False, None, True, True, True, False, True, True, True]
    for each in (_twin(build), build):
        answers = right if each is build else [False] * 12
        rows: Row = {
            "image_id": [image for image in range(4) for _ in range(3)],
            "exit_block": [1, 2, 3] * 4,
            "gate_score": scores,
            "is_correct": answers,
            "is_top5": [answer is not False for answer in answers],
            "loss": [1.0, 2.0, 3.0] * 4,
        }
        gates: Row = {"exit_blocks": (1, 2)}
        each.commit(each.cell("exits", model="early", **gates), exits=rows)
        torn = {"loss": [1.0, float("nan"), 3.0] * 4}
        each.commit(each.cell("exits", model="torn", **gates), exits=rows | torn)
        each.cell("exits", model="not run", **gates)
        last = {"image_id": [0, 1], "exit_block": 3, "is_correct": [True, False]}
        each.commit(each.cell("exits", model="static"), exits={**last, "is_top5": True})
        each.store()
    sql = f"SELECT * EXCLUDE (run_id, cell_id) FROM {asked} WHERE run_id = 'run-1'"  # noqa: S608
    rows_ = storage.query(build.root, sql).to_pylist()
    names = ("model", "images", "acc1", "acc5", "loss", "exit_counts", "mean_blocks")
    by_gate = asked.startswith("at_thresholds")
    figures = (200 / 3, 75.0, 2.25) if by_gate else (75.0, 75.0, 1.5)
    counts = ([0, 1, 1, 2], 3.25) if by_gate else ([0, 3, 0, 1], 2.5)
    assert [tuple(row[name] for name in names) for row in rows_] == [
        ("early", 4, *map(pytest.approx, figures), *counts),
        ("torn", 4, None, None, None, *counts),
        ("static", 2, 50.0, 100.0, None, [0, 0, 0, 2], 4.0),
    ]
    name, value = ("thresholds", [0.75, 0.25]) if by_gate else ("threshold", 0.5)
    assert [row[name] for row in rows_] == [value, value, None]
    assert ("thresholds" in rows_[0]) == by_gate


def test_undominated_points_are_in_the_order_of_the_grid(build: Builder) -> None:
    """The frontier's own, each cell from its highest threshold down; of this run alone."""
    for each in (_twin(build), build):
        for position, model in ((1, "a"), (0, "b")):
            cell = each.cell("exits", model=model, exit_blocks=(1,), position=position)
            scores: Row = {"gate_score": [0.75, 0.25, 0.5, None, None, None]}
            scores |= {"image_id": [0, 1, 2] * 2, "exit_block": [1] * 3 + [3] * 3}
            right = [True, False, True, True, True, each is build]
            each.commit(cell, exits={**scores, "is_correct": right, "prediction": 1})
        each.store()
    columns = ("model", "threshold", "acc1")
    found = _answers(build.root, "undominated", *columns)
    assert found == [
        (model, threshold, pytest.approx(100 * right / 3))
        for model in ("b", "a")
        for threshold, right in ((0.5, 3), (0.25, 2))
    ]
