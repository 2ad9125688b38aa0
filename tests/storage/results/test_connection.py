"""SQL over a root: views, errors, parameters."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pytest

import storage
from storage.sql import macros
from storage.sql.macros import EXPRESSIONS, MACROS
from storage.tables.schemas import DIGEST, DIGEST_TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.storage.conftest import Builder
    from tests.storage.in_memory import InMemory


def test_every_table_is_a_view_even_without_rows(tmp_path: Path) -> None:
    """An empty root has all tables, empty and typed, and an empty ladder."""
    with storage.connect(tmp_path) as connection:
        for name, schema in storage.TABLES.items():
            table = connection.sql(f"FROM {name}").to_arrow_table()
            added = [DIGEST] if name in DIGEST_TABLES else []
            assert (table.num_rows, table.column_names) == (0, [*schema.names, *added])
            types = [field.type for field in table.schema]
            assert types[: len(schema)] == [field.type for field in schema]
            assert types[len(schema) :] == [pa.string()] * len(added)
        assert connection.sql("FROM ladder").to_arrow_table().num_rows == 0


def test_types_are_the_same_with_and_without_rows(build: Builder) -> None:
    """Rows in files, merged or not, do not change a view's types."""
    build.records(build.cell(), 3)
    build.store(merge=True)
    for name, schema in storage.TABLES.items():
        found = storage.query(build.root, f"FROM {name}").schema
        types = [field.type for field in schema] + [pa.string()] * (name in DIGEST_TABLES)
        assert [field.type for field in found] == types, name


def test_no_cell_of_a_run_without_a_driver_is_running(build: Builder) -> None:
    """Its driver was killed before it could set them back to queued: they are for every reader."""
    for status in ("running", "done", "failed", "running"):
        build.cell(status=status)
    sql = "SELECT list(status ORDER BY position) AS cells FROM cells"
    with storage.RunStore.create(build.root, build.run, build.cells, {}) as store:
        assert store.run.status == "running"
        (held,) = build.query(sql)
    (left,) = build.query(sql)
    assert held["cells"] == ["running", "done", "failed", "running"]
    assert left["cells"] == ["queued", "done", "failed", "queued"]
    (progress,) = storage.named_query(build.root, "run_progress").to_pylist()
    assert (progress["status"], progress["running"], progress["queued"]) == ("interrupted", 0, 2)


def test_last_statement_gives_the_rows(tmp_path: Path) -> None:
    """Several statements run in order; one without rows gives an empty table."""
    sql = "CREATE TEMP TABLE t AS SELECT 41 AS a; UPDATE t SET a = a + 1; SELECT a FROM t;"
    assert storage.query(tmp_path, sql).to_pylist() == [{"a": 42}]
    assert storage.query(tmp_path, "-- nothing").num_columns == 0


@pytest.mark.parametrize("first", ["SELECT 1", "EXPLAIN SELECT 1", "DESCRIBE runs", "VALUES (1)"])
def test_rows_of_an_earlier_statement_are_not_dropped(tmp_path: Path, first: str) -> None:
    """Two questions in one: the first would have got no answer."""
    with pytest.raises(storage.QueryError, match="2 statements") as caught:
        storage.query(tmp_path, f"{first}; SELECT 2")
    assert first in str(caught.value)
    assert storage.query(tmp_path, "SELECT 2; -- SELECT 3").to_pylist() == [{"2": 2}]


@pytest.mark.parametrize(
    ("sql", "parts"),
    [
        ("SELECT acc_1 FROM ladder", ['"acc_1" not found', '"acc1"']),
        ("SELECT 1 FROM recrods", ["recrods does not exist", '"records"', "closest names: reco"]),
        ("SELEC 1", ["syntax error"]),
        ("SET VARIABLE a = 1; SELECT error('later')", ["later"]),
        ("SELECT * FROM 'nowhere.parquet'", ["nowhere.parquet"]),
        ("SELECT $x", ["parameter"]),
    ],
)
def test_sql_errors_carry_duckdbs_message_and_the_tables(
    tmp_path: Path, sql: str, parts: list[str]
) -> None:
    """DuckDB says what it would have accepted; we add the names that there are."""
    with pytest.raises(storage.QueryError) as caught:
        storage.query(tmp_path, sql)
    names = ["`gfjobs schema` lists tables, views and macros"]
    if "Binder Error" in str(caught.value) and "column" in str(caught.value):
        names = ["ladder: run_id, cell_id, dataset, device, node, runtime, precision"]
    for part in [*parts, *names]:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("FROM certificat('a')", "closest names: certificate(run)"),
        ("FROM wasted_block('a', 0.5)", "closest names: wasted_blocks(run, t)"),
        ("FROM certificate", "certificate is a macro: from certificate(run)"),
        ("FROM ladder('a')", "ladder is a table or view, without arguments: from ladder"),
        ("FROM certificate()", "macros in it: certificate(run)"),
        ("FROM wasted_blocks('a')", "macros in it: wasted_blocks(run, t)"),
        ("FROM certificate(latest)", "macros in it: certificate(run)"),
        ("FROM frontier('a', rul := 'gate')", "macros in it: frontier(run, rule := NULL)"),
        ("FROM at_thresholds(0.5)", "(ts, rule := NULL): ts is a list: `[t]` is one threshold"),
        ("FROM at_thresholds(1)", "(ts, rule := NULL): ts is a list: `[t]` is one threshold"),
        ("FROM flip_bound", "is a scalar macro, without rows: select flip_bound(flipped, images"),
        ("FROM flip_bound(1, 2, 0.5)", "flip_bound is a scalar macro"),
    ],
)
def test_a_wrong_call_of_a_macro(tmp_path: Path, sql: str, said: str) -> None:
    """The names or arguments that are meant, not all that there are; none of DuckDB's own."""
    with pytest.raises(storage.QueryError) as caught:
        storage.query(tmp_path, sql)
    text = str(caught.value)
    assert said in " ".join(text.split())
    assert len(text.splitlines()) <= 12
    for other in ("duckdb", "sqlite", "grammar"):
        assert other not in text


