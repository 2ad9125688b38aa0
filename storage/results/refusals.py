"""Messages for statements that cannot run: DuckDB's own words, what exists, and what to do."""

from __future__ import annotations

import difflib
import re
import textwrap

import duckdb

from storage.errors import QueryError
from storage.sql.macros import EXPRESSIONS, MACROS, list_signatures
from storage.tables.schemas import TABLES

_MESSAGE_WIDTH = 80  # columns of a terminal

_WITH_ROWS = (
    duckdb.StatementType.SELECT,
    duckdb.StatementType.EXPLAIN,
    duckdb.StatementType.CALL,
)

_SCHEMA_HINT = (
    "`gfjobs schema` lists tables, views and macros, and `gfjobs schema NAME` what\n"
    "  its columns and arguments mean"
)

_UNKNOWN = re.compile(
    r"Table(?: Function)? with name (\w+) does not exist!(?:\nDid you mean \"([^\"]*)\"\?)?"
)
_CLOSEST = 5
"""Names that are listed in the place of an unknown one."""

_THRESHOLD_HINTS = (
    (
        re.compile(r"\[\] -> FLOAT\b"),
        "t",
        "t is one threshold for all gates. `at_thresholds([t1, t2])` takes one for each gate",
    ),
    (
        re.compile(r"'len\((?:DECIMAL|DOUBLE|FLOAT|\w*INT)"),
        "ts",
        "ts is a list: `[t]` is one threshold for all gates, `[t1, t2]` has one for each gate",
    ),
)
"""What DuckDB says of a threshold in the wrong form, the argument that it is, and what to give."""


def refuse_lost_rows(statements: list[duckdb.Statement]) -> None:
    """Refuse statements of which one before the last has rows, which nobody would see.

    Raises: QueryError: likewise.
    """
    lost = [each.query.strip() for each in statements[:-1] if each.type in _WITH_ROWS]
    if lost:
        raise QueryError(
            f"{len(statements)} statements, and only the rows of the last would be shown: run them"
            f" one at a time, or combine them by `union all`; the first is\n  {lost[0]}"
        )


def changes_something(statements: list[duckdb.Statement]) -> bool:
    """Whether any of the statements does not only read."""
    return any(each.type not in _WITH_ROWS for each in statements)


def explain_refusal(err: duckdb.Error, sql: str) -> QueryError:
    """Return the error for a statement that DuckDB refused, with the names that it may mean."""
    hint = _SCHEMA_HINT
    text = str(err).strip()
    if "Traceback (most recent call last)" in text:  # raised by our own file system
        text = text.splitlines()[-1]
    if isinstance(err, duckdb.PermissionException) or "PermissionError" in text:
        hint += (
            "\n\nA query reads these results and nothing else, and writes nothing: send its rows "
            "to a file with `gfjobs sql ... --format csv > rows.csv`"
        )
    for wrong, argument, meaning in _THRESHOLD_HINTS:
        if wrong.search(text) and (calls := _calls_with(argument, sql)):
            hint += "\n\n" + fill_message(f"{', '.join(calls)}: {meaning}")
    text, names = _with_names(text, sql)
    return QueryError(f"{text}\n\n{names}{hint}")


def _with_names(text: str, sql: str) -> tuple[str, str]:
    """Return DuckDB's message without a suggestion that is not of ours, and ours for it."""
    known = {**{name: name for name in TABLES}, **list_signatures()}
    unknown = _UNKNOWN.search(text)
    if unknown is None:
        return text, _list_names("macros in it", [known[name] for name in _macros_in(sql)])
    name, suggested = unknown[1].lower(), unknown[2]
    if suggested not in known:
        text = text.replace(unknown[0], unknown[0].partition("\n")[0])
    if name in known:
        kind = "a macro" if "(" in known[name] else "a table or view, without arguments"
        return text, f"{name} is {kind}: from {known[name]}\n"
    if name in EXPRESSIONS:
        call = f"{name}({', '.join(EXPRESSIONS[name])})"
        return text, f"{name} is a scalar macro, without rows: select {call}\n"
    close = difflib.get_close_matches(name, known, _CLOSEST, cutoff=0.5)
    return text, _list_names("closest names", [known[each] for each in close])


def _list_names(what: str, names: list[str]) -> str:
    """List names in a paragraph, in which a macro and its arguments stay on one line."""
    listed = ", ".join(name.replace(" ", "\xa0") for name in names)
    return fill_message(f"{what}: {listed}").replace("\xa0", " ") + "\n" if names else ""


def explain_memory(err: duckdb.OutOfMemoryException) -> QueryError:
    """Return the error for a statement that needs more memory than it may have."""
    reason = str(err).partition("\n")[0]
    return QueryError(
        f"{reason}\n\nGive it more memory, as in `gfjobs sql --memory 64GB`, or select less: it"
        " cannot spill to a disk, where any statement could write then"
    )


def fill_message(text: str) -> str:
    """Fill a paragraph of a message, which has names in it."""
    return textwrap.fill(text, _MESSAGE_WIDTH, subsequent_indent="  ", break_long_words=False)


def _macros_in(sql: str) -> list[str]:
    """Return the macros that a statement names, in its order."""
    return [word for word in dict.fromkeys(re.findall(r"\w+", sql.lower())) if word in MACROS]


def _calls_with(argument: str, sql: str) -> list[str]:
    """Return the macros of a statement that take an argument, with all their arguments."""
    signatures = list_signatures()
    return [signatures[name] for name in _macros_in(sql) if argument in MACROS[name]]
