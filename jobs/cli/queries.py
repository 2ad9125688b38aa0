"""Commands for SQL over the results: queries, files of them, and what tables and columns mean."""

from __future__ import annotations

import json
import re
import sys
from contextlib import closing
from pathlib import Path

import click

import storage
from jobs.cli.base import RESULTS, main, show
from jobs.cli.query_output import show_encoded, show_rows
from jobs.common.errors import UsageError
from storage import Root

_SIZE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,3})?\s?[KMGT]i?B", re.IGNORECASE)

STATEMENT_WORDS = (
    *("select", "from", "with", "values", "table", "describe", "desc", "show", "summarize"),
    *("explain", "pivot", "unpivot", "create", "insert", "update", "delete", "drop", "alter"),
    *("set", "reset", "call", "pragma", "prepare", "execute", "deallocate"),
    *("begin", "commit", "rollback"),
)
"""With which a statement of a file begins; other statements of DuckDB are not allowed here."""

_LINE = re.compile(r"^LINE (\d+): (.*)\n", re.MULTILINE)
_STDIN = "-"
MAX_FILE_BYTES = 16 * 1024 * 1024
"""Of a file of statements: DuckDB takes seconds to parse as much."""


def _memory(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Check a size as DuckDB reads it."""
    if value is not None and not _SIZE.fullmatch(value):
        raise click.BadParameter(f"{value!r}; give a number and a unit, such as 500MB or 8GB")
    return value


@main.command()
@click.argument("query", required=False)
@click.option(
    "-f",
    "--file",
    "file",
    type=click.Path(path_type=str),
    metavar="FILE",
    help="Run the statements of FILE, one after the other; - is standard input.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "parquet", "md"]),
    default="table",
    show_default=True,
)
@click.option(
    "--all",
    "is_all",
    is_flag=True,
    help="Show all columns in a terminal, one line per value if they do not fit.",
)
@click.option(
    "--memory",
    callback=_memory,
    metavar="SIZE",
    help="Most memory of the query, such as 8GB; default: 80 % of the machine's.",
)
@RESULTS
def sql(
    query: str | None,
    file: str | None,
    form: str,
    memory: str | None,
    results: Root,
    *,
    is_all: bool,
) -> None:
    """Run QUERY, in DuckDB's SQL, over the tables of all runs.

    Without QUERY: a prompt in a terminal; else the statements of standard input.

    \b
    Example:
      gfjobs sql "select model, acc1, forward_ms from ladder"
      gfjobs sql "describe records"
      gfjobs sql -f queries.sql
      gfjobs sql
    """
    if query is not None and file is not None:
        raise UsageError("give either QUERY or -f FILE, not both")
    if query is not None:
        rows = storage.query(results, query, memory=memory)
        if not rows.num_columns:
            raise UsageError(f"{query!r} has no statement; a query is, for example, 'from ladder'")
        if form == "table":
            show_rows(rows, query, is_all=is_all)
        else:
            show_encoded(rows, form)
        return
    if file is not None or sys.stdin is None or not sys.stdin.isatty():
        _run_file(file or _STDIN, form, memory, results, is_all=is_all)
        return
    if form != "table" or not sys.stdout.isatty():
        raise UsageError(
            "without a query there is a prompt, which writes tables to a terminal; give QUERY, "
            "-f FILE or a pipe: echo 'from ladder' | gfjobs sql --format csv > rows.csv"
        )
    from jobs.cli.sql_prompt import run_prompt

    run_prompt(results, memory, is_all=is_all)


def _run_file(file: str, form: str, memory: str | None, results: Root, *, is_all: bool) -> None:
    """Run the statements of a file; formats for programs hold the rows of one statement.

    Raises:
        UsageError: the file cannot be read, has no statement, or too many with rows.
        StorageError: a statement cannot run; with its line.
    """
    place = "standard input" if file == _STDIN else file
    statements = storage.split_statements(_read(file, place))
    if not statements:
        raise UsageError(f"{place} has no statement; one is, for example, 'from ladder;'")
    for statement in statements:
        _check_beginning(statement, place)
    encoded = None
    is_first = True
    with closing(storage.Session(results, memory=memory)) as session:
        for statement in statements:
            try:
                rows = session.run(statement.sql)
            except storage.StorageError as err:
                raise type(err)(_placed(str(err), place, statement.line)) from err
            if not rows.num_columns:  # as of a CREATE
                continue
            if form == "table":
                show("" if is_first else "\n")
                show_rows(rows, statement.sql, is_all=is_all)
            elif encoded is None:
                encoded = rows, statement
            else:
                raise UsageError(
                    f"{place}: the statements of lines {encoded[1].line} and {statement.line} both "
                    f"have rows, and {form} holds those of one; run them one at a time"
                )
            is_first = False
    if encoded is not None:
        show_encoded(encoded[0], form)


def _check_beginning(statement: storage.Statement, place: str) -> None:
    """Refuse a text that is no SQL without quoting it: it may be a private file, named by mistake.

    Raises: UsageError: likewise.
    """
    (word,) = re.findall(r"^(?:\(|\w*)", statement.sql)
    if word.lower() not in ("(", *STATEMENT_WORDS):
        raise UsageError(
            f"{place}:{statement.line}: no statement of SQL begins like this\n"
            f"    allowed: {', '.join(STATEMENT_WORDS)}"
        )


def _placed(message: str, place: str, first: int) -> str:
    """Put file and line before a message, in which DuckDB counts lines from the statement."""
    found = _LINE.search(message)
    if not found:
        return f"{place}:{first}: {message}"
    line = first + int(found[1]) - 1
    wider = " " * (len(str(line)) - len(found[1]))  # the caret stays below its word
    moved = f"LINE {line}: {found[2]}\n{wider}"
    return f"{place}:{line}: {message[: found.start()]}{moved}{message[found.end() :]}"


def _read(file: str, place: str) -> str:
    from jobs.common.files import describe_undecodable, read_regular

    try:
        if file == _STDIN:
            if sys.stdin is None:
                raise UsageError("standard input is closed; give QUERY, or -f FILE")
            data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
            if len(data) > MAX_FILE_BYTES:
                raise UsageError(f"{place} has more than {MAX_FILE_BYTES:,} bytes, the most here")
            return data.decode("utf-8-sig")
        return read_regular(Path(file), MAX_FILE_BYTES)
    except UnicodeDecodeError as err:
        raise UsageError(f"{place} cannot be read: {describe_undecodable(err)}") from err
    except OSError as err:
        raise UsageError(f"{place} cannot be read: {err.strerror}") from err


@main.command()
@click.argument("table", required=False)
@click.option("--json", "is_json", is_flag=True, help="Print JSON, for programs.")
def schema(table: str | None, *, is_json: bool) -> None:
    """Show the tables, views and macros of SQL, or the columns of one.

    TABLE may be a view or a macro too; each column has its type, unit and meaning.

    \b
    Example:
      gfjobs schema
      gfjobs schema ladder
      gfjobs schema frontier --json
    """
    from jobs.report.terminal.relations import (
        list_of_relations,
        relation_page,
        relations_as_json,
    )

    if is_json:
        show(json.dumps(relations_as_json(table), ensure_ascii=False, indent=2) + "\n")
    else:
        show(list_of_relations() if table is None else relation_page(table))
