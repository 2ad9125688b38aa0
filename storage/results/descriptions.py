"""What tables, views and macros hold: their rows, columns, units and arguments, in words.

`descriptions.yaml` next to this module is the only place that says it. Names and types of columns
are DuckDB's own, from a root without runs.
"""

from __future__ import annotations

import functools
import re
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NamedTuple

from storage.errors import StorageError
from storage.results.connection import query
from storage.sql.macros import MACROS, VIEWS
from storage.tables.schemas import TABLES, nearest

RelationKind = Literal["table", "view", "macro"]

# Units by the ending of a name; the others stand in the file, under `units`.
_UNITS = {
    "ms": "ms",
    "s": "s",
    "us": "µs",
    "mj": "mJ",
    "mw": "mW",
    "w": "W",
    "mhz": "MHz",
    "c": "°C",
    "pct": "%",
    "points": "points",
    "bytes": "bytes",
}
_NUMBERS = re.compile(r"(BIGINT|INTEGER|DOUBLE|FLOAT|HUGEINT)(\[\])?")

# With which DuckDB binds a macro, so that its columns are known.
_BOUND_WITH = {
    "run": "'latest'",
    "run_ids": "['latest']",
    "t": "0.5",
    "ts": "[0.5]",
    "model_name": "NULL",
}


class Relation(NamedTuple):
    """A table, view or macro.

    Attributes:
        name: its name.
        kind: which of these it is.
        call: its name, and for a macro the arguments: `at_threshold(t, rule := NULL)`.
        row: what one row of it is.
    """

    name: str
    kind: RelationKind
    call: str
    row: str


class RelationParameter(NamedTuple):
    """An argument of a macro; `default` is None if it must be given."""

    name: str
    default: str | None
    meaning: str


class RelationColumn(NamedTuple):
    """A column; `type` is DuckDB's, `unit` is empty for what has none."""

    name: str
    type: str
    unit: str
    meaning: str


class RelationDetails(NamedTuple):
    """All that is known of a table, view or macro."""

    relation: Relation
    parameters: tuple[RelationParameter, ...]
    columns: tuple[RelationColumn, ...]


def list_relations() -> tuple[Relation, ...]:
    """List all tables, then views, then macros."""
    kinds: dict[str, RelationKind] = {
        **dict.fromkeys(TABLES, "table"),
        **dict.fromkeys(VIEWS, "view"),
        **dict.fromkeys(MACROS, "macro"),
    }
    return tuple(
        Relation(name, kind, _call(name), str(_described(name)["row"]))
        for name, kind in kinds.items()
    )


@functools.cache
def describe_relation(name: str) -> RelationDetails:
    """Describe a table, view or macro.

    Raises: StorageError: there is none of that name.
    """
    known = {relation.name: relation for relation in list_relations()}
    # As in SQL, the case does not matter; `frontier('latest')` is copied from a query.
    asked = name.partition("(")[0].strip().lower()
    if asked not in known:
        raise StorageError(
            f"there is no table, view or macro {name!r}{nearest(asked, known)}; "
            "`gfjobs schema` lists all"
        )
    with tempfile.TemporaryDirectory() as folder:
        found = query(Path(folder), f"DESCRIBE FROM {bound_relation(asked)}")
    columns = tuple(
        RelationColumn(column, kind, unit_of(column, kind), meaning_of(asked, column))
        for column, kind in zip(
            found["column_name"].to_pylist(), found["column_type"].to_pylist(), strict=True
        )
    )
    parameters = tuple(
        RelationParameter(argument, default, str(_descriptions()["parameters"][argument]))
        for argument, default in _arguments(asked)
    )
    return RelationDetails(known[asked], parameters, columns)


def described_columns() -> dict[str, str]:
    """Return the names of all columns, each with one of its meanings."""
    parts = _descriptions()["relations"].values()
    own = {name: text for part in parts for name, text in part.get("columns", {}).items()}
    return own | dict(_descriptions()["columns"])


def unit_of(column: str, kind: str) -> str:
    """Return the unit of a column; empty if it has none, or is not a number.

    Args:
        column: its name.
        kind: its type, as DuckDB names it.
    """
    if not _NUMBERS.fullmatch(kind):
        return ""
    units = _descriptions()["units"]
    return str(units.get(column) or _UNITS.get(column.rpartition("_")[2], ""))


def meaning_of(relation: str, column: str) -> str:
    """Return what a column of a table, view or macro means; empty if the file does not say."""
    own = _described(relation).get("columns", {})
    return str(own.get(column) or _descriptions()["columns"].get(column, ""))


@functools.cache
def _descriptions() -> dict[str, Any]:
    import yaml

    text = (resources.files("storage.results") / "descriptions.yaml").read_text(encoding="utf-8")
    loader = getattr(
        yaml, "CSafeLoader", yaml.SafeLoader
    )  # in C where it is there: ten times as fast
    found: dict[str, Any] = loader(text).get_single_data()
    return found


def _described(name: str) -> dict[str, Any]:
    found: dict[str, Any] = _descriptions()["relations"][name]
    return found


def _arguments(name: str) -> list[tuple[str, str | None]]:
    """Return the arguments of a macro, each with its default."""
    parts = [argument.partition(" := ") for argument in MACROS.get(name, ())]
    return [(argument, default or None) for argument, _, default in parts]


def _call(name: str) -> str:
    return f"{name}({', '.join(MACROS[name])})" if name in MACROS else name


def bound_relation(name: str) -> str:
    """Return the SQL source of a relation, a macro with some value for each argument."""
    values = [_BOUND_WITH[argument] for argument, default in _arguments(name) if default is None]
    return f"{name}({', '.join(values)})" if name in MACROS else name
