"""Shuffled images from Parquet: what a shard reads, and copies that are damaged or cannot be."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest

import storage
from storage.images import cache, copies, parquet
from storage.images.cache import Unpublished, drop_oldest
from storage.images.parquet import ParquetSource

if TYPE_CHECKING:
    from collections.abc import Iterable

ROWS, SHARD = 1000, 40  # of a row group, as storage.write_images has it; of a shard


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder of each test's own, and no file is too small for it."""
    monkeypatch.setenv("GFJOBS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(parquet, "SMALL_BYTES", 0)


def content(row: int) -> bytes:
    """Bytes of an image, all different, of different lengths."""
    return f"image {row} ".encode() * (1 + row % 7)


def written(path: Path, count: int) -> Path:
    """A data set in row groups of ROWS."""
    images = (storage.EncodedImage(content(row), f"{row}.png", row % 2) for row in range(count))
    storage.write_images(path, images, ["ant", "bee"])
    return path


class Opened(NamedTuple):
    """A data set, and what reads it."""

    images: storage.ImageSet
    source: ParquetSource

    def read(self, ids: Iterable[int]) -> tuple[list[bytes], int]:
        """Images, and how many bytes were read for them."""
        before = self.source.read_bytes
        images = self.images.read(list(ids))["image"].to_pylist()
        return images, self.source.read_bytes - before


def opened(path: Path, *, is_shuffled: bool = True) -> Opened:
    """Open a file."""
    images = storage.open_images(f"parquet:{path}", is_shuffled=is_shuffled)
    assert isinstance(images.source, ParquetSource)
    return Opened(images, images.source)


def shards(count: int) -> list[list[int]]:
    """The fixed shuffle, in parts."""
    order = np.random.default_rng(0).permutation(count).tolist()
    return [order[start : start + SHARD] for start in range(0, count, SHARD)]


def copy_of(one: Opened) -> Path:
    """Where the copy of a data set lies."""
    return Path(os.environ["GFJOBS_CACHE"]) / "images" / one.images.sha256


@pytest.mark.parametrize("count", [2 * ROWS, 8 * ROWS])
def test_a_shard_reads_its_own_images_whatever_the_size(tmp_path: Path, count: int) -> None:
    """Not one byte of another image, and the file itself is read once, when it is opened."""
    one = opened(written(tmp_path / "a.parquet", count))
    assert one.source.read_bytes < sum(len(content(row)) for row in range(count)) + 8 * count
    for ids in shards(count)[:10]:
        images, read_bytes = one.read(ids)
        assert images == [content(row) for row in ids]
        assert read_bytes == sum(map(len, images))


def test_a_copy_is_made_once_for_all_processes(tmp_path: Path) -> None:
    """A second opening of the same images, in another file, reads from the copy of the first."""
    first = opened(written(tmp_path / "a.parquet", 2 * ROWS))
    when_ns = copy_of(first).stat().st_ino
    second = opened(written(tmp_path / "b.parquet", 2 * ROWS), is_shuffled=False)
    ids = shards(2 * ROWS)[3]
    assert second.read(ids) == first.read(ids)
    assert copy_of(second).stat().st_ino == when_ns
    assert copy_of(first).stat().st_mode & 0o777 == 0o600, "images may be private"


def test_a_copy_is_made_when_it_would_have_paid(tmp_path: Path) -> None:
    """Opened without one: a first shard unpacks the file, the second one ends that."""
    count = 4 * ROWS
    one = opened(written(tmp_path / "a.parquet", count), is_shuffled=False)
    size = sum(len(content(row)) for row in range(count))
    read = [one.read(ids) for ids in shards(count)[:4]]
    assert [images for images, _ in read] == [
        [content(row) for row in ids] for ids in shards(count)[:4]
    ]
    assert read[0][1] >= size
    assert read[3][1] == sum(map(len, read[3][0]))
    assert copy_of(one).exists()


def test_reading_in_order_or_little_makes_no_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training reads each row group once; nor is a small file copied."""
    one = opened(written(tmp_path / "a.parquet", 3 * ROWS), is_shuffled=False)
    for _ in range(3):
        assert one.read(range(3 * ROWS))[0] == [content(row) for row in range(3 * ROWS)]
    assert not copy_of(one).exists()
    monkeypatch.setattr(parquet, "SMALL_BYTES", 10**9)
    small = opened(written(tmp_path / "b.parquet", 2 * ROWS))
    for ids in shards(2 * ROWS)[:5]:
        assert small.read(ids)[0] == [content(row) for row in ids]
    assert not copy_of(small).exists()


def test_images_that_are_missing_or_empty_stay_so(tmp_path: Path) -> None:
    """NULL and no bytes are different content in a copy, too; no images at all are none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = [None, b"", b"abc", None, b"d"]
    rows = [{"bytes": image, "path": None} for image in found]
    schema = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(rows, schema), "label": [0] * 5})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    for is_shuffled in (False, True):
        one = opened(tmp_path / "a.parquet", is_shuffled=is_shuffled)
        assert one.read([4, 0, 1, 2, 3, 0])[0] == [b"d", None, b"", b"abc", None, None]
        assert one.read([])[0] == []


@pytest.mark.parametrize("at", [3, -20, -100], ids=["image", "footer", "index"])
def test_a_damaged_copy_is_never_believed(tmp_path: Path, at: int) -> None:
    """A turned bit in an image, the footer or the index: the file is read, and the copy goes."""
    count = 2 * ROWS
    path = written(tmp_path / "a.parquet", count)
    copy = copy_of(opened(path))
    data = bytearray(copy.read_bytes())
    data[at] ^= 1
    copy.write_bytes(data)
    one = opened(path, is_shuffled=False)
    everything = one.read(range(count))[0]
    assert everything == [content(row) for row in range(count)]
    assert not copy.exists()