def test_a_slow_query_shows_no_progress_among_its_rows(tmp_path: Path) -> None:
    """DuckDB draws a bar on stdout after two seconds, where rows go."""
    with storage.connect(tmp_path) as connection:
        found = connection.sql("SELECT current_setting('enable_progress_bar')").fetchall()
    assert found == [(False,)]


def test_memory_can_be_limited(tmp_path: Path) -> None:
    """What needs more ends in one message that says how to get it."""
    found = storage.query(
        tmp_path, "SELECT current_setting('memory_limit') AS m", memory="500MB"
    ).to_pylist()
    assert found == [{"m": "476.8 MiB"}]
    sql = "SELECT count(*) FROM (SELECT hash(range) h, range FROM range(4_000_000) ORDER BY h)"
    with pytest.raises(storage.QueryError, match=r"(?s)Out of Memory.*gfjobs sql --memory 64GB"):
        storage.query(tmp_path, sql, memory="20MB")


@pytest.fixture
def _obeys_ctrl_c() -> Iterator[None]:
    """Processes that a script starts in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_obeys_ctrl_c")
@pytest.mark.parametrize("after_s", [0.3, 1.0])
def test_a_query_that_is_interrupted(after_s: float, tmp_path: Path) -> None:
    """Ctrl-C ends it as any command, not with an error of DuckDB, and whenever it comes."""
    main = threading.get_ident()
    timer = threading.Timer(after_s, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        storage.query(
            tmp_path,
            "SELECT count(*) FROM range(100_000) a, range(10_000_000) b"
            " WHERE hash(a.range) % 7 = hash(b.range) % 11",
        )
    timer.join()


def test_a_database_that_does_not_open_is_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as for want of memory; it comes before there is any file to look at."""

    def refuse(**_: object) -> None:
        raise duckdb.OutOfMemoryException("no memory")

    monkeypatch.setattr(duckdb, "connect", refuse)
    with pytest.raises(storage.QueryError, match="no memory"):
        storage.query(tmp_path, "from runs")


def test_our_own_variables_are_no_tables(tmp_path: Path) -> None:
    """DuckDB would otherwise find Python variables by name."""
    with pytest.raises(storage.QueryError, match="connection does not exist"):
        storage.query(tmp_path, "FROM connection")


def test_parameters_are_values_not_text(build: Builder) -> None:
    """A parameter that looks like SQL finds nothing and does nothing."""
    build.records(build.cell(), 3)
    build.store()
    histogram = storage.named_query(build.root, "exit_histogram", run_id="run-1")
    assert histogram.num_rows == 1
    nothing = storage.named_query(build.root, "exit_histogram", run_id="' OR 1=1 --")
    assert nothing.num_rows == 0


def test_unknown_query_and_missing_parameter(tmp_path: Path) -> None:
    """Names of queries are checked against the files, and cannot leave their folder."""
    with pytest.raises(storage.StorageError, match=r"no query 'sped' .did you mean 'speed'"):
        storage.named_query(tmp_path, "sped")
    with pytest.raises(storage.StorageError, match=r"no query '../queries/speed'"):
        storage.named_query(tmp_path, "../queries/speed")
    with pytest.raises(storage.QueryError, match="parameter"):
        storage.named_query(tmp_path, "exit_histogram")


