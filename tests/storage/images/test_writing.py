"""Files of images: whole or not there, in row groups, and read back as they were."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

import storage


def _write(file: Path) -> str:
    rows = (storage.EncodedImage(bytes([row % 256]), f"{row}.png", row % 2) for row in range(2500))
    storage.write_images(file, rows, ["even", "odd"])
    return storage.open_images(f"parquet:{file}").sha256


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Bytes, paths, labels and class names, 1,000 images a row group."""
    file = tmp_path / "new" / "a.parquet"
    _write(file)
    images = storage.open_images(f"parquet:{file}")
    assert images.class_names == ("even", "odd")
    assert images.labels[:3].tolist() == [0, 1, 0]
    assert images.read([2499, 0])["image"].to_pylist() == [bytes([2499 % 256]), b"\0"]
    assert pq.ParquetFile(file).num_row_groups == 3


def test_the_same_content_has_the_same_digest(tmp_path: Path) -> None:
    """An older file is replaced, and nothing else is left."""
    digests = {_write(tmp_path / f"{name}.parquet") for name in ("a", "b", "a")}
    assert len(digests) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]


def test_images_that_break_off_leave_nothing(tmp_path: Path) -> None:
    """A reader that fails midway, or a disk that is full."""

    def broken() -> object:
        yield storage.EncodedImage(b"x", "a.png", 0)
        raise OSError(28, "No space left on device")

    with pytest.raises(storage.DatasetError, match=r"a\.parquet cannot be written: No space left"):
        storage.write_images(tmp_path / "a.parquet", broken(), ["only"])
    assert list(tmp_path.iterdir()) == []
