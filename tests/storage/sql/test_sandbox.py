"""A connection reaches the rows of its root, and nothing else, by construction."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

import storage
from storage.backends.handles import LocalFile
from storage.backends.local import LocalBackend
from storage.sql.sandbox import Mount, restrict
from tests.storage.conftest import Builder
from tests.storage.plain_ladder import plain_ladder

# {out} is a folder that can be written, {file} a file of the root as DuckDB calls it, {path} the
# same on this disk.
REFUSED = [
    "COPY records TO '{out}/x.parquet'",
    "COPY records TO '{out}/x.csv'",
    "COPY (SELECT 1) TO '/dev/stdout'",
    "COPY records TO '{file}' (FORMAT parquet)",
    "COPY records TO 'results://new.parquet'",
    "COPY records TO '{path}' (FORMAT parquet)",
    "WITH x AS (COPY records TO '{file}' (FORMAT parquet)) SELECT 1",
    "WITH x AS (COPY records TO '{out}/x.csv') SELECT 1",
    "EXPLAIN ANALYZE COPY records TO '{out}/x.csv'",
    "EXPLAIN ANALYZE COPY records TO '{file}' (FORMAT parquet)",
    "PREPARE p AS COPY records TO '{out}/x.csv'; EXECUTE p",
    "EXPORT DATABASE '{out}/x'",
    "IMPORT DATABASE '{out}'",
    "ATTACH '{out}/x.duckdb'",
    "ATTACH '{out}/secret.csv' AS x",
    "FROM read_csv('/etc/passwd')",
    "FROM read_csv('{out}/secret.csv')",
    "FROM read_csv('file://{out}/secret.csv')",
    "FROM read_text('{out}/secret.csv')",
    "FROM read_parquet('results://../secret.csv')",
    "FROM sniff_csv('{out}/secret.csv')",
    "FROM read_json('{out}/secret.csv')",
    "FROM '{out}/secret.csv'",
    "FROM read_parquet('{path}')",
    "FROM parquet_metadata('{path}')",
    "FROM glob('/etc/*')",
    "FROM glob('{out}/*')",
    "INSTALL httpfs",
    "LOAD httpfs",
    "LOAD '{out}/x.duckdb_extension'",
    "FROM 'https://127.0.0.1:9/x.parquet'",
    "FROM read_csv('http://127.0.0.1:9/x.csv')",
    "FROM 's3://bucket/x.parquet'",
    "CREATE SECRET (TYPE s3)",
    "SET enable_external_access = true",
    "PRAGMA enable_external_access = true",
    "RESET allowed_directories",
    "SET allowed_directories = ['/']",
    "SET lock_configuration = false",
    "SET temp_directory = '{out}'",
    "SET file_search_path = '{out}'",
    "SET python_enable_replacements = true",
    "SET autoload_known_extensions = true",
    "PRAGMA enable_profiling = 'json'",
    "PRAGMA profiling_output = '{out}/x.json'",
    "CALL enable_logging(storage = 'file', storage_path = '{out}/log')",
    "SELECT getenv('HOME')",
    "FROM sql",
    "FROM opened",
    "FROM connection",
]


def digests(folder: Path) -> dict[str, str]:
    """Say what every file of a folder holds."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    """Store a run, beside a file that is none of it."""
    folder = tmp_path_factory.mktemp("beside")
    build = Builder(folder / "results")
    build.records(build.cell(), 3)
    with plain_ladder():
        build.store(merge=True)
    (folder / "secret.csv").write_text("password\nhunter2\n")
    return build


@pytest.fixture
def secret(made: Builder, monkeypatch: pytest.MonkeyPatch) -> Builder:
    """Both would be found from here; nothing may write to them."""
    monkeypatch.chdir(made.root.parent)
    return made


@pytest.mark.parametrize("statement", REFUSED)
def test_no_statement_reaches_beyond_the_rows(secret: Builder, statement: str) -> None:
    """It is an error with a reason, and not a byte anywhere has changed."""
    out = secret.root.parent
    (path,) = (secret.root / "runs" / "run-1" / "data").glob("records-*")
    name = f"results://{path.relative_to(secret.root)}"
    before = digests(out)
    with pytest.raises(storage.QueryError) as caught:
        storage.query(secret.root, statement.format(out=out, file=name, path=path))
    assert "hunter2" not in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert digests(out) == before


def test_names_that_are_not_in_the_map_are_nothing(secret: Builder) -> None:
    """No pattern lists the files, and no dots lead out of them."""
    for name in ("results://../secret.csv", "results://**", "results://*"):
        for function in ("glob", "read_blob", "read_text"):
            found = storage.query(secret.root, f"FROM {function}('{name}')")
            assert found.num_rows == 0


def test_writing_says_how_to_get_rows_out(secret: Builder) -> None:
    """By the command line's own formats."""
    with pytest.raises(storage.QueryError, match=r"writes nothing.*--format csv > rows\.csv"):
        storage.query(secret.root, "COPY records TO 'x.csv'")
    with pytest.raises(storage.QueryError, match=r"writes nothing.*--format csv > rows\.csv"):
        storage.query(secret.root, "COPY records TO 'results://x.csv'")


