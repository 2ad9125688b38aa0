"""The views and macros of `gfjobs sql`: which files of `queries` they are, and their arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from storage.sql import query_text

if TYPE_CHECKING:
    import duckdb

# Expressions of their arguments, used by the queries below; in the order they need each other.
EXPRESSIONS = {
    "leaves": ("score", "threshold"),
    "gates": ("exit_blocks", "depth"),
    "run_named": ("run",),
    "same_setting": ("a", "b"),
    "samples_for": ("percentile",),
    "condition_words": ("what", "own", "everyone"),
    "by_time": ("value", "duration_us"),
    "student_t": ("number",),
}

# Queries over the tables.
VIEWS = (
    "throttled_rounds",
    "conditions",
    "invalid_cells",
    "power_windows",
    "cell_powers",
    "ladder",
    "exit_means",
    "exit_energies",
)

# Queries that take arguments: `FROM at_threshold(0.5)`.
MACROS: dict[str, tuple[str, ...]] = {
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


def create_questions(connection: duckdb.DuckDBPyConnection) -> None:
    """Define them all over the tables of a connection."""
    exits = _most_exits(connection)
    for name, arguments in EXPRESSIONS.items():
        connection.execute(f"CREATE MACRO {name}({', '.join(arguments)}) AS ({query_text(name)})")
    for name in VIEWS:
        connection.execute(f"CREATE VIEW {name} AS {query_text(name)}")
    for name, arguments in MACROS.items():
        text = _repeat_by_exit(query_text(name), exits)
        connection.execute(f"CREATE MACRO {name}({', '.join(arguments)}) AS TABLE {text}")


def named() -> list[str]:
    """How the views and macros are called, for messages."""
    return [*VIEWS, *(f"{name}({', '.join(args)})" for name, args in MACROS.items())]


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
