"""The views and macros of `gfjobs sql`: which files of `queries` they are, and their arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from storage.sql import query_text

if TYPE_CHECKING:
    import duckdb

# Expressions of their arguments, used by the queries below; in the order they need each other.
EXPRESSIONS = {"leaves": ("score", "threshold"), "run_named": ("run",)}

# Queries over the tables.
VIEWS = ("ladder",)

# Queries that take arguments: `FROM at_threshold(0.5)`.
MACROS: dict[str, tuple[str, ...]] = {"at_thresholds": ("ts",), "at_threshold": ("t",)}


def create_questions(connection: duckdb.DuckDBPyConnection) -> None:
    """Define them all over the tables of a connection."""
    for name, arguments in EXPRESSIONS.items():
        connection.execute(f"CREATE MACRO {name}({', '.join(arguments)}) AS ({query_text(name)})")
    for name in VIEWS:
        connection.execute(f"CREATE VIEW {name} AS {query_text(name)}")
    for name, arguments in MACROS.items():
        text = query_text(name)
        connection.execute(f"CREATE MACRO {name}({', '.join(arguments)}) AS TABLE {text}")


def named() -> list[str]:
    """How the views and macros are called, for messages."""
    return [*VIEWS, *(f"{name}({', '.join(args)})" for name, args in MACROS.items())]