def test_a_connection_is_locked_and_takes_tables_of_its_owner(secret: Builder) -> None:
    """A notebook can bring rows of its own by `register`."""
    with storage.connect(secret.root) as connection:
        mine = storage.query(secret.root, "SELECT 7 AS seven")
        connection.register("mine", mine)
        assert connection.sql("SELECT seven FROM mine, records").fetchall() == [(7,)] * 3
        with pytest.raises(duckdb.PermissionException):
            connection.sql("FROM read_text('/etc/passwd')")
        connection.execute("CREATE TEMP TABLE t AS FROM records")


def test_a_question_larger_than_memory_writes_nothing(tmp_path: Path) -> None:
    """It ends: a folder to spill to would be open to every statement, and its files would stay."""
    with duckdb.connect(config={"memory_limit": "60MB", "threads": "1"}) as connection:
        Mount(connection, LocalBackend(tmp_path))
        restrict(connection)
        with pytest.raises(duckdb.OutOfMemoryException):
            connection.sql(
                "SELECT count(*) FROM (SELECT hash(range) AS h, range FROM range(4_000_000)"
                " ORDER BY h, range LIMIT 3_900_000)"
            ).fetchall()
        assert connection.sql("SELECT current_setting('temp_directory')").fetchall() == [("",)]
        for place in (tmp_path, Path.cwd(), Path("/tmp")):  # noqa: S108 - where it was
            for statement in (f"COPY (SELECT 1) TO '{place}/x.csv'", f"ATTACH '{place}/y.db' AS y"):
                with pytest.raises(duckdb.PermissionException):
                    connection.execute(statement)


def test_threads_share_a_file(tmp_path: Path) -> None:
    """Each seeks and reads at its own position, as DuckDB's threads do with one handle."""
    content = np.random.default_rng(0).bytes(1 << 20)
    path = tmp_path / "file"
    path.write_bytes(content)

    def read(number: int) -> bool:
        start = number * 977
        file.seek(start)
        return file.read(500) == content[start : start + 500]

    with LocalFile(path) as file, ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(1000)))
        assert file.seek(-3, 2) == len(content) - 3
        assert file.read() == content[-3:]
        assert file.read(10) == b""


def test_many_row_groups_are_read_rightly_and_only_those_that_are_asked(tmp_path: Path) -> None:
    """All threads on one file give the sums of plain DuckDB; a cell is one row group."""
    values = np.random.default_rng(0).random(400_000)
    cells = np.repeat([f"cell-{number:03}" for number in range(40)], 10_000)
    table = storage.build_table(
        "records",
        {"run_id": "run-1", "cell_id": cells, "image_id": np.arange(400_000), "loss": values},
    )
    path = tmp_path / "records.parquet"
    pq.write_table(table, path, row_group_size=10_000)
    question = "SELECT sum(image_id), max(loss), count(DISTINCT cell_id) FROM {}"
    expected = duckdb.sql(question.format(f"'{path}'")).fetchall()
    with duckdb.connect(config={"threads": "4"}) as connection:
        name = Mount(connection, LocalBackend(tmp_path)).name_of(LocalBackend(path))
        connection.execute(f"CREATE VIEW records AS FROM read_parquet(['{name}'])")
        restrict(connection)
        for _ in range(20):
            assert connection.sql(question.format("records")).fetchall() == expected
        plan = connection.sql(
            "EXPLAIN ANALYZE SELECT sum(loss) FROM records WHERE cell_id = 'cell-007'"
        ).fetchall()[0][1]
    assert "Row Groups Scanned: 1 / 40" in " ".join(plan.split())