def test_a_copy_that_was_cut_short_is_removed(tmp_path: Path) -> None:
    """As a crash of the machine may leave one, since it is not flushed."""
    path = written(tmp_path / "a.parquet", ROWS)
    copy = copy_of(opened(path))
    whole = copy.read_bytes()
    for size in (0, 10, len(whole) - 1):
        copy.write_bytes(whole[:size])
        assert copies.find_copy(copy.name) is None
        assert not copy.exists()


def test_a_copy_that_goes_while_it_is_used_is_missed_by_nobody(tmp_path: Path) -> None:
    """The cache may be deleted at any time."""
    one = opened(written(tmp_path / "a.parquet", 2 * ROWS))
    ids = shards(2 * ROWS)[0]
    expected = one.read(ids)[0]
    shutil.rmtree(os.environ["GFJOBS_CACHE"])
    assert one.read(ids)[0] == expected


def test_without_room_images_come_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is slow, which is said once, with what to do; nothing is left behind."""
    monkeypatch.setattr(copies, "FREE_SHARE", 0.0)
    one = opened(written(tmp_path / "a.parquet", 2 * ROWS))
    for ids in shards(2 * ROWS)[:5]:
        assert one.read(ids)[0] == [content(row) for row in ids]
    (record,) = caplog.records
    assert "a.parquet is read slowly" in record.getMessage()
    assert "set GFJOBS_CACHE to another folder" in record.getMessage()
    assert list(copy_of(one).parent.iterdir()) == []


def test_what_unpacks_to_more_than_it_claims_fills_no_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One image a thousand times has few bytes in Parquet; the copy ends where its room does."""
    images = (storage.EncodedImage(b"x" * 100, f"{row}", 0) for row in range(ROWS))
    storage.write_images(tmp_path / "a.parquet", images, ["ant"])

    class Usage(NamedTuple):
        free: int = 100_000  # of which a half is given: 500 images

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage())
    one = opened(tmp_path / "a.parquet")
    assert list(copy_of(one).parent.iterdir()) == []
    assert one.read([999, 0])[0] == [b"x" * 100] * 2


@pytest.mark.parametrize("place", ["/dev/null", "/proc/gfjobs"])
def test_a_cache_that_cannot_be_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Whatever $GFJOBS_CACHE says."""
    monkeypatch.setenv("GFJOBS_CACHE", place)
    one = opened(written(tmp_path / "a.parquet", ROWS))
    for ids in shards(ROWS)[:3]:
        assert one.read(ids)[0] == [content(row) for row in ids]


def test_a_file_that_changed_is_not_copied_under_its_old_digest(tmp_path: Path) -> None:
    """Else every later run would take the new images for the old ones."""
    path = written(tmp_path / "a.parquet", 2 * ROWS)
    one = opened(path, is_shuffled=False)
    images = (storage.EncodedImage(b"other", f"{row}", row % 2) for row in range(2 * ROWS))
    storage.write_images(path, images, ["ant", "bee"])
    one.read(shards(2 * ROWS)[0])
    with pytest.raises(storage.DatasetError, match=r"a\.parquet has changed since it was opened"):
        one.read(shards(2 * ROWS)[1])
    assert not copy_of(one).exists()


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    """Without a copy it cannot go on; the error is of the data set."""
    one = opened(written(tmp_path / "a.parquet", ROWS), is_shuffled=False)
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(storage.DatasetError, match=r"a\.parquet cannot be read"):
        one.read([1])


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    """Beyond the bytes or the number of files; the newest stays however large it is."""
    names = [f"{age:064}" for age in range(5)]
    for age, name in enumerate(names):
        (tmp_path / name).write_bytes(b"x" * 10)
        os.utime(tmp_path / name, (100 - age, 100 - age))
    others = [tmp_path / "photo.jpg", tmp_path / ("0" * 63)]
    for other in others:
        other.write_bytes(b"x" * 100)
        os.utime(other, (1, 1))
    for most_bytes, most_files, left in ((45, 9, 4), (45, 2, 2), (1, 2, 1)):
        drop_oldest(tmp_path, most_bytes=most_bytes, most_files=most_files)
        left_names = sorted(file.name for file in tmp_path.iterdir() if file not in others)
        assert left_names == names[:left]
    assert all(other.exists() for other in others)


def test_what_a_killed_process_left_is_told_from_what_is_being_written(tmp_path: Path) -> None:
    """By its lock, which ends with the process."""
    (tmp_path / ".tmp-abandoned").write_bytes(b"x")
    with Unpublished(tmp_path) as unpublished:
        drop_oldest(tmp_path, most_bytes=1, most_files=1)
        (being_written,) = tmp_path.iterdir()
        unpublished.file.write(b"whole")
        unpublished.publish("name")
        assert not being_written.exists()
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("name", b"whole")]
    with Unpublished(tmp_path):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["name"]


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """$GFJOBS_CACHE, else below $XDG_CACHE_HOME, else below ~/.cache, as for exported graphs."""
    monkeypatch.setenv("GFJOBS_CACHE", "/c")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache.cache_subfolder("images") == Path("/c/images")
    monkeypatch.delenv("GFJOBS_CACHE")
    assert cache.cache_subfolder("images") == Path("/x/gfjobs/images")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/lab")
    assert cache.cache_subfolder("images") == Path("/home/lab/.cache/gfjobs/images")
