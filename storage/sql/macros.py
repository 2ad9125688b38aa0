"""The views and macros of `gfjobs sql`: which files of `queries` they are, and their arguments.

DuckDB binds each of them when it is made, 0.3 s for all; so a statement gets those that its text
names, and what these name in turn.
"""

from __future__ import annotations

import functools
import hashlib
import re
from typing import TYPE_CHECKING

from storage.sql.text import query_text
from storage.tables.schemas import DIGEST_TABLES, TABLES

if TYPE_CHECKING:
    from collections.abc import Collection

    import duckdb

# Expressions of their arguments, used by the queries below; in the order they need each other.
EXPRESSIONS = {
    "leaves": ("score", "threshold"),
    "gates": ("exit_blocks", "depth"),
    "run_named": ("run",),
    "model_named": ("name",),
    "same_setting": ("a", "b"),
    "samples_for": ("percentile",),
    "condition_words": ("what", "own", "everyone"),
    "by_time": ("value", "duration_us"),
    "student_t": ("number",),
    "above_idle_mj": ("power_w", "idle_w", "ms"),
    "not_above_idle": ("power_w", "idle_w"),
    "some_rounds": ("own", "timed"),
    "composed_check": ("is_within", "error_pct", "tolerance_pct"),
    "composed_note": ("checked", "parts", "whole", "exits"),
}

# Queries over the tables.
VIEWS = (
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
    "ladder",
    "measured",
    "exit_means",
    "exit_energies",
    "committed",
)

# Views whose rows are kept for each finished run, since they stand for all of its images.
SUMMARISED = ("ladder", "committed")

# Queries that take arguments: `FROM at_threshold(0.5)`.
MACROS: dict[str, tuple[str, ...]] = {
    "trend": ("model_name",),
    "at_thresholds": ("ts",),
    "at_threshold": ("t",),
    "measured_exit_costs": ("run",),
    "composition": ("run",),
    "trusted_exit_costs": ("run",),
    "measured_exit_energies": ("run",),
    "energy_composition": ("run",),
    "trusted_exit_energies": ("run",),
    "exit_samples": ("run",),
    "composed_latency": ("run", "ts"),
    "composed_energy": ("run", "ts"),
    "frontier": ("run",),
    "compared_routes": ("run",),
    "certificate": ("run",),
    "flips": ("run",),
    "exit_cells": ("run",),
    "image_answers": ("run",),
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


# Statements that may name what their text does not: lists of what there is, SQL in a string.
_SPEAKS_OF_ALL = re.compile(
    r"\b(show|pragma|information_schema|query|query_table)\b|\b(duckdb|pg|sqlite)_", re.IGNORECASE
)


_OF_RUN = re.compile(
    r"--[^\n]*|/\*.*?\*/|"  # comments and texts are passed over, with what stands in them
    rf"\b(?:{'|'.join(name for name, arguments in MACROS.items() if arguments[0] == 'run')})"
    r"""\s*\(\s*('(?:[^']|'')*')|'(?:[^']|'')*'|"(?:[^"]|"")*\"""",
    re.IGNORECASE | re.DOTALL,
)


def find_needed(sql: str | None, through: Collection[str] = SUMMARISED) -> frozenset[str]:
    """Say which tables, views and macros a statement may use; None uses all.

    By its text, so that it never names too few: a word in a string or a comment counts.

    Args:
        sql: the statement.
        through: those of SUMMARISED that are computed; what the others are made of is not needed.
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


def create_questions(connection: duckdb.DuckDBPyConnection, names: Collection[str]) -> None:
    """Define those of `names` that are views or macros, over the tables of the current schema."""
    for name, arguments in EXPRESSIONS.items():
        if name in names:
            connection.execute(
                f"CREATE MACRO {name}({', '.join(arguments)}) AS ({query_text(name)})"
            )
    for name in VIEWS:
        if name in names:
            connection.execute(f"CREATE VIEW {name} AS {query_text(name)}")
    macros = [name for name in MACROS if name in names]
    exits = _most_exits(connection) if any(_is_repeated(name) for name in macros) else 1
    for name in macros:
        text = _repeat_by_exit(query_text(name), exits)
        connection.execute(f"CREATE MACRO {name}({', '.join(MACROS[name])}) AS TABLE {text}")


def runs_asked_for(sql: str) -> list[str]:
    """The runs that a statement gives to macros, as literals.

    DuckDB evaluates nothing beside an empty table, so that a macro need not see that its run is not
    there: whoever has the text asks `run_named` of each of these.
    """
    return sorted({found[1] for found in _OF_RUN.finditer(sql) if found[1]})


def named_queries() -> list[str]:
    """How the views and macros are called, for messages."""
    return [*VIEWS, *(f"{name}({', '.join(args)})" for name, args in MACROS.items())]


@functools.cache
def definition() -> str:
    """A digest of all SQL that SUMMARISED are made by: what another gave is not theirs."""
    digest = hashlib.sha256()
    for name in sorted(find_needed(" ".join(SUMMARISED)) - set(TABLES)):
        digest.update(f"{name}\n{query_text(name)}\n".encode())
    return digest.hexdigest()


@functools.cache
def _names() -> frozenset[str]:
    return frozenset((*TABLES, *EXPRESSIONS, *VIEWS, *MACROS))


def _named_in(sql: str) -> set[str]:
    return {word for word in re.findall(r"\w+", sql.lower()) if word in _names()}


@functools.cache
def _uses(name: str) -> frozenset[str]:
    """What the query of a view or macro names; its comments do not count."""
    if name in TABLES:
        return frozenset(("cells",) if name in DIGEST_TABLES else ())
    return frozenset(_named_in(re.sub(r"--[^\n]*", "", query_text(name))))


@functools.cache
def _is_repeated(name: str) -> bool:
    return "{exit}" in query_text(name)


def _most_exits(connection: duckdb.DuckDBPyConnection) -> int:
    """The greatest number of exits of an all-exit cell: its gates and the last block."""
    rows = connection.sql("SELECT max(len(exit_blocks)) FROM cells WHERE kind = 'exits'").fetchall()
    return (rows[0][0] or 0) + 1


def _repeat_by_exit(text: str, exits: int) -> str:
    """Repeat the lines of a query that say {exit}, once for each exit, numbered from 1."""
    return "\n".join(
        line.replace("{exit}", str(number))
        for line in text.splitlines()
        for number in range(1, exits + 1 if "{exit}" in line else 2)
    )
