"""The ladder where every row has a neighbour that must not be taken for it; figures by hand."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

import storage
from tests.storage.conftest import NOON, Builder

if TYPE_CHECKING:
    from pathlib import Path

Row = dict[str, Any]
NAN = math.nan
EARLY: Row = {"model": "early", "exit_blocks": (1, 2)}
# Each makes a cell another one in one regard.
OTHERS: tuple[Row, ...] = (
    {"model": "other"},
    {"dataset": "other"},
    {"dataset_sha256": "d9"},
    {"device": "gpu"},
    {"runtime": "onnx"},
    {"precision": "int8"},
    {"threads": 2},
)


def _ladder(root: Path, columns: str = "*", where: str = "run_id = 'run-1'") -> list[Row]:
    sql = f"SELECT {columns} FROM ladder WHERE {where}"  # noqa: S608 (ours)
    rows: list[Row] = storage.query(root, sql).to_pylist()
    return rows


def _answer(build: Builder, cell: storage.CellRow, *, is_correct: bool = True) -> None:
    """Plan one answer of an all-exit pass."""
    rows = {"image_id": [0], "exit_block": [3], "is_correct": is_correct, "is_top5": True}
    build.commit(cell, exits=rows)


def test_a_top_5_that_is_null_has_its_reason(build: Builder) -> None:
    """With five classes or fewer; accuracy and loss stay."""
    build.records(build.cell(), 2, is_top5=None)
    build.store()
    (row,) = _ladder(build.root, "acc1, acc5, loss, note")
    assert (row["acc1"], row["acc5"], row["loss"]) == (100.0, None, 0.5)
    assert "acc@5: with five classes or fewer, every class is in the top 5" in row["note"]


def test_a_row_by_hand(build: Builder) -> None:
    """Four images at two thresholds, and twelve times of two rounds; a third was throttled."""
    for each, throttled in ((build, 0), (Builder(build.root, "run-2"), 1)):
        passes = each.cell("exits", images=4, **EARLY)
        scores = [0.8, 0.1, None, 0.5, 0.3, None, 0.5, 0.2, None, NAN, NAN, None]
        right = [True, False, False, False, None, True, True, True, False, True, True, True]
        if each is not build:
            right = [False] * 12
        each.commit(
            passes,
            exits={
                "image_id": [image for image in range(4) for _ in range(3)],
                "exit_block": [1, 2, 3] * 4,
                "gate_score": scores,
                "is_correct": right,
                "is_top5": [answer is not False for answer in right],
                "loss": [1.0, 2.0, 3.0] * 4,
            },
        )
        cell = each.cell(thresholds=(0.75, 0.25), rounds=3, **EARLY)
        wrong = {"is_correct": False, "exit_block": 1}  # what only the pass is asked for
        flags = [image == 7 for image in range(20)]
        times = {"forward_ms": 99.0, "elapsed_ms": 99.0}
        each.records(cell, 20, throttled, is_throttled=flags, **times, **wrong)
        more = 10.0 * throttled
        kept = {"forward_ms": 1.0 + more, "elapsed_ms": 2.0 + more}
        each.records(cell, 10, 1 - throttled, **kept, **wrong)
        late = {
            "forward_ms": [4.0 + more, 4.0 + more, None],
            "elapsed_ms": [8.0 + more, 8.0 + more, None],
        }
        each.records(cell, 3, 2, **late, **wrong)
        each.store()
    (row,) = _ladder(build.root)
    assert (row["acc1"], row["acc5"], row["loss"]) == (pytest.approx(200 / 3), 75.0, 2.25)
    assert (row["exit_counts"], row["mean_blocks"]) == ([0, 1, 1, 2], 3.25)
    assert (row["thresholds"], row["threshold"]) == ([0.75, 0.25], None)
    assert (row["samples"], row["forward_ms"], row["elapsed_ms"]) == (12, 1.5, 3.0)
    assert (row["p50_ms"], row["p90_ms"], row["p99_ms"]) == (1.0, None, None)
    assert row["fps"] == pytest.approx(1000 / 3)
    assert (row["is_valid"], row["params"]) == (True, 1000)
    (other,) = _ladder(build.root, where="run_id = 'run-2'")
    assert (other["acc1"], other["samples"], other["forward_ms"]) == (0.0, 12, 11.5)


def test_the_hosts_share_is_of_rows_with_both_times(build: Builder) -> None:
    """By hand: 3 of 4 ms and 6 of 8 ms by the device's clock, and a row that has none."""
    cell = build.cell(rounds=2)
    times = {"forward_ms": [4.0, 8.0, 100.0], "elapsed_ms": 200.0, "device_ms": [3.0, 6.0, None]}
    build.records(cell, 3, **times)
    build.records(cell, 3, 1, forward_ms=1.0, device_ms=0.25)
    build.commit(cell, 1, 90, rounds={"is_throttled": True})
    build.store()
    (row,) = _ladder(build.root)
    assert (row["device_ms"], row["host_share_pct"]) == (4.5, 25.0)


