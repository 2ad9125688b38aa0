"""The table `training`: a file a training, replaced whole."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from pathlib import Path

import pytest

import storage
from storage.backends.local import LocalBackend
from storage.tables.parquet import publish_table

ROW = storage.TrainingRow(
    training_id="base-1",
    recipe="base",
    stage="exits",
    model="base",
    dataset="digits",
    dataset_sha256="ab",
    phase="heads",
    epoch=1,
    epochs=3,
    loss=1.5,
    validation_acc1=75.0,
    validation_loss=0.25,
    validation_blocks=None,
    is_best=True,
    learning_rate=0.001,
    images_per_s=100.0,
    device="cpu",
    node="host",
    precision="float32",
    threads=2,
    seed=0,
    started_at=datetime(2026, 1, 2, 3, 4, 5),  # noqa: DTZ001 - naive UTC, as in all tables
    finished_at=datetime(2026, 1, 2, 3, 4, 6),  # noqa: DTZ001
)


def _epochs(count: int) -> list[storage.TrainingRow]:
    return [dataclasses.replace(ROW, epoch=epoch) for epoch in range(1, count + 1)]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """By the log and by SQL; the folder of results is made."""
    root = tmp_path / "new"
    log = storage.TrainingLog(root, "base-1")
    assert log.read() == []
    log.write(_epochs(2))
    assert storage.TrainingLog(root, "base-1").read() == _epochs(2)
    rows = storage.query(root, "FROM training ORDER BY epoch").to_pylist()
    assert rows == [dataclasses.asdict(row) for row in _epochs(2)]


def test_a_training_replaces_its_own_rows_alone(tmp_path: Path) -> None:
    """Another one's stand; each epoch is there once."""
    storage.TrainingLog(tmp_path, "other").write([dataclasses.replace(ROW, training_id="other")])
    for count in (1, 2, 3, 2):
        storage.TrainingLog(tmp_path, "base-1").write(_epochs(count))
    sql = "SELECT training_id, count(*) AS n FROM training GROUP BY ALL ORDER BY ALL"
    assert storage.query(tmp_path, sql).to_pylist() == [
        {"training_id": "base-1", "n": 2},
        {"training_id": "other", "n": 1},
    ]


def test_trainings_are_no_runs(tmp_path: Path) -> None:
    """A root with a training alone has no runs, and a question about a run shows trainings too."""
    storage.TrainingLog(tmp_path, "base-1").write(_epochs(1))
    assert storage.list_runs(tmp_path) == ()
    assert storage.query(tmp_path, "FROM training", run_ids=["r"]).num_rows == 1


def test_a_half_written_file_is_not_seen(tmp_path: Path) -> None:
    """Names that start with a dot are nobody's."""
    storage.TrainingLog(tmp_path, "base-1").write(_epochs(1))
    (tmp_path / "training" / ".tmp-1.parquet").write_bytes(b"PAR1")
    assert storage.query(tmp_path, "FROM training").num_rows == 1


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """As that of any table is: nothing is left out silently."""
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "base-1.parquet").write_bytes(b"torn")
    with pytest.raises(storage.StorageError, match=r"base-1\.parquet is damaged .* delete it"):
        storage.query(tmp_path, "FROM training")
    with pytest.raises(storage.StorageError, match="is damaged"):
        storage.TrainingLog(tmp_path, "base-1").read()


@pytest.mark.parametrize("name", ["", "../x", ".x", "a/b"])
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    """Before anything is written."""
    with pytest.raises(storage.StorageError, match="training_id"):
        storage.TrainingLog(tmp_path, name)


def test_a_write_that_fails_keeps_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full at the worst moment."""
    log = storage.TrainingLog(tmp_path, "base-1")
    log.write(_epochs(1))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(storage.RootNotWritableError, match="No space left"):
        log.write(_epochs(2))
    assert log.read() == _epochs(1)
    assert len(list((tmp_path / "training").iterdir())) == 1


def test_rows_of_another_training_are_refused(tmp_path: Path) -> None:
    """They would stand twice in the table once the other one writes its own."""
    log = storage.TrainingLog(tmp_path, "base-1")
    log.write(_epochs(1))
    with pytest.raises(storage.StorageError, match="base-1 carry the training_id 'other'"):
        log.write([*_epochs(1), dataclasses.replace(ROW, training_id="other", epoch=2)])
    assert log.read() == _epochs(1)


def test_a_value_of_another_type_is_refused_before_anything(tmp_path: Path) -> None:
    """Not even the folder is made."""
    wrong = dataclasses.replace(ROW, epoch=1.5)
    with pytest.raises(storage.StorageError, match="column epoch of table training takes int32"):
        storage.TrainingLog(tmp_path, "base-1").write([wrong])
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_table_is_refused(tmp_path: Path) -> None:
    """Resuming from it would lose the epochs silently, or fail oddly."""
    (tmp_path / "training").mkdir()
    nodes = storage.rows_to_table(storage.NodeRow, [storage.NodeRow("run-1", "node-a")])
    publish_table(LocalBackend(tmp_path / "training" / "base-1.parquet"), nodes)
    with pytest.raises(storage.StorageError, match=r"base-1\.parquet is not a file of the table"):
        storage.TrainingLog(tmp_path, "base-1").read()


def test_a_folder_that_cannot_be_used_is_an_error_of_ours(tmp_path: Path) -> None:
    """A file in its place is refused to all users, root among them."""
    log = storage.TrainingLog(tmp_path, "base-1")
    (tmp_path / "training").write_text("a file where a folder belongs")
    with pytest.raises(storage.StorageError, match="cannot be read"):
        log.read()
    with pytest.raises(storage.RootNotWritableError, match="cannot be written"):
        log.write(_epochs(1))
    for root in (Path("/proc/results"), tmp_path / "training" / "deep"):
        with pytest.raises(storage.RootNotWritableError, match=r"cannot be written.*--results"):
            storage.TrainingLog(root, "base-1")
