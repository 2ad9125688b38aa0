"""Named queries that share a connection, and views that are computed once for all that use them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import storage
from storage.sql.macros import (
    COMPUTED_ONCE,
    EXPRESSIONS,
    MACROS,
    VIEWS,
    find_needed,
    find_repeated,
    query_statement,
)
from storage.sql.text import query_files
from tests.storage.composed_run import Run
from tests.storage.conftest import Builder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import duckdb

RUNS = ["run-1", "run-2"]
NAMED = sorted({*query_files()} - {*EXPRESSIONS, *MACROS})


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make two runs with exit costs and energies, the second slower."""
    root = tmp_path_factory.mktemp("composed")
    for number, run_id in enumerate(RUNS):
        Run(Builder(root, run_id), 10.0 * number)
    return root


@pytest.fixture(scope="module")
def plain(composed: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Give a connection on which nothing is kept."""
    with storage.connect(composed) as connection:
        yield connection


def _sorted(table: Any) -> list[str]:
    return sorted(map(repr, table.to_pylist()))


def test_shared_queries_give_the_same_rows(
    composed: Path, plain: duckdb.DuckDBPyConnection
) -> None:
    """Each named query, after others on one connection: as over views of all runs."""
    sql = "FROM cells WHERE kind = 'exits' AND model = 'early' AND run_id = 'run-2'"
    (cell,) = plain.sql(sql).to_arrow_table().to_pylist()
    known = {
        "run_id": "run-2",
        "cell_id": cell["cell_id"],
        "model": "early",
        "checkpoints": [str(cell["checkpoint_sha256"])],
        "thresholds": [0.5],
        "most": 9,
        "undominated": 9,
        "rule": "gate",
        "dataset_sha256": cell["dataset_sha256"],
    }
    with storage.one_moment():
        for name in NAMED:
            text = query_statement(name)
            parameters = {key: value for key, value in known.items() if f"${key}" in text}
            shared = storage.named_query(composed, name, run_ids=RUNS, **parameters)
            alone = plain.sql(text, params=parameters or None).to_arrow_table()
            assert shared.column_names == alone.column_names, name
            assert _sorted(shared) == _sorted(alone), name


@pytest.mark.parametrize("name", COMPUTED_ONCE)
def test_kept_rows_are_those_of_the_view(
    composed: Path, plain: duckdb.DuckDBPyConnection, name: str
) -> None:
    """A statement that uses a question twice gets the rows that one gets who uses it once."""
    source = f"{name}('run-2')" if name in MACROS else name
    of_run = f"FROM {source} WHERE run_id = 'run-2'"
    twice = f"SELECT a.* FROM ({of_run}) a, (SELECT count(*) FROM {source})"  # noqa: S608 (ours)
    assert name in find_repeated(twice, find_needed(twice))
    kept = storage.query(composed, twice, run_ids=["run-2"])
    assert _sorted(kept) == _sorted(plain.sql(of_run).to_arrow_table())


@pytest.mark.parametrize("name", ["composition", "energy_composition"])
def test_kept_rows_keep_their_order(
    composed: Path, plain: duckdb.DuckDBPyConnection, name: str
) -> None:
    """A table has the rows in the order of the query that it was made by."""
    with storage.one_moment():
        storage.named_query(composed, "curve", run_ids=["run-2"], **_parameters_of("run-2"))
        kept = storage.named_query(
            composed,
            "composed_beside_routed" if name == "composition" else "energies_beside_routed",
            run_ids=["run-2"],
            run_id="run-2",
        )
    cells = [row["cell_id"] for row in kept.to_pylist() if row["cell_id"] is not None]
    rows = plain.sql(f"FROM {name}('run-2')").to_arrow_table()
    assert cells[: rows.num_rows] == rows["cell_id"].to_pylist()


def test_small_questions_are_ours() -> None:
    """Each is a view, or a macro of a run: that its rows are asked for by."""
    for name in COMPUTED_ONCE:
        assert name in VIEWS or MACROS[name] == ("run",)


def test_only_what_is_used_several_times_is_kept() -> None:
    """In the statement, or in the views that it needs."""
    sql = "FROM measured_exit_energies('run-1')"
    needed = find_needed(sql)
    assert "conditions" in needed
    assert find_repeated(sql, needed) >= {"throttled_rounds"}
    assert not find_repeated("FROM exit_means", find_needed("FROM exit_means"))


def test_a_run_that_does_not_exist_is_an_error_still(composed: Path) -> None:
    """Kept rows are of the runs that are shown."""
    with storage.one_moment(), pytest.raises(storage.QueryError, match="no run 'run-3'"):
        storage.named_query(composed, "curve", run_ids=["run-1"], **_parameters_of("run-3"))


def _parameters_of(run_id: str) -> dict[str, Any]:
    return {"run_id": run_id, "most": 9, "undominated": 9}


def _counted(root: Path) -> int:
    return storage.named_query(root, "committed", run_ids=["run-1"]).num_rows


def test_rows_are_those_of_the_first_query(build: Builder) -> None:
    """A commit in between is seen after the block; other runs and threads are not affected."""
    cell = build.cell()
    build.records(cell, 3)
    with storage.RunStore.create(build.root, build.run, build.cells, {}) as store:
        with storage.one_moment(), storage.one_moment():
            assert _counted(build.root) == 0
            store.commit(*build.tables[0])
            assert _counted(build.root) == 0
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(_counted, build.root).result() == 1
        assert _counted(build.root) == 1


def test_a_merge_meanwhile_starts_anew(build: Builder) -> None:
    """The files of the first query are gone: the next one opens those that replaced them."""
    cell = build.cell("exits", exit_blocks=(1,))
    for shard in range(2):
        columns = {"exit_block": [1, 3], "gate_score": [0.5, None], "is_correct": True}
        build.commit(cell, 0, shard, exits={"image_id": [shard, shard], **columns})
    asked = {"run_id": "run-1", "cell_id": cell.cell_id, "rule": "gate"}
    with storage.RunStore.create(build.root, build.run, build.cells, {}) as store:
        for planned, tables in build.tables:
            store.commit(planned, tables)
        with storage.one_moment():
            assert _counted(build.root) == 1
            store.merge()
            rows = storage.named_query(build.root, "exit_answers", run_ids=["run-1"], **asked)
            assert rows.num_rows == 4


def test_a_query_that_fails_leaves_the_others_whole(composed: Path) -> None:
    """The next one has a connection again."""
    with storage.one_moment():
        with pytest.raises(storage.QueryError, match="parameter"):
            storage.named_query(composed, "status", run_ids=["run-1"], other=1)
        assert storage.named_query(composed, "status", run_ids=["run-1"], run_id="run-1").num_rows


def test_runs_with_and_without_a_summary_share_a_ladder(
    build_run: Callable[[str], Builder],
) -> None:
    """The ladder of one is stored, that of the other computed, whatever was asked before."""
    for run_id in ("one", "two"):
        build = build_run(run_id)
        build.records(build.cell(), 3)
        build.store(merge=run_id == "one")
    asked = {"run_ids": ["one", "two"]}
    plain = storage.named_query(build.root, "summary", **asked).to_pylist()
    with storage.one_moment():
        storage.named_query(build.root, "unusable_cells", **asked)
        for _ in range(2):
            assert storage.named_query(build.root, "summary", **asked).to_pylist() == plain