def test_without_the_devices_clock_the_hosts_share_is_not_known(build: Builder) -> None:
    """As on a CPU: NULL, which is not 0."""
    build.records(build.cell(), 3)
    build.store()
    (row,) = _ladder(build.root)
    assert (row["forward_ms"], row["device_ms"], row["host_share_pct"]) == (2.0, None, None)


def test_percentiles_are_each_its_own(build: Builder) -> None:
    """Of 1, 2, ... 701 ms: 351, 631 and 694."""
    build.records(build.cell(), 701, forward_ms=[float(ms) for ms in range(1, 702)])
    build.store()
    (row,) = _ladder(build.root)
    found = [row[name] for name in ("p50_ms", "p90_ms", "p99_ms", "forward_ms")]
    assert found == pytest.approx([351, 631, 694, 351])


def test_without_a_pass_the_first_round_answers(build: Builder) -> None:
    """Its routes, of which each round has one an image; depth is that of the deepest seen."""
    cell = build.cell(depth=None, rounds=2)
    build.records(cell, 2, is_correct=[True, False], exit_block=[0, 2], loss=[1.0, 2.0])
    build.records(cell, 2, 1, is_correct=False, exit_block=3, loss=9.0)
    build.records(build.cell(model="deep"), 2, exit_block=[0, 1])
    build.store()
    row, deep = _ladder(build.root)
    assert deep["exit_counts"] == [1, 1, 0, 0]
    assert (row["acc1"], row["loss"]) == (50.0, 1.5)
    assert (row["exit_counts"], row["mean_blocks"]) == ([1, 0, 1], 2.0)


def _sources(root: Path) -> dict[str, str | None]:
    rows = storage.query(root, "FROM answer_sources WHERE run_id = 'run-1'").to_pylist()
    assert len(rows) == len({row["cell_id"] for row in rows})
    return {row["cell_id"]: row["source_id"] for row in rows}


def test_only_a_pass_of_the_same_work_answers(build: Builder) -> None:
    """Larger ones of anything else do not; each of these has a row of its own, if untimed."""
    other = Builder(build.root, "run-2")
    for each, images in ((other, 900), (build, 10)):
        for change in OTHERS:
            _answer(each, each.cell("exits", images=100, **change), is_correct=False)
        for change in ({"checkpoint_sha256": "c9"}, {"exit_blocks": (2,)}):
            _answer(each, each.cell("exits", images=100, **change), is_correct=False)
        each.cell("exits", images=100)  # it has no rows
        passes = each.cell("exits", images=images, cell_id=f"pass-of-{each.run.run_id}")
        _answer(each, passes, is_correct=each is build)
        each.records(each.cell(), 3, is_correct=False)
        _answer(each, each.cell("exits", model="timed elsewhere"))
        if each is other:
            each.records(each.cell(model="timed elsewhere"), 3)
        each.store()
    assert _sources(build.root) == {
        "latency-11": "pass-of-run-1",
        "exits-12": "exits-12",
        **{f"exits-{number}": f"exits-{number}" for number in range(len(OTHERS))},
    }
    rows = _ladder(build.root, "cell_id, acc1, forward_ms, note")
    (timed,) = (row for row in rows if row["cell_id"] == "latency-11")
    assert (timed["acc1"], timed["forward_ms"]) == (100.0, 2.0)
    assert {row["note"] for row in rows if row["cell_id"] != "latency-11"} == {
        "latency and energy: not timed in this run"
    }


def test_of_several_passes_the_largest_and_most_alike_answers(build: Builder) -> None:
    """By images, then node, then batch size, then position."""
    answered = {}
    for model, first, second, is_second in (
        ("images", {}, {"images": 20, "node": "node-b", "batch_size": 8}, True),
        ("node", {"node": "node-b"}, {"batch_size": 8}, True),
        ("batch", {"batch_size": 8}, {}, True),
        ("position", {}, {}, False),
    ):
        passes = [build.cell("exits", model=model, **change) for change in (first, second)]
        for each in passes:
            _answer(build, each)
        cell = build.cell(model=model)
        build.records(cell, 1)
        answered[cell.cell_id] = passes[is_second].cell_id
    build.store()
    assert _sources(build.root) == answered


def test_images_that_were_not_answered_are_counted_once(build: Builder) -> None:
    """Infinite as well as NaN, at each exit and round; of other cells nothing is said."""
    passes = build.cell("exits", model="early", exit_blocks=(1,))
    rows: Row = {"image_id": [0, 0, 1, 1, 2], "exit_block": [1, 3, 1, 3, 3]}
    build.commit(passes, exits={**rows, "loss": [NAN, NAN, math.inf, 1.0, 1.0]})
    build.commit(build.cell("exits", model="fine"), exits={"image_id": [0], "loss": 1.0})
    routed = build.cell(rounds=2, model="routed")
    for round_ in (0, 1):
        build.records(routed, 3, round_, loss=[NAN, 0.5, -math.inf])
    build.store()
    found = storage.query(build.root, "FROM unanswered ORDER BY cell_id").to_pylist()
    assert [tuple(row.values()) for row in found] == [
        ("run-1", passes.cell_id, "exits", 2),
        ("run-1", routed.cell_id, "latency", 2),
    ]


