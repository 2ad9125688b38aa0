"""The reference page of tables, views and macros: rows, arguments, columns, units, meanings."""

from __future__ import annotations

import itertools

from markdown_text import code, escape, table

from storage.results.descriptions import RelationDetails, describe_relation, list_relations
from storage.sql.text import query_text

_INTRODUCTION = """\
# Tables, views and macros

Made from the results database: what `gfjobs sql`, `gfjobs schema` and `storage.connect` show. What
they are for, with examples: [Results and SQL](../results.md).

"""
_SECTIONS = {
    "table": "## Tables\n\n",
    "view": "## Views\n\nQueries over the tables, without arguments.\n\n",
    "macro": "## Macros\n\nQueries with arguments; those with a value are optional.\n\n",
}


def write_page() -> str:
    """Return the page: every table, view and macro with its columns."""
    parts = [_INTRODUCTION]
    for kind, heading in _SECTIONS.items():
        parts.append(heading)
        parts += [
            _section(describe_relation(relation.name))
            for relation in list_relations()
            if relation.kind == kind
        ]
    return "".join(parts)


def _section(details: RelationDetails) -> str:
    relation = details.relation
    parts = [f"### `{relation.call}`\n\nOne row: {escape(relation.row)}.\n\n"]
    if relation.kind != "table":
        parts.append(_comment(relation.name))
    if details.parameters:
        rows = ((code(each.name), escape(each.meaning)) for each in details.parameters)
        parts.append(table(("argument", "meaning"), rows) + "\n")
    columns = (
        (code(each.name), code(each.type), escape(each.unit), escape(each.meaning))
        for each in details.columns
    )
    parts.append(table(("column", "type", "unit", "meaning"), columns) + "\n")
    return "".join(parts)


def _comment(name: str) -> str:
    """Return the comment that opens a query: paragraphs, and a list of lines that begin with *."""
    lines = itertools.takewhile(lambda line: line.startswith("--"), query_text(name).splitlines())
    blocks: list[list[str]] = [[]]
    for line in (line.removeprefix("--").strip() for line in lines):
        if not line or line.startswith("* "):
            blocks.append([])
        if line:
            blocks[-1].append(line)
    return "".join(_block(" ".join(block)) for block in blocks if block)


def _block(text: str) -> str:
    if text.startswith("* "):
        return f"* {escape(text.removeprefix('* '))}\n\n"
    return f"{escape(text)}\n\n"
