"""Completion of the SQL prompt: the tables, columns and words that may stand at the cursor."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import NamedTuple

import storage

WORDS = (
    *("select", "from", "where", "group by", "order by", "having", "limit", "join", "left join"),
    *("using", "on", "and", "or", "not", "in", "is null", "is not null", "between", "like", "as"),
    *("case", "when", "then", "else", "end", "distinct", "exclude", "describe", "with", "qualify"),
    *("union all", "asc", "desc", "nulls last", "filter", "over", "partition by", "count", "avg"),
    *("min", "max", "sum", "median", "quantile_cont", "stddev", "round", "arg_max", "arg_min"),
)
"""Of SQL, those that queries over results use."""

_OF_TABLES = re.compile(
    r"\b(?:from|join|describe|summarize)\s+(?:from\s+)?$|^\s*\.schema\s+$", re.IGNORECASE
)
_AFTER_DOT = re.compile(r"(\w+)\.$")


class Candidate(NamedTuple):
    """A text that may stand at the cursor, and what it is."""

    text: str
    meaning: str


def candidates(before: str, after: str = "") -> list[Candidate]:
    """Return what may stand at the cursor and begins as the word before it does.

    Args:
        before: the text before the cursor.
        after: the text behind it, in which tables may be named.
    """
    begun = _begun(before)
    rest = before[: len(before) - len(begun)]
    is_in_text = rest.count("'") % 2 or rest.count('"') % 2
    if is_in_text:
        return []
    found = _possible(rest, f"{rest} {after}")
    return [each for each in found if each.text.lower().startswith(begun.lower())]


def _begun(before: str) -> str:
    """Return the word that ends at the cursor; it may be empty."""
    (word,) = re.findall(r"(?<!\w)\w*$", before)
    return str(word)


def _possible(rest: str, text: str) -> list[Candidate]:
    relations = _relations()
    if dotted := _AFTER_DOT.search(rest):
        owner = dict(_aliases(text)).get(dotted[1].lower(), dotted[1].lower())
        return _of_columns([owner] if owner in relations else [])
    tables = [Candidate(call, row) for call, row in relations.values()]
    if _OF_TABLES.search(rest):
        return tables
    words = dict.fromkeys(re.findall(r"\w+", text.lower()))
    if named := [word for word in words if word in relations]:
        columns = _of_columns(named)
    else:
        columns = [Candidate(*each) for each in storage.described_columns().items()]
    return [*columns, *tables, *(Candidate(word, "") for word in WORDS)]


def _aliases(text: str) -> list[tuple[str, str]]:
    """Return each alias with its table: `ladder l`, `records as r`, `trend('dynn') t`."""
    pattern = rf"\b({'|'.join(_relations())})(?:\s*\([^()]*\))?\s+(?:as\s+)?(\w+)"
    found = re.findall(pattern, text, re.IGNORECASE)
    return [(alias.lower(), name.lower()) for name, alias in found]


def _of_columns(names: Iterable[str]) -> list[Candidate]:
    """Return the columns of relations, each once."""
    found: dict[str, str] = {}
    for name in names:
        for column in storage.describe_relation(name).columns:
            found.setdefault(column.name, column.meaning)
    return [Candidate(*each) for each in found.items()]


@functools.cache
def _relations() -> dict[str, tuple[str, str]]:
    """Return each table, view and macro, as it is typed, and what its rows are."""
    return {
        each.name: (f"{each.name}(" if each.kind == "macro" else each.name, each.row)
        for each in storage.list_relations()
    }
