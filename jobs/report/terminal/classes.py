"""The classes of a run for the terminal: which are answered worst, and what they are taken for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import storage
from jobs.common.formatting import (
    Row,
    find_varying,
    format_fixed,
    format_threshold,
    format_variant,
    name_lender,
)
from jobs.common.tables import fitting_table, take_first

LISTED_CELLS = 10
"""Cells of the ladder whose classes a terminal lists; each is a table."""

_DROPPABLE = ("blocks", "times")
_COLUMNS = ("class", "images", "acc@1", "blocks", "mostly mistaken for", "times")


def classes(root: storage.Root, run_id: str, *, is_all: bool = False) -> str:
    """Formats the classes of each cell of the ladder, the lowest accuracy first."""
    rows = storage.named_query(root, "class_rows", run_ids=[run_id], run_id=run_id).to_pylist()
    if not rows:
        return "no class has an answer yet\n"
    names = find_varying(rows)
    grouped = [list(group) for _, group in groupby(rows, key=lambda row: row["cell_id"])]
    listed, more = take_first(grouped, "cells", is_all=is_all, most=LISTED_CELLS)
    parts = [_table(cell, names, is_all=is_all) for cell in listed]
    said = f"{more}\n" if more else ""
    return "\n".join([*parts, f"{said}blocks: mean until an image of the class exits\n"])


def _table(rows: Sequence[Row], names: Sequence[str], *, is_all: bool) -> str:
    first = rows[0]
    setting = format_variant(first, names)
    place = f"{first['dataset']}{setting and f' ({setting})'}"
    threshold = format_threshold(first)
    at = "" if threshold == "–" else f" at {threshold}"
    title = f"{first['model']}{at} on {place}: classes{name_lender(first)}"
    cells = [tuple(_row(row)) for row in rows]
    return fitting_table(_COLUMNS, cells, "classes", title, droppable=_DROPPABLE, is_all=is_all)


def _row(row: Row) -> Iterator[object]:
    yield row["class_name"] or row["label"]
    yield row["images"]
    yield format_fixed(row["acc1"], 2)
    yield format_fixed(row["mean_blocks"], 2)
    if row["mistaken_for"] is None:
        yield from ("–", "–")
    else:
        yield row["mistaken_for_name"] or row["mistaken_for"]
        yield row["mistaken_images"]
