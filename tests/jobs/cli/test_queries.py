"""`gfjobs sql` with files and pipes, and `gfjobs schema`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import storage
from jobs.cli import main
from storage.sql.macros import MACROS, VIEWS


@pytest.fixture(scope="module")
def root(made_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results root with a run."""
    return made_run(tmp_path_factory.mktemp("queries") / "results", kinds=("latency",))


Sql = Callable[..., Result]


@pytest.fixture
def sql(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sql:
    """Runs `gfjobs sql -f queries.sql` with a text in it, or the arguments that are given."""
    monkeypatch.chdir(tmp_path)

    def run(text: str, *arguments: str, is_piped: bool = False) -> Result:
        Path("queries.sql").write_text(text)
        words = ["sql", *([] if is_piped else ["-f", "queries.sql"]), *arguments]
        return CliRunner().invoke(main, [*words, "--results", str(root)], input=text)

    return run


def test_statements_of_a_file_run_one_after_the_other(sql: Sql) -> None:
    """Each sees what earlier ones created; tables stand with an empty line between them."""
    result = sql(
        "-- counts; of rows\ncreate table mine as\n  select * from range(3) t(i);\n"
        "select count(*) as n from mine;\nselect ';' as b"
    )
    assert result.exit_code == 0, result.output
    assert result.stdout == " n\n ─\n 3\n\n b\n ─\n ;\n"
    assert result.stderr == ""


def test_a_pipe_is_read_without_a_query(sql: Sql) -> None:
    """As with psql, sqlite3 and duckdb; `-f -` says it in words."""
    for arguments in ((), ("-f", "-")):
        result = sql("select 41 + 1 as n", *arguments, "--format", "csv", is_piped=True)
        assert (result.exit_code, result.stdout) == (0, "n\n42\n"), result.output
    result = sql("selec 1", is_piped=True)
    assert result.stderr.startswith("gfjobs: standard input:1: no statement of SQL begins like")
    result = sql(" \n-- nothing", is_piped=True)
    assert result.exit_code == 2
    assert "standard input has no statement" in result.stderr


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("from runs;\n\n-- two\nfrom laddr;", 4, "Did you mean"),
        ("from runs;\n\nselect *\nfrom runs\nwhere modle = 1;", 3, "runs: run_id"),
        ("from runs;\nselect\n  1 +;\nfrom cells", 3, "syntax error"),
        ("select 1;\n\nselect cast('a' as int)", 3, "Could not convert"),
        ("select 1;\nselect 2;\nmodels: [a]", 3, "no statement of SQL begins like this"),
    ],
)
def test_an_error_names_file_and_line(sql: Sql, text: str, line: int, words: str) -> None:
    """The line of the word that is wrong, if DuckDB says which, else that of the statement."""
    result = sql(text)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"gfjobs: queries.sql:{line}: "), result.stderr
    assert words.lower() in result.stderr.lower()


def test_what_ran_before_an_error_is_shown(sql: Sql) -> None:
    """And nothing after it is run; a file that is no SQL is refused before anything runs."""
    result = sql("select 7 as seven; from laddr; select 8 as eight")
    assert "seven" in result.stdout
    assert "eight" not in result.stdout
    assert sql("select 7 as seven; nonsense").stdout == ""


def test_formats_for_programs_hold_the_rows_of_one_statement(sql: Sql) -> None:
    """Two results in one CSV or JSON are none."""
    text = "create table t as select 1 as a;\nfrom t;"
    assert sql(text, "--format", "json").stdout == '[\n  {"a": 1}\n]\n'
    result = sql(text + "\nfrom t;", "--format", "csv")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "queries.sql: the statements of lines 2 and 3 both have rows" in result.stderr


def test_a_file_that_cannot_be_read_is_an_error(sql: Sql, root: Path) -> None:
    """Also one that is not text; and a query next to a file is one too many."""
    result = CliRunner().invoke(main, ["sql", "-f", "none.sql", "--results", str(root)])
    assert result.exit_code == 2
    assert "none.sql cannot be read: No such file" in result.stderr
    Path("bytes.sql").write_bytes(b"select \xff")
    result = CliRunner().invoke(main, ["sql", "-f", "bytes.sql", "--results", str(root)])
    assert "bytes.sql cannot be read: not UTF-8" in result.stderr
    result = sql("select 1", "from runs")
    assert "either QUERY or -f FILE" in result.stderr


def schema(*arguments: str) -> str:
    """What `gfjobs schema` prints, without a results root."""
    result = CliRunner().invoke(main, ["schema", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_schema_lists_everything_with_what_a_row_is() -> None:
    """Tables, views and macros, in one line of 80 columns each."""
    text = schema()
    for name in (*storage.TABLES, *VIEWS, *MACROS):
        assert re.search(rf"^ {name}\b", text, re.MULTILINE), name
    for relation in storage.list_relations():
        assert re.search(rf" +{re.escape(relation.row)}$", text, re.MULTILINE), relation
    assert re.search(r"^ at_threshold\(t\) +one", text, re.MULTILINE)
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("name", [*storage.TABLES, "ladder", "frontier", "gate_auroc"])
def test_schema_shows_the_columns_of_one(name: str) -> None:
    """Each with type, unit and meaning; a macro also with its arguments."""
    text = schema(name)
    assert max(map(len, text.splitlines())) <= 80
    details = storage.describe_relation(name)
    for column in details.columns:
        kind = f"{column.type}, {column.unit}" if column.unit else column.type
        assert re.search(rf"^ {column.name} +{re.escape(kind)} ", text, re.MULTILINE), column
        assert column.meaning in " ".join(text.split())
    assert ("\narguments\n" in text) == bool(details.parameters)


def test_schema_as_json() -> None:
    """The list, and all of one; no unit is null."""
    names = [each["name"] for each in json.loads(schema("--json"))]
    assert names == [*storage.TABLES, *VIEWS, *MACROS]
    found = json.loads(schema("frontier", "--json"))
    assert found["kind"] == "macro"
    assert found["parameters"][1]["default"] == "NULL"
    columns = {column["name"]: column for column in found["columns"]}
    assert columns["forward_ms"]["unit"] == "ms"
    assert columns["model"]["unit"] is None


def test_schema_of_an_unknown_name_is_an_error() -> None:
    """With the nearest one."""
    result = CliRunner().invoke(main, ["schema", "record"])
    assert result.exit_code == 2
    assert "'record' (did you mean 'records'?)" in result.stderr
