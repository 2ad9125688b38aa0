"""The views and macros of `gfjobs sql`: their files in `queries`, and their arguments.

DuckDB binds each of them when it is created, which takes 0.3 s for all. So a statement gets only
those that its text names, and those that these name in turn.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections import Counter
from typing import TYPE_CHECKING

from storage.sql.text import query_text, quote
from storage.tables.schemas import DIGEST_TABLES, TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    import duckdb

# Expressions of their arguments, used by the queries below; each needs only earlier ones.
EXPRESSIONS = {
    "leaves": ("score", "threshold"),
    "gates": ("exit_blocks", "depth"),
    "mean_over_exits": ("counts", "figures", "exit_blocks", "depth"),
    "run_named": ("run",),
    "model_named": ("name",),
    "same_setting": ("a", "b"),
    "same_work": ("a", "b"),
    "samples_for": ("percentile",),
    "condition_words": ("what", "own", "everyone"),
    "by_time": ("value", "duration_us"),
    "student_t": ("number",),
    "above_idle_mj": ("power_w", "idle_w", "ms"),
    "not_above_idle": ("power_w", "idle_w"),
    "some_rounds": ("own", "timed"),
    "flip_bound": ("flipped", "images", "misses"),
    "ratio_margin": ("logs",),
    "look_factor": ("number",),
    "looked_margin": ("number", "counted", "is_looked_at"),
    "composed_verdict": ("error_pct", "low_pct", "high_pct", "tolerance_pct"),
    "composed_check": ("verdict", "error_pct", "low_pct", "high_pct", "tolerance_pct"),
    "composed_note": ("checked", "parts", "whole", "exits"),
}

# Queries over the tables.
VIEWS = (
    "throttled_rounds",
    "conditions",
    "invalid_cells",
    "looked_rounds",
    "power_windows",
    "task_energies",
    "cell_energies",
    "cell_powers",
    "energy_sources",
    "matching_passes",
    "borrowed_passes",
    "answer_sources",
    "unanswered",
    "ladder",
    "measured",
    "exit_means",
    "throughputs",
    "served",
    "exit_energies",
    "committed",
    "cell_resources",
)

# Views whose rows are stored for each finished run, as a summary of all its images.
SUMMARISED = ("ladder", "committed")

_KEPT = "kept_"
"""Begins the name of the table with the rows of a macro."""

_BY_RULE = "rule := NULL"  # that of the cell

# Queries that take arguments: `FROM at_threshold(0.5)`, `FROM frontier('latest', rule := 'gate')`.
MACROS: dict[str, tuple[str, ...]] = {
    "trend": ("model_name",),
    "speedups_of": ("run_ids",),
    "speedups": ("run",),
    "scored_exits": (_BY_RULE,),
    "at_thresholds": ("ts", _BY_RULE),
    "at_threshold": ("t", _BY_RULE),
    "measured_exit_costs": ("run",),
    "composition": ("run",),
    "trusted_exit_costs": ("run",),
    "measured_exit_energies": ("run",),
    "energy_composition": ("run",),
    "trusted_exit_energies": ("run",),
    "exit_samples": ("run",),
    "composed_latency": ("run", "ts"),
    "composed_energy": ("run", "ts"),
    "frontier_flips": ("run", _BY_RULE),
    "frontier": ("run", _BY_RULE),
    "compared_routes": ("run",),
    "certificate": ("run",),
    "flips": ("run",),
    "exit_cells": ("run",),
    "image_answers": ("run",),
    "confusion": ("run",),
    "class_accuracy": ("run",),
    "image_routes": ("run", "t"),
    "oracle_exits": ("run",),
    "overthinking": ("run",),
    "wasted_blocks": ("run", "t"),
    "gate_regret": ("run", "t"),
    "gate_auroc": ("run",),
    "calibration_bins": ("run",),
    "exit_calibration": ("run",),
    "agreement": ("run", "t"),
}


# Views and macros with at most some rows per cell and round, which other queries use several times.
# DuckDB plans a view anew wherever it is used, and what it uses with it: `frontier` over views of
# views takes 2 s to plan, however few rows there are.
COMPUTED_ONCE = (
    "throttled_rounds",
    "conditions",
    "invalid_cells",
    "power_windows",
    "task_energies",
    "cell_energies",
    "cell_powers",
    "energy_sources",
    "answer_sources",
    "unanswered",
    "exit_means",
    "measured_exit_costs",
    "composition",
    "trusted_exit_costs",
    "measured_exit_energies",
    "energy_composition",
    "trusted_exit_energies",
)


# Statements that may use what their text does not name: lists of tables, SQL in a string.
_SPEAKS_OF_ALL = re.compile(
    r"\b(show|pragma|information_schema|query|query_table)\b|\b(duckdb|pg|sqlite)_", re.IGNORECASE
)


_OF_RUN = re.compile(
    r"--[^\n]*|/\*.*?\*/|"  # comments and strings are skipped, with their content
    rf"\b(?:{'|'.join(name for name, arguments in MACROS.items() if arguments[0] == 'run')})"
    r"""\s*\(\s*('(?:[^']|'')*')|'(?:[^']|'')*'|"(?:[^"]|"")*\"""",
    re.IGNORECASE | re.DOTALL,
)


def find_needed(sql: str | None, through: Collection[str] = SUMMARISED) -> frozenset[str]:
    """Return the tables, views and macros that a statement may use; all for None.

    It goes by the words of the text, so it never returns too few: a word in a string or a comment
    counts too.

    Args:
        sql: the statement.
        through: those of SUMMARISED that are computed; inputs of the others are not needed.
    """
    known = _names()
    if sql is None or _SPEAKS_OF_ALL.search(sql):
        return known
    stored = set(SUMMARISED).difference(through)
    found: set[str] = set()
    coming = _named_in(sql)
    while coming:
        found |= coming
        coming = {name for each in coming - stored for name in _uses(each)} - found
    return frozenset(found)


def find_repeated(sql: str, names: frozenset[str]) -> frozenset[str]:
    """Return those of COMPUTED_ONCE that a statement with its views uses more than once.

    Args:
        sql: the statement.
        names: the tables, views and macros that it needs and that are not stored.
    """
    texts = {"": sql.lower(), **{name: query_statement(name) for name in names - TABLES.keys()}}
    counts = Counter(
        word for name, text in texts.items() for word in re.findall(r"\w+", text) if word != name
    )
    return frozenset(name for name in COMPUTED_ONCE if name in names and counts[name] > 1)


def create_questions(
    connection: duckdb.DuckDBPyConnection,
    names: Collection[str],
    kept: Collection[str] = (),
    run_ids: Sequence[str] = (),
    execute: Callable[[str], object] | None = None,
) -> None:
    """Define those of `names` that are views or macros, over the tables of the current schema.

    Args:
        connection: has the tables.
        names: as `find_needed` returns them.
        kept: those of COMPUTED_ONCE to compute now, once, for all that use them.
        run_ids: the runs that kept macros are computed for: all that the tables have.
        execute: runs the statements that compute something; default: the connection.
    """
    compute = execute or connection.execute
    for name, arguments in EXPRESSIONS.items():
        if name in names:
            connection.execute(
                f"CREATE MACRO {name}({', '.join(arguments)}) AS ({query_text(name)})"
            )
    for name in VIEWS:
        if name in names and name in kept:
            compute(f"CREATE TABLE {name} AS {query_text(name)}")
        elif name in names:
            connection.execute(f"CREATE VIEW {name} AS {query_text(name)}")
    macros = [name for name in MACROS if name in names]
    exits = _most_exits(connection) if any(_is_repeated(name) for name in macros) else 1
    for name in macros:
        text = _repeat_by_exit(query_text(name), exits)
        head = f"MACRO {name}({', '.join(MACROS[name])}) AS TABLE"
        connection.execute(f"CREATE {head} {text}")
        if name in kept and run_ids:
            rows = " UNION ALL ".join(f"FROM {name}({quote(each)})" for each in run_ids)
            compute(f"CREATE TABLE {_KEPT}{name} AS {rows}")
            connection.execute(
                f"CREATE OR REPLACE {head} FROM {_KEPT}{name} WHERE run_id = run_named(run)"
            )


def runs_asked_for(sql: str) -> list[str]:
    """Return the runs that a statement passes to macros, as SQL literals.

    DuckDB evaluates nothing that is joined with an empty table, so a macro may not notice that its
    run does not exist: the caller calls `run_named` for each of these.
    """
    return sorted({found[1] for found in _OF_RUN.finditer(sql) if found[1]})


def list_signatures() -> dict[str, str]:
    """Return what to write after `from` by name: views, and macros with all their arguments."""
    return {
        **{name: name for name in VIEWS},
        **{name: f"{name}({', '.join(arguments)})" for name, arguments in MACROS.items()},
    }


@functools.cache
def definition() -> str:
    """Return a digest of all SQL behind SUMMARISED; rows stored under another one are stale.

    Comments and line breaks do not count: a reworded query gives the same rows.
    """
    digest = hashlib.sha256()
    for name in sorted(find_needed(" ".join(SUMMARISED)) - set(TABLES)):
        digest.update(f"{name} {' '.join(query_statement(name).split())}\n".encode())
    return digest.hexdigest()


@functools.cache
def _names() -> frozenset[str]:
    return frozenset((*TABLES, *EXPRESSIONS, *VIEWS, *MACROS))


def find_named(sql: str) -> set[str]:
    """Return the tables and views without arguments that a text names."""
    return {name for name in _named_in(sql) if name in TABLES or name in VIEWS}


def _named_in(sql: str) -> set[str]:
    return {word for word in re.findall(r"\w+", sql.lower()) if word in _names()}


@functools.cache
def _uses(name: str) -> frozenset[str]:
    """Return the names that the query of a view or macro uses; its comments do not count."""
    if name in TABLES:
        return frozenset(("cells",) if name in DIGEST_TABLES else ())
    return frozenset(_named_in(query_statement(name)))


@functools.cache
def query_statement(name: str) -> str:
    """Return a query's text without its comments, whose words would name views."""
    return re.sub(r"--[^\n]*", "", query_text(name))


@functools.cache
def _is_repeated(name: str) -> bool:
    return "{exit}" in query_text(name)


def _most_exits(connection: duckdb.DuckDBPyConnection) -> int:
    """Return the largest number of exits of an all-exit cell: its gates and the last block."""
    rows = connection.sql("SELECT max(len(exit_blocks)) FROM cells WHERE kind = 'exits'").fetchall()
    return (rows[0][0] or 0) + 1


def _repeat_by_exit(text: str, exits: int) -> str:
    """Repeat the lines of a query that contain {exit}, once per exit, numbered from 1."""
    return "\n".join(
        line.replace("{exit}", str(number))
        for line in text.splitlines()
        for number in range(1, exits + 1 if "{exit}" in line else 2)
    )
