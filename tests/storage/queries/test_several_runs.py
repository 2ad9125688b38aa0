"""Each view and macro over a root of several runs and data sets: no answer mixes them."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest

import storage
from storage.sql.macros import MACROS, VIEWS, runs_asked_for
from storage.tables.schemas import DIGEST, DIGEST_TABLES, TABLES
from tests.storage.conftest import NOON, Builder
from tests.storage.in_memory import InMemory
from tests.storage.several_runs import ALONE, DATASETS, IMAGES, PARTS, Roots, Row, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ARGUMENTS = {
    "run_ids": "['{run}']",
    "run": "'{run}'",
    "t": "0.5",
    "ts": "[0.5, 0.4, 0.3]",
    "model_name": "'dynn'",
    "rule := NULL": "rule := 'margin'",
}
OF_RUN = {
    name: f"{name}({', '.join(ARGUMENTS[each] for each in arguments)})"
    for name, arguments in MACROS.items()
}
OF_ONE_RUN = [name for name, arguments in MACROS.items() if "run" in arguments]
OF_ALL = (*VIEWS, *(OF_RUN[name] for name in MACROS if name not in OF_ONE_RUN and name != "trend"))
EMPTY = (
    "throttled_rounds",
    "invalid_cells",
    "looked_rounds",
    "unanswered",
    "borrowed_passes",
    "frontier_flips",
)
OF_CELLS = ("trusted_exit_costs", "trusted_exit_energies", "exit_cells", "speedups")
"""Of a cell without rows they say that nothing is known."""

SLOW = ("frontier", "composed_latency", "composed_energy", "trusted_exit_energies")
"""To be understood by DuckDB: made of many others, which are all asked."""


@pytest.mark.parametrize("question", [*OF_ALL, *OF_ONE_RUN])
def test_an_answer_is_that_of_each_part_alone(roots: Roots, question: str) -> None:
    """The same cells in two runs, and the same numbers of images in two data sets, are two."""
    sql = f"FROM {OF_RUN.get(question, question).format(run=ALONE[0])}"
    found = roots.part(sql)
    assert next(iter(found[0] if found else roots.whole.sql(sql).columns)) == "run_id"
    assert found == rows_of(roots.alone, sql)
    assert bool(found) == (question not in EMPTY)


def _by_cell(roots: Roots, table: str) -> dict[tuple[str, str], list[Row]]:
    """The rows of each cell of each run, in the order of exits; without throttled rounds."""
    throttled = {
        (row["run_id"], row["cell_id"], row["round"])
        for row in rows_of(roots.whole, "FROM rounds WHERE is_throttled")
    }
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows_of(roots.whole, f"FROM {table}"):
        if (row["run_id"], row["cell_id"], row.get("round")) not in throttled:
            found[row["run_id"], row["cell_id"]].append(row)
    for rows in found.values():
        rows.sort(key=lambda row: row.get("exit_block") or 0)
    return found


def test_images_per_second_are_those_of_plain_loops(roots: Roots) -> None:
    """Of each cell of each run; of two batch sizes the quicker is the best."""
    found, batches = rows_of(roots.whole, "FROM throughputs"), _by_cell(roots, "throughput")
    assert len(found) == len(batches) == 2 * len(PARTS)
    rates = {
        each: 1000 * sum(row["images"] for row in rows) / sum(row["elapsed_ms"] for row in rows)
        for each, rows in batches.items()
    }
    for row in found:
        own = batches[row["run_id"], row["cell_id"]]
        rounds = 1 if row["run_id"] == "first" else 2
        assert (row["rounds"], row["images"], row["batches"]) == (
            rounds, IMAGES * rounds, IMAGES // row["batch_size"] * rounds,
        )  # fmt: skip
        assert row["images_per_s"] == pytest.approx(rates[row["run_id"], row["cell_id"]])
        forward_ms = sum(each["forward_ms"] for each in own)
        assert row["forward_images_per_s"] == pytest.approx(1000 * row["images"] / forward_ms)
        alike = [
            rates[each["run_id"], each["cell_id"]]
            for each in found
            if (each["run_id"], each["dataset"]) == (row["run_id"], row["dataset"])
        ]
        assert row["is_best"] == (rates[row["run_id"], row["cell_id"]] == max(alike))


def test_responses_are_those_of_plain_loops(roots: Roots) -> None:
    """Of each cell of each run; accuracy is that of the pass of the same run, data set, threads."""
    found, requests = rows_of(roots.whole, "FROM served"), _by_cell(roots, "responses")
    assert len(found) == len(requests) == 2 * len(PARTS)
    exits = _by_cell(roots, "exits")
    for row in found:
        own = requests[row["run_id"], row["cell_id"]]
        answered = [each for each in own if each["ended_ms"] is not None]
        rounds = 1 if row["run_id"] == "first" else 2
        assert (row["rounds"], row["requests"]) == (rounds, 80 * rounds)
        assert (row["answered"], row["is_overloaded"]) == (len(answered), len(answered) < len(own))
        service_ms = [each["ended_ms"] - each["began_ms"] for each in answered]
        assert row["service_ms"] == pytest.approx(sum(service_ms) / len(answered))
        blocks = [each["exit_block"] + 1 for each in answered]
        assert row["mean_blocks"] == pytest.approx(sum(blocks) / len(blocks))
        lasted_ms = 0.0
        for number in range(rounds):
            last_ms = max(each["ended_ms"] for each in answered if each["round"] == number)
            lasted_ms += last_ms if row["is_overloaded"] else max(last_ms, 4000)
        assert row["answered_per_s"] == pytest.approx(1000 * len(answered) / lasted_ms)
        assert row["busy_pct"] == pytest.approx(100 * sum(service_ms) / lasted_ms)
        response_ms = [each["ended_ms"] - each["arrived_ms"] for each in answered]
        expected = [*np.percentile(response_ms, [50, 90])]
        percentiles_ms = [row["p50_ms"], row["p90_ms"]]
        assert percentiles_ms == (
            [None] * 2 if row["is_overloaded"] else pytest.approx(expected, rel=1e-5)
        )
        pass_id = f"exits-{100 * [*DATASETS].index(row['dataset'])}"
        first: dict[int, bool] = {}
        for each in exits[row["run_id"], pass_id]:
            if each["gate_score"] is None or each["gate_score"] >= 0.5:
                first.setdefault(each["image_id"], each["is_correct"])
        assert row["acc1"] == pytest.approx(100 * sum(first.values()) / IMAGES)


def test_a_run_is_asked_for_by_name_or_as_the_latest(roots: Roots) -> None:
    """The other appears in neither answer."""
    for asked, run_id in (("first", "first"), ("choices", "choices"), ("latest", "choices")):
        rows = rows_of(roots.whole, f"FROM exit_cells('{asked}')")
        assert [row["run_id"] for row in rows] == [run_id] * 6


@pytest.mark.parametrize("table", DIGEST_TABLES)
def test_images_are_joined_by_the_digest_of_their_data_set(roots: Roots, table: str) -> None:
    """Each row meets one image, of its own data set, also among two with the same numbers."""
    rows = roots.whole.sql(f"FROM {table}").to_arrow_table()
    assert rows.column_names == [*TABLES[table].names, DIGEST]
    named = roots.whole.sql("SELECT run_id, cell_id, dataset FROM cells").fetchall()
    datasets = {(run_id, cell_id): dataset for run_id, cell_id, dataset in named}
    expected = [
        f"{datasets[row['run_id'], row['cell_id']]}/{row['image_id']}.png"
        for row in rows.to_pylist()
    ]
    found = roots.whole.sql(
        f"SELECT path FROM {table} JOIN images USING (dataset_sha256, image_id)"  # noqa: S608
    ).fetchall()
    assert sorted(path for (path,) in found) == sorted(expected)
    assert set(rows["dataset_sha256"].to_pylist()) == set(DATASETS.values())


@pytest.mark.parametrize(
    "question", ["image_routes('first', 0.5)", "compared_routes('first')", "exit_samples('first')"]
)
def test_macros_of_images_have_the_digest(roots: Roots, question: str) -> None:
    """By it they meet the images that they are of."""
    rows = rows_of(roots.whole, f"FROM {question}")
    joined = rows_of(roots.whole, f"FROM {question} JOIN images USING (dataset_sha256, image_id)")
    assert len(joined) == len(rows)
    assert len({row["path"] for row in joined}) == len(DATASETS) * IMAGES


@pytest.mark.parametrize("name", [name for name in OF_ONE_RUN if name not in SLOW])
def test_an_unknown_run_is_an_error(roots: Roots, name: str) -> None:
    """Not an empty table; the message has what was asked and what there is."""
    with pytest.raises(Exception, match=r"no run 'frist'; did you mean first\?.*`gfjobs runs`"):
        roots.whole.sql(f"FROM {OF_RUN[name].format(run='frist')}").fetchall()


def test_nothing_like_it_brings_the_newest(roots: Roots) -> None:
    """A name unlike any."""
    with pytest.raises(Exception, match=r"no run 'xyz'; the newest is choices\. List all"):
        roots.whole.sql("FROM exit_cells('xyz')").fetchall()


def test_each_macro_of_a_run_is_looked_through(tmp_path: Path) -> None:
    """Its run is found in a statement, so that no empty table hides an unknown one."""
    for name in OF_ONE_RUN:
        assert runs_asked_for("FROM " + OF_RUN[name].format(run="it''s")) == ["'it''s'"]
    for name in ("exit_cells", "oracle_exits", "composition"):
        sql = f"FROM {OF_RUN[name].format(run='latest')}"
        assert storage.query(tmp_path, sql).num_rows == 0
        with pytest.raises(storage.QueryError, match=r"no run 'first': no run .*`gfjobs submit"):
            storage.query(tmp_path, sql.replace("latest", "first"))


def test_a_run_without_rows_is_known_and_others_are_not(
    build: Builder, in_memory: InMemory
) -> None:
    """It has nothing to answer, and is there; whatever else is asked for is an error."""
    for each in (build, in_memory):
        each.cell("exits")
        each.store()
    for name in set(OF_ONE_RUN) - set(SLOW):
        rows = in_memory.query(f"FROM {OF_RUN[name].format(run='run-1')}")
        assert bool(rows) == (name in OF_CELLS), name
    for sql in ("FROM Composition ('run-2')", "-- of\nFROM composition(\n'run-2') WHERE is_within"):
        with pytest.raises(storage.QueryError, match=r"no run 'run-2'; did you mean run-1\?"):
            storage.query(build.root, sql)
    assert storage.query(build.root, "SELECT 1 -- composition('run-2')").num_rows == 1


def test_a_damaged_run_is_an_error_and_never_latest_for_want_of_a_time(
    build_run: Callable[[str], Builder],
) -> None:
    """Where its row is torn, when it was submitted is not known."""
    for run_id in ("old", "torn"):
        build = build_run(run_id)
        build.cell("exits")
        build.store()
    (build.root / "runs" / "torn" / "run.parquet").write_bytes(b"PAR1")
    found = storage.query(build.root, "SELECT run_id FROM trusted_exit_costs('latest')")
    assert found["run_id"].to_pylist() == ["old"]
    with pytest.raises(storage.QueryError, match=r"run torn is damaged.*`gfjobs fsck torn`"):
        storage.query(build.root, "FROM trusted_exit_costs('torn')")


def test_an_unknown_model_is_an_error(roots: Roots, tmp_path: Path) -> None:
    """Its trend would be empty."""
    with pytest.raises(Exception, match=r"no model 'dyn'.*digits-dynn, dynn, static"):
        roots.whole.sql("FROM trend('dyn')").fetchall()
    with pytest.raises(storage.QueryError, match=r"no model 'dyn'.*`gfjobs submit GRID`"):
        storage.query(tmp_path, "FROM trend('dyn')")


def test_a_trend_goes_over_the_same_images_alone(build_run: Callable[[str], Builder]) -> None:
    """A name may mean other images in a later run; between them nothing changed."""
    for number, (run_id, digest) in enumerate([("one", "d0"), ("two", "d1"), ("three", "d1")]):
        build = build_run(run_id)
        submitted_at = NOON + timedelta(days=number)
        build.run = dataclasses.replace(build.run, submitted_at=submitted_at)
        cell = build.cell(cell_id="same", dataset_sha256=digest)
        build.records(cell, 4, is_correct=[True] * (number + 1) + [False] * (3 - number))
        build.store()
    found = storage.query(build.root, "SELECT run_id, acc1, acc1_change FROM trend('static')")
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        ("one", 25.0, None),
        ("two", 50.0, None),
        ("three", 75.0, 25.0),
    ]


def test_a_trend_and_a_series_are_of_as_many_images(build_run: Callable[[str], Builder]) -> None:
    """A run of the first images of a data set alone has other accuracies, without any change."""
    for number, (run_id, images) in enumerate([("one", 4), ("two", 2), ("three", 4)]):
        build = build_run(run_id)
        submitted_at = NOON + timedelta(days=number)
        build.run = dataclasses.replace(build.run, submitted_at=submitted_at)
        cell = build.cell(cell_id="same", images=images)
        build.records(cell, images, is_correct=[number < 2] + [True] * (images - 1))
        build.store()
    found = storage.query(build.root, "SELECT run_id, acc1, acc1_change FROM trend('static')")
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        ("two", 100.0, None),
        ("one", 100.0, None),
        ("three", 75.0, -25.0),
    ]
    series = storage.named_query(build.root, "series").to_pylist()
    assert [(row["images"], row["run_id"]) for row in series] == [
        (2, ["two"]),
        (4, ["one", "three"]),
    ]


def test_accuracies_are_told_apart_by_their_own_images(
    build_run: Callable[[str], Builder],
) -> None:
    """Not by those timed, which may be as many; a night without accuracy stays in its series."""
    for number, (run_id, images) in enumerate([("one", 4), ("two", 3), ("three", 4), ("four", 0)]):
        build = build_run(run_id)
        submitted_at = NOON + timedelta(days=number)
        build.run = dataclasses.replace(build.run, submitted_at=submitted_at)
        timed = build.cell(cell_id="timed", images=2)
        if images:
            build.records(timed, 2, forward_ms=2.0 + number)
            passed = build.cell("exits", cell_id="pass", images=images)
            build.commit(
                passed,
                exits={
                    "image_id": np.arange(images),
                    "exit_block": 3,
                    "is_correct": [number < 2] + [True] * (images - 1),
                    "gate_score": None,
                },
            )
        else:
            build.records(timed, 2, forward_ms=5.0, is_correct=None)
        build.store()
    trend = storage.query(
        build.root,
        "SELECT run_id, accuracy_images, acc1_change, forward_change_pct FROM trend('static')",
    )
    assert [tuple(row.values()) for row in trend.to_pylist()] == [
        ("one", 4, None, None),
        ("two", 3, None, 50.0),
        ("three", 4, -25.0, pytest.approx(100 / 3)),
        ("four", None, None, 25.0),
    ]
    series = storage.named_query(build.root, "series").to_pylist()
    assert [(row["images"], row["accuracy_images"], row["run_id"]) for row in series] == [
        (2, 3, ["two"]),
        (2, 4, ["one", "three", "four"]),
    ]
    history = storage.named_query(build.root, "history", run_id="three", model="static")
    assert history["run_id"].to_pylist() == ["one", "three"]
    history = storage.named_query(build.root, "history", run_id="four", model="static")
    assert history["run_id"].to_pylist() == ["one", "two", "three", "four"]
