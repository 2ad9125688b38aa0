"""The rows of trainings: one file each, replaced whole with every epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from storage.files import publish_table, read_table
from storage.layout import check_root, training_path, unwritable
from storage.rows import TrainingRow, rows_to_table, table_to_rows

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence


class TrainingLog:
    """What one training left so far.

    Args:
        root: the results root.
        training_id: names the file.

    Raises:
        RootNotWritableError: nothing can be written there.
        StorageError: the training_id is not allowed.
    """

    def __init__(self, root: str | os.PathLike[str], training_id: str) -> None:
        self._root = check_root(root)
        self._path = training_path(self._root, training_id)

    def read(self) -> list[TrainingRow]:
        """All its epochs, in their order; none if nothing was written.

        Raises:
            StorageError: the file is damaged.
            SchemaVersionError: a newer version wrote it.
        """
        try:
            return list(table_to_rows(TrainingRow, read_table(self._path)))
        except FileNotFoundError:
            return []

    def write(self, rows: Sequence[TrainingRow]) -> None:
        """Replace what was written by these epochs, in one step.

        Raises:
            RootNotWritableError: the file system refuses; what was written before still stands.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            publish_table(self._path, rows_to_table(TrainingRow, rows))
        except OSError as err:
            raise unwritable(self._root, err) from err
