"""The tables, views and macros of `gfjobs sql` for the terminal: a list, or all of one."""

from __future__ import annotations

import re
import shutil
import sys
from itertools import groupby
from typing import Any

import storage
from jobs.common.text import WIDTH, fold


def list_of_relations() -> str:
    """Formats one line for each table, view and macro, by kind."""
    parts = []
    for kind, group in groupby(storage.list_relations(), lambda each: each.kind):
        rows = {_short_call(each): each.row for each in group}
        column = max(map(len, rows)) + 2
        lines = [_entry(call, row, column) for call, row in rows.items()]
        parts.append(f"{kind}s: one row is\n\n{''.join(lines)}")
    return "\n".join([*parts, "gfjobs schema NAME shows the columns of one\n"])


def relation_page(name: str) -> str:
    """Formats what a table, view or macro holds: its arguments and columns.

    Raises: StorageError: there is none of that name.
    """
    relation, parameters, columns = storage.describe_relation(name)
    text = fold(f"{relation.kind} {relation.call}: {relation.row}", _width()) + "\n"
    if parameters:
        lines = [
            _entry(
                each.name,
                each.meaning + (f" (default: {each.default})" if each.default else ""),
                16,
            )
            for each in parameters
        ]
        text += f"\narguments\n\n{''.join(lines)}"
    wide = max(len(column.name) for column in columns) + 1
    kinds = max(len(_kind(column.type, column.unit)) for column in columns) + 2
    lines = [
        _entry(
            f"{column.name:{wide}} {_kind(column.type, column.unit)}",
            column.meaning,
            wide + kinds + 2,
        )
        for column in columns
    ]
    return f"{text}\ncolumns\n\n{''.join(lines)}"


def relations_as_json(name: str | None) -> list[dict[str, Any]] | dict[str, Any]:
    """Return the same as JSON values; all of the list with their one line if there is no name.

    Raises: StorageError: there is none of that name.
    """
    if name is None:
        return [each._asdict() for each in storage.list_relations()]
    relation, parameters, columns = storage.describe_relation(name)
    return {
        **relation._asdict(),
        "parameters": [each._asdict() for each in parameters],
        "columns": [{**each._asdict(), "unit": each.unit or None} for each in columns],
    }


def _short_call(relation: storage.Relation) -> str:
    """Return a name with the arguments that must be given."""
    return re.sub(r"(, )?\w+ := \w+", "", relation.call)


def _width() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH


def _kind(kind: str, unit: str) -> str:
    return f"{kind}, {unit}" if unit else kind


def _entry(term: str, text: str, column: int) -> str:
    """Format a term and what it means, which begins at a column, on the next line if it must."""
    indent = " " * (column + 1)
    if len(term) >= column:
        return f" {term}\n{fold(text, _width(), start=indent, indent=indent)}\n"
    return fold(text, _width(), start=f" {term:{column}}", indent=indent) + "\n"
