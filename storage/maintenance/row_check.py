"""Checks that the rows of a run are unique, and agree with its commits and its cells."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.tables.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import duckdb

    from storage.tables.records import CellRow

_OF_IMAGES = {kind.table: kind for kind in KINDS.values() if kind.has_image_rows}
"""The kind of cell whose rows of images are in a table."""

# SQL of a number that is unique among the rows of one cell and round.
_NUMBERS = {
    table: "image_id * 65536 + exit_block" if kind.is_by_exit else "image_id"
    for table, kind in _OF_IMAGES.items()
}
_NUMBERS |= {kind.table: column for kind in KINDS.values() if (column := kind.number_column)}
_NUMBERS["commits"] = "shard"

_Key = tuple[str, int]
"""cell_id and round."""


@dataclass(frozen=True)
class _Count:
    """Number of rows of a cell and round, of distinct rows, and of images."""

    rows: int
    distinct: int
    images: int


class RowCheck:
    """Counts and checks the rows of a run.

    Args:
        connection: has the tables of the run as views.
        cells: those of the run.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, cells: Sequence[CellRow]) -> None:
        self._connection = connection
        self._kinds = {cell.cell_id: cell.kind for cell in cells}
        self._counts = {table: self._counted(table) for table in _NUMBERS}
        found = connection.sql(
            "SELECT cell_id, round, coalesce(sum(rows), 0)::BIGINT FROM commits GROUP BY ALL"
        ).fetchall()
        self._committed = {(cell_id, number): images for cell_id, number, images in found}

    def foreign(self, run_id: str) -> dict[str, str]:
        """Return the tables that have rows of another run, with a message that names it."""
        found = {}
        for table in _NUMBERS:
            others = self._connection.sql(
                f"SELECT DISTINCT run_id FROM {table} WHERE run_id IS DISTINCT FROM $run_id",
                params={"run_id": run_id},
            ).fetchall()
            if others:
                found[f"table {table}"] = f"has rows of run {others[0][0]}"
        return found

    def untrusted(self) -> dict[str, str]:
        """Return the cells with duplicate rows, or with more or fewer images than committed."""
        found = {}
        for table, counts in self._counts.items():
            for (cell_id, number), count in counts.items():
                if count.rows != count.distinct:
                    found[cell_id] = (
                        f"{count.rows - count.distinct:,} of {count.rows:,} rows of {table}, "
                        f"round {number}, are duplicates"
                    )
        for table, kind in _OF_IMAGES.items():
            for cell_id, number in sorted(self._keys(table, kind.name)):
                seen = self._counts[table].get((cell_id, number), _Count(0, 0, 0)).images
                expected = self._expected(table, cell_id, number)
                if seen != expected:
                    found.setdefault(
                        cell_id,
                        f"{table} has {seen:,} images of round {number}, but {expected:,} are "
                        "committed",
                    )
        return found

    def rows(self) -> Mapping[str, int]:
        """Return the rows of each cell as `cells.rows` has them: images, if none are of images."""
        rows: Counter[str] = Counter()
        for table in _OF_IMAGES:
            for (cell_id, _), count in self._counts[table].items():
                rows[cell_id] += count.rows
        for (cell_id, _), images in self._committed.items():
            if self._is_counted_by_commits(cell_id):
                rows[cell_id] += images
        return rows

    def _is_counted_by_commits(self, cell_id: str) -> bool:
        kind = KINDS.get(self._kinds.get(cell_id) or "")
        return kind is not None and not kind.has_image_rows

    def _keys(self, table: str, kind: str) -> set[_Key]:
        """Return each cell and round that has rows in a table, or should have some."""
        committed = {key for key in self._committed if self._kinds.get(key[0]) == kind}
        return committed | self._counts[table].keys()

    def _expected(self, table: str, cell_id: str, number: int) -> int:
        """Return how many images are committed for rows in a table."""
        is_there = self._kinds.get(cell_id) in (
            _OF_IMAGES[table].name,
            None,
        )  # of an unknown kind, any
        return self._committed.get((cell_id, number), 0) if is_there else 0

    def _counted(self, table: str) -> dict[_Key, _Count]:
        kind = _OF_IMAGES.get(table)
        number = "0" if kind and not kind.is_timed else "round"  # an all-exit pass has one round
        image = "image_id" if kind else _NUMBERS[table]
        rows = self._connection.sql(
            f"SELECT cell_id, {number}, count(*), count(DISTINCT {_NUMBERS[table]}), "
            f"count(DISTINCT {image}) FROM {table} GROUP BY ALL"
        ).fetchall()
        return {(cell_id, round_): _Count(*counts) for cell_id, round_, *counts in rows}
