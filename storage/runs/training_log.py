"""Reads and writes the epochs of trainings: one file per training, replaced whole each epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from storage.errors import StorageError
from storage.runs.layout import check_root, reading, training_path, unwritable
from storage.tables.parquet import publish_table, read_table
from storage.tables.records import TrainingRow, rows_to_table, table_to_rows
from storage.tables.schemas import TABLES
from storage.tables.validation import check_column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from storage.backends import Root


class TrainingLog:
    """The finished epochs of one training.

    Args:
        root: the results root.
        training_id: names the file.

    Raises:
        RootNotWritableError: the root is not writable.
        StorageError: the training_id is not allowed.
    """

    def __init__(self, root: Root, training_id: str) -> None:
        self._root, self._training_id = check_root(root), training_id
        self._path = training_path(self._root, training_id)

    def read(self) -> list[TrainingRow]:
        """Read all its epochs, in their order; empty if nothing was written.

        Raises:
            StorageError: the file is damaged, of another table, or cannot be read.
            SchemaVersionError: a newer version wrote it.
        """
        with reading(self._root):
            try:
                table = read_table(self._path)
            except FileNotFoundError:
                return []
        if not table.schema.equals(TABLES["training"]):
            raise StorageError(
                f"{self._path} is not a file of the table `training`, so something else wrote it; "
                "move it away or delete it"
            )
        return list(table_to_rows(TrainingRow, table))

    def write(self, rows: Sequence[TrainingRow]) -> None:
        """Replace the file by these epochs, in one step.

        Raises:
            StorageError: a row is of another training, or does not fit its column.
            RootNotWritableError: the file system refuses; the file is unchanged.
        """
        table = rows_to_table(TrainingRow, rows)
        check_column(table, "training_id", self._training_id)
        try:
            (self._root / "training").make_folder()
            publish_table(self._path, table)
        except OSError as err:
            raise unwritable(self._root, err) from err