def test_connection_reads_what_was_committed_while_a_run_goes_on(build: Builder) -> None:
    """Rows are there from their commit on, without waiting for the run's end."""
    cell = build.cell()
    build.records(cell, 3)
    with storage.RunStore.create(build.root, build.run, build.cells, {}) as store:
        assert storage.query(build.root, "SELECT count(*) AS n FROM records").to_pylist() == [
            {"n": 0}
        ]
        store.commit(*build.tables[0])
        assert storage.query(build.root, "SELECT count(*) AS n FROM records").to_pylist() == [
            {"n": 3}
        ]
        assert storage.query(build.root, "SELECT status FROM runs").to_pylist() == [
            {"status": "running"}
        ]


def test_one_run_can_be_asked_alone(build_run: Callable[[str], Builder]) -> None:
    """Restricted to some runs, the others are not even opened."""
    for run_id in ("one", "two"):
        build = build_run(run_id)
        build.records(build.cell(), 3)
        build.store()
    assert storage.query(build.root, "FROM ladder").num_rows == 2
    for file in (build.root / "runs" / "two" / "data").iterdir():
        file.write_bytes(b"not Parquet")
    with pytest.raises(storage.QueryError, match="two/data/records"):
        storage.query(build.root, "FROM records")
    rows = storage.query(build.root, "SELECT run_id, samples FROM ladder", run_ids=["one"])
    assert rows.to_pylist() == [{"run_id": "one", "samples": 3}]
    assert storage.named_query(build.root, "run_progress", run_ids=["one"]).num_rows == 1


def test_unreadable_folder_is_an_error_of_ours(tmp_path: Path) -> None:
    """What the file system refuses is worded, with the root."""
    (tmp_path / "runs").write_text("a file where a folder belongs")
    for read in (storage.connect, storage.list_runs):
        with pytest.raises(storage.StorageError, match="cannot be read"):
            read(tmp_path)


QUERIES = Path(storage.__file__).parent / "queries"


FILES = sorted(QUERIES.glob("*/*.sql"))
NAMED = [file for file in FILES if file.stem not in {*EXPRESSIONS, *MACROS}]


def test_a_name_is_that_of_one_query() -> None:
    """They are found by it in whichever folder."""
    assert len({file.stem for file in FILES}) == len(FILES) > 80


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_query_says_what_it_is(file: Path) -> None:
    """Each file opens with a comment."""
    assert file.read_text().startswith("-- ")


def test_a_word_in_a_comment_of_a_named_query_opens_nothing() -> None:
    """All of the ladder would be planned, seconds for a query of milliseconds."""
    text, statement = (
        read("timed_batches") for read in (macros.query_text, macros.query_statement)
    )
    assert "ladder" in macros.find_named(text) - macros.find_named(statement)
    assert "--" not in statement


@pytest.mark.parametrize("file", NAMED, ids=lambda file: file.stem)
def test_every_named_query_runs(in_memory: InMemory, file: Path) -> None:
    """Over a run with a routed cell and an all-exit pass, given what its text names."""
    build = in_memory
    build.records(build.cell(), 3)
    cell = build.cell("exits", exit_blocks=(1,))
    columns = {"exit_block": [1, 3], "gate_score": [0.5, None], "is_correct": True}
    build.commit(cell, exits={"image_id": [0, 0], **columns})
    build.store()
    known: dict[str, object] = {
        "run_id": "run-1",
        "cell_id": cell.cell_id,
        "model": "static",
        "checkpoints": [str(cell.checkpoint_sha256)],
        "thresholds": [0.5],
        "most": 9,
        "undominated": 9,
        "rule": "patience",
        "dataset_sha256": cell.dataset_sha256,
    }
    text = file.read_text()
    parameters = {name: value for name, value in known.items() if f"${name}" in text}
    found = build.named(file.stem, **parameters)
    has_none = (
        "borrowed_passes",
        "cell_energies",
        "cell_powers",
        "certify_flips",
        "class_names",
        "component_times",
        "composed_beside_routed",
        "conditions",
        "energies_beside_routed",
        "energies_in",
        "energy_sources",
        "engines_beside_reference",
        "exit_energies",
        "exit_means",
        "exit_times",
        "images_of",
        "invalid_cells",
        "judged",
        "looked_at",
        "looked_rounds",
        "machines",
        "matching_passes",
        "pause_ratios",
        "power_marks",
        "power_windows",
        "requests",
        "served",
        "served_in",
        "service_times",
        "set_aside",
        "task_energies",
        "throttled_rounds",
        "throughputs",
        "throughputs_in",
        "timed_batches",
        "told",
        "unanswered",
        "unusable_cells",
    )
    assert (not found) == (file.stem in has_none)


def test_runs_are_asked_for_by_macros_alone() -> None:
    """What stands in a comment or a text asks for nothing."""
    sql = """/* flips('x') */ SELECT 'see flips(''y'')', "flips('z')"
        FROM Frontier( 'a''b') -- flips('c')
        JOIN flips('d')"""
    assert macros.runs_asked_for(sql) == ["'a''b'", "'d'"]
