"""Each view and macro over a root of several runs and data sets: no answer mixes them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import storage
from storage.questions import MACROS, VIEWS
from storage.schemas import DIGEST_TABLES, view_columns

from .conftest import NOON, Builder
from .several_runs import DATASETS, IMAGES, PARTS, RUNS, Part, make_root

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb

Row = tuple[object, ...]

ARGUMENTS = {"run": "'{run}'", "t": "0.5", "ts": "[0.5, 0.4]", "model_name": "'dynn'"}
OF_RUN = {
    name: f"{name}({', '.join(ARGUMENTS[each] for each in arguments)})"
    for name, arguments in MACROS.items()
}
OF_ONE_RUN = [name for name, arguments in MACROS.items() if "run" in arguments]
OF_ALL = (*VIEWS, *(OF_RUN[name] for name in MACROS if name not in OF_ONE_RUN and name != "trend"))
EMPTY = ("throttled_rounds", "invalid_cells")


class Roots:
    """Connections to the whole root, and to roots of its parts."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.path = make_root(folder / "whole")
        self.whole = stack.enter_context(storage.connect(self.path))
        self.alone: dict[Part, duckdb.DuckDBPyConnection] = {
            part: stack.enter_context(storage.connect(make_root(folder / str(number), [part])))
            for number, part in enumerate(PARTS)
        }

    def apart(self, sql: str, run_id: str | None = None) -> list[Row]:
        """The answers of the parts, of one run or of all, together."""
        return in_order(
            row
            for (run, _), connection in self.alone.items()
            if run_id in (None, run)
            for row in connection.sql(sql).fetchall()
        )

    def together(self, sql: str) -> list[Row]:
        """The answer of the whole root."""
        return in_order(self.whole.sql(sql).fetchall())


def in_order(rows: Any) -> list[Row]:
    """Sort rows, of numbers as many digits as do not depend on the order of a sum."""
    return sorted((tuple(map(rounded, row)) for row in rows), key=repr)


def rounded(value: Any) -> Any:
    """Nine digits of each number."""
    if isinstance(value, (list, tuple)):
        return [rounded(each) for each in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Roots]:
    """The whole root, and its four parts."""
    with contextlib.ExitStack() as stack:
        yield Roots(tmp_path_factory.mktemp("roots"), stack)


@pytest.mark.parametrize("question", OF_ALL)
def test_answers_about_all_are_those_of_the_parts(roots: Roots, question: str) -> None:
    """The same cell_id, image_id and round in two runs are two."""
    sql = f"FROM {question}"
    assert roots.together(sql) == roots.apart(sql)
    assert bool(roots.together(sql)) == (question not in EMPTY)


@pytest.mark.parametrize("run_id", RUNS)
@pytest.mark.parametrize("name", OF_ONE_RUN)
def test_answers_about_a_run_are_those_of_its_parts(roots: Roots, name: str, run_id: str) -> None:
    """Nothing of another run, nothing of another data set."""
    sql = f"FROM {OF_RUN[name].format(run=run_id)}"
    found = roots.together(sql)
    assert found == roots.apart(sql, run_id)
    assert found
    if run_id == RUNS[-1]:
        assert found == roots.together(f"FROM {OF_RUN[name].format(run='latest')}")


@pytest.mark.parametrize("question", [*OF_ALL, "trend('dynn')", *sorted(OF_ONE_RUN)])
def test_run_comes_first(roots: Roots, question: str) -> None:
    """Whatever may have rows of several runs names it in its first column."""
    question = OF_RUN.get(question, question).format(run="latest")
    assert roots.whole.sql(f"FROM {question}").columns[0] == "run_id"


@pytest.mark.parametrize("table", DIGEST_TABLES)
def test_images_are_joined_by_the_digest_of_their_data_set(roots: Roots, table: str) -> None:
    """Each row meets one image, of its own data set, also among two with the same numbers."""
    rows = roots.whole.sql(f"FROM {table}").to_arrow_table()
    assert rows.column_names == view_columns(table)
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
    sql = f"SELECT count(*), count(DISTINCT path) FROM {question} JOIN images USING (dataset_sha256, image_id)"  # noqa: S608, E501
    (alone,) = roots.whole.sql(f"SELECT count(*) FROM {question}").fetchall()
    assert roots.whole.sql(sql).fetchall() == [(*alone, len(DATASETS) * IMAGES)]


@pytest.mark.parametrize("name", OF_ONE_RUN)
def test_an_unknown_run_is_an_error(roots: Roots, name: str) -> None:
    """Not an empty table; the message has what was asked and what there is."""
    for asked, hint in (("frist", "did you mean first?"), ("xyz", "the newest is choices.")):
        with pytest.raises(Exception, match=f"no run '{asked}'.*{hint}.*`gfjobs runs`"):
            roots.whole.sql(f"FROM {OF_RUN[name].format(run=asked)}").fetchall()


@pytest.mark.parametrize("name", OF_ONE_RUN)
def test_latest_of_no_run_is_nothing_and_another_name_an_error(tmp_path: Path, name: str) -> None:
    """In an empty root."""
    assert storage.query(tmp_path, f"FROM {OF_RUN[name].format(run='latest')}").num_rows == 0
    with pytest.raises(storage.QueryError, match=r"no run 'first': no run .* `gfjobs submit GRID`"):
        storage.query(tmp_path, f"FROM {OF_RUN[name].format(run='first')}")


def test_a_run_without_rows_is_known(build: Builder) -> None:
    """It has nothing to answer, and is there."""
    build.store()
    for name in OF_ONE_RUN:
        sql = f"FROM {OF_RUN[name].format(run='run-1')}"
        assert storage.query(build.root, sql).num_rows == 0, name


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
    with pytest.raises(storage.QueryError, match="run torn is damaged.*`gfjobs fsck torn`"):
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
