"""Remembered digests: what is read again, and what is not believed."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import storage
from storage.images import digests, parquet
from storage.images import folder as folders

IMAGES = [b"ant-0", b"ant-1", b"bee-0"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder of each test's own, in which small files of just now are remembered."""
    monkeypatch.setenv("GFJOBS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "MIN_BYTES", 0)
    monkeypatch.setattr(digests, "SETTLED_NS", -(10**9))


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Digests that were taken of content, not remembered, one after the other."""
    found: list[str] = []
    content_sha256 = parquet.content_sha256

    def counted(*arguments: object) -> str:
        found.append(content_sha256(*arguments))
        return found[-1]

    for module in (parquet, folders):
        monkeypatch.setattr(module, "content_sha256", counted)
    return found


def write(path: Path, images: list[bytes]) -> Path:
    """A file of images."""
    rows = (storage.EncodedImage(image, f"{row}.png", 0) for row, image in enumerate(images))
    storage.write_images(path, rows, ["ant"])
    return path


def write_folder(folder: Path) -> Path:
    """The images as a folder."""
    for place, image in zip(("ant/0.png", "ant/1.png", "bee/0.png"), IMAGES, strict=True):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(image)
    return folder


def change(path: Path, content: bytes) -> None:
    """Other bytes in place, of the same number, with the old time of change restored."""
    before = path.stat()
    assert len(content) == before.st_size
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # the clock of files ticks slowly
        path.write_bytes(content)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (
        before.st_size,
        before.st_mtime_ns,
        before.st_ino,
    )


def test_what_has_not_changed_is_not_read_again(tmp_path: Path, taken: list[str]) -> None:
    """A file and a folder, each read once for any number of plans."""
    names = [
        f"parquet:{write(tmp_path / 'a.parquet', IMAGES)}",
        f"imagefolder:{write_folder(tmp_path / 'folder')}",
    ]
    first = [storage.open_images(name).sha256 for name in names]
    assert first == taken
    assert [storage.open_images(name).sha256 for name in names] == first
    assert len(taken) == 2


def test_a_change_that_leaves_size_and_time_is_noticed(tmp_path: Path, taken: list[str]) -> None:
    """By the time at which the inode changed, which nobody sets."""
    path = write(tmp_path / "a.parquet", IMAGES)
    first = storage.open_images(f"parquet:{path}").sha256
    other = write(tmp_path / "b.parquet", [*IMAGES[:2], b"bee-1"])
    change(path, other.read_bytes())
    assert storage.open_images(f"parquet:{path}").sha256 != first
    folder = write_folder(tmp_path / "folder")
    before = storage.open_images(f"imagefolder:{folder}").sha256
    change(folder / "bee" / "0.png", b"bee-1")
    assert storage.open_images(f"imagefolder:{folder}").sha256 != before
    assert len(taken) == 4


def test_a_link_is_what_it_leads_to(tmp_path: Path, taken: list[str]) -> None:
    """Turned to another file, it is another data set; turned back, it is digested again."""
    one, other = write(tmp_path / "1.parquet", IMAGES), write(tmp_path / "2.parquet", IMAGES[:2])
    link = tmp_path / "a.parquet"
    found = []
    for target in (one, other, one):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        found.append(storage.open_images(f"parquet:{link}").sha256)
    assert found[0] == found[2] != found[1]
    assert found == taken


def test_files_and_classes_of_a_folder_count(tmp_path: Path, taken: list[str]) -> None:
    """One image more, one renamed, one less; and a class that another split brings."""
    folder = write_folder(tmp_path / "images" / "test").parent
    found = [storage.open_images(f"imagefolder:{folder}").sha256]

    def after(step: Callable[[], object]) -> None:
        step()
        found.append(storage.open_images(f"imagefolder:{folder}").sha256)

    after(lambda: (folder / "test/ant/2.png").write_bytes(b"ant-2"))
    after(lambda: (folder / "test/ant/2.png").rename(folder / "test/bee/2.png"))
    after(lambda: (folder / "train/cow").mkdir(parents=True))
    after((folder / "test/ant/0.png").unlink)
    assert len(set(found)) == 5
    assert found == taken


def test_what_changed_just_now_is_not_remembered(
    tmp_path: Path, taken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two seconds, or a time of change in the future: another change could look the same."""
    monkeypatch.setattr(digests, "SETTLED_NS", 2 * 10**9)
    path = write(tmp_path / "a.parquet", IMAGES)
    for _ in range(2):
        storage.open_images(f"parquet:{path}")
    assert len(taken) == 2
    now_ns = time.time_ns()
    for ahead_s, is_kept in ((1.9, False), (2.1, True), (-60.0, False)):
        monkeypatch.setattr(time, "time_ns", lambda at=now_ns + int(ahead_s * 1e9): at)
        state = digests.state_of_file(path)
        digests.keep_digest("test", path, state, f"{ahead_s}")
        assert state.is_settled == is_kept
    assert digests.known_digest("test", path, digests.state_of_file(path)) == "2.1"


def test_a_change_while_it_is_read_is_not_remembered(
    tmp_path: Path, taken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state from before must be the one from after."""
    path = write(tmp_path / "a.parquet", IMAGES)
    digest = parquet.ParquetSource.digest

    def interrupted(source: parquet.ParquetSource, *, is_copied: bool) -> str:
        found = digest(source, is_copied=is_copied)
        write(path, IMAGES[:2])
        return found

    with monkeypatch.context() as patch:
        patch.setattr(parquet.ParquetSource, "digest", interrupted)
        storage.open_images(f"parquet:{path}")
    assert len(storage.open_images(f"parquet:{path}")) == 2
    assert len(set(taken)) == 2


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"null", b"\xff", b'{"state": 1}', None])
def test_a_damaged_entry_is_ignored(tmp_path: Path, taken: list[str], damage: bytes | None) -> None:
    """Cut short, something else, or with a digest that is not the one that was written."""
    path = write(tmp_path / "a.parquet", IMAGES)
    first = storage.open_images(f"parquet:{path}").sha256
    (entry,) = (tmp_path / "cache" / "digests").iterdir()
    if damage is None:
        fields = json.loads(entry.read_bytes())
        damage = json.dumps(fields | {"digest": "0" * 64}).encode()
    entry.write_bytes(damage)
    assert storage.open_images(f"parquet:{path}").sha256 == first
    assert len(taken) == 2
    storage.open_images(f"parquet:{path}")
    assert len(taken) == 2, "it is written anew"


def test_the_cache_may_be_deleted_and_is_bounded(
    tmp_path: Path, taken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The least recently used go; what is small is never in it."""
    monkeypatch.setattr(digests, "MOST_DIGESTS", 3)
    for number in range(5):
        storage.open_images(f"parquet:{write(tmp_path / f'{number}.parquet', IMAGES[:1])}")
    assert len(list((tmp_path / "cache" / "digests").iterdir())) == 3
    shutil.rmtree(tmp_path / "cache")
    storage.open_images(f"parquet:{tmp_path / '0.parquet'}")
    assert len(taken) == 6
    shutil.rmtree(tmp_path / "cache")
    monkeypatch.setattr(digests, "MIN_BYTES", 10**6)
    storage.open_images(f"parquet:{tmp_path / '0.parquet'}")
    assert not (tmp_path / "cache").exists()