def _watts(build: Builder, watts: float, idle: float = 1.0, **changes: Any) -> storage.CellRow:
    """A cell of two images of 2 ms, with power."""
    cell = build.cell(**changes)
    build.records(cell, 2)
    times = [NOON + timedelta(seconds=second) for second in range(4)]
    power: Row = {"node": cell.node, "rail": "total", "shard": 0, "sampled_at": times}
    power |= {"phase": ["active"] * 2 + ["idle_after"] * 2}
    build.commit(cell, 0, 50, power={**power, "power_mw": [1e3 * watts] * 2 + [1e3 * idle] * 2})
    return cell


def _saved(root: Path) -> dict[str, float | None]:
    rows = _ladder(root, "model, energy_saving_pct", "run_id = 'run-1' AND model LIKE 'of%'")
    return {row["model"]: row["energy_saving_pct"] for row in rows}


def test_nothing_is_saved_beside_another_setting(build: Builder) -> None:
    """Nor beside the same setting in another run."""
    for change in ({"dataset": "other"}, {"device": "gpu"}, {"node": "node-b"},
                   {"runtime": "onnx"}, {"precision": "int8"}):  # fmt: skip
        _watts(build, 9.0, model="base", **change)
    _watts(build, 5.0, model="of small")
    build.store()
    other = Builder(build.root, "run-2")
    _watts(other, 9.0, model="base")
    _watts(other, 9.0, model="of small")
    other.store()
    assert _saved(build.root) == {"of small": None}


def test_the_baseline_most_alike_is_taken(build: Builder) -> None:
    """By threads, batch size, digest of the data set, and position; a row is its own baseline."""
    build.run = storage.RunRow("run-1", baseline="base", submitted_at=NOON)
    _watts(build, 90.0, model="first")  # the first static model, were no baseline named
    _watts(build, 11.0, model="base", threads=2, batch_size=1)  # 20 mJ
    _watts(build, 21.0, model="base", threads=1, batch_size=8, dataset_sha256="d9")  # 40 mJ
    _watts(build, 31.0, model="base", threads=4, batch_size=8, dataset_sha256="d9")  # 60 mJ
    _watts(build, 41.0, model="base", threads=4, batch_size=4)  # 80 mJ
    _watts(build, 51.0, model="base", threads=8, batch_size=4, dataset_sha256="d9")  # 100 mJ
    _watts(build, 61.0, model="base", threads=8, batch_size=4)  # 120 mJ
    _watts(build, 71.0, model="base", threads=8, batch_size=4)  # 140 mJ
    for name, changes in (
        ("of threads", {}),
        ("of batches", {"threads": 4, "batch_size": 8}),
        ("of digests", {"threads": 8, "batch_size": 4}),
    ):
        _watts(build, 6.0, model=name, **changes)  # 10 mJ
    build.store()
    saved = {"of threads": 75.0, "of batches": 100 * 5 / 6, "of digests": 100 * 11 / 12}
    assert _saved(build.root) == pytest.approx(saved)
    own = _ladder(build.root, "energy_saving_pct", "model = 'base'")
    assert [row["energy_saving_pct"] for row in own] == pytest.approx([0.0] * 7)


def test_the_first_static_model_is_the_baseline(build: Builder) -> None:
    """By position, where there is one; models with gates are none."""
    _watts(build, 9.0, model="a", position=None)
    _watts(build, 9.0, model="early", position=0, exit_blocks=(1,), threshold=0.5)
    _watts(build, 7.0, model="z", position=1)
    _watts(build, 4.0, model="of z", position=2)
    build.store()
    assert _saved(build.root) == {"of z": pytest.approx(50.0)}


def test_a_row_is_of_its_own_node(build: Builder) -> None:
    """What measured the power, the power mode, and the rest the node says."""
    _watts(build, 5.0)
    _watts(build, 7.0, node="node-b")
    build.records(build.cell(model="dark"), 2)
    build.store(
        [
            storage.NodeRow("run-1", f"node-{name}", power_source=f"meter: {name}", power_mode=mode,
                            note=f"note of {name}")
            for name, mode in (("a", "15W"), ("b", "25W"))
        ]
    )  # fmt: skip
    names = "node, energy_mj, energy_source, power_mode, energy_note"
    rows = [tuple(row.values()) for row in _ladder(build.root, f"{names} ")]
    assert rows == [
        ("node-a", 8.0, "energy: meter: a", "15W", None),
        ("node-b", 12.0, "energy: meter: b", "25W", None),
        ("node-a", None, None, "15W", "energy: no power samples"),
    ]
    said = [row["note"] for row in _ladder(build.root, "note")]
    assert ["note of a" in each for each in said] == [False, False, True]
