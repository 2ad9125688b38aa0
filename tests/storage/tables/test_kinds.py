"""The kinds of cells: what the records say, held against tables and SQL that stand elsewhere."""

from __future__ import annotations

import re
from typing import get_args

import pytest

import storage
from storage.sql.text import query_text
from storage.tables.kinds import TIMED
from storage.tables.schemas import DIGEST_TABLES, SORT_KEYS, TABLES


def test_every_kind_has_a_record_and_a_table() -> None:
    """By the name that `cells.kind` may have."""
    assert tuple(storage.KINDS) == get_args(storage.CellKind)
    assert {kind.table for kind in storage.KINDS.values()} <= TABLES.keys()


def test_tables_by_exit_have_the_exit_in_their_key() -> None:
    """And those of images have the image; those of batches and requests their number."""
    for kind in storage.KINDS.values():
        assert ("image_id" in SORT_KEYS[kind.table]) is kind.has_image_rows
        assert ("exit_block" in SORT_KEYS[kind.table]) is kind.is_by_exit
        assert (kind.table in DIGEST_TABLES) is kind.has_image_rows
        assert kind.number_column in (None, SORT_KEYS[kind.table][-1])


def test_the_kinds_that_sql_calls_timed() -> None:
    """A query has no record to read: its list is held equal here."""
    (listed,) = re.findall(r"c\.kind IN \(([^)]*)\)", query_text("invalid_cells"))
    assert tuple(re.findall(r"'(\w+)'", listed)) == TIMED


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        ("exits", 4),
        ("latency", 1),
        ("exit_costs", 4),
        ("profile", 1),
        ("throughput", 1),
        ("serving", 1),
    ],
)
def test_rows_of_an_image(kind: str, rows: int) -> None:
    """Of a model with three gates; of a kind that is not known yet, as many as there may be."""
    assert storage.rows_per_image(kind, 3) == rows
    assert storage.rows_per_image("later", 3) == 4
