"""Image folders as people have them: a level too high, hidden folders, links, odd names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import storage
from storage.images.folder import FolderSource
from storage.images.image_set import ImageSet


def write(root: Path, *paths: str) -> None:
    """Files whose bytes are their paths; nothing here decodes them."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())


def opened(root: Path, path: str = "images", split: str = "test") -> ImageSet:
    """The data set `imagefolder:path`."""
    return storage.open_images(f"imagefolder:{path}", split, root)


@pytest.mark.parametrize(
    ("paths", "meant"),
    [
        (("flowers/rose/1.png", "flowers/tulip/2.png"), "images/flowers"),
        (("flowers/rose/a/1.png", "flowers/tulip/2.png"), "images/flowers"),
        (("x/y/flowers/rose/1.png", "x/y/flowers/tulip/2.png"), "images/x/y/flowers"),
        (("flowers/rose/1.png", "flowers/rose/2.png"), "images/flowers"),
        (("archive/train/rose/1.png", "archive/test/rose/2.png"), "images/archive"),
        (("archive/test/rose/1.png", "archive/test/tulip/2.png"), "images/archive/test"),
    ],
)
def test_a_level_too_high(tmp_path: Path, paths: tuple[str, ...], meant: str) -> None:
    """All images would have label 0; what is advised opens."""
    write(tmp_path / "images", *paths)
    with pytest.raises(storage.DatasetError, match="the only class folder") as caught:
        opened(tmp_path)
    assert str(caught.value).endswith(f"probably imagefolder:{meant}")
    assert opened(tmp_path, meant).class_names[0] == "rose"


def test_one_class_with_images_of_its_own_is_a_class(tmp_path: Path) -> None:
    """Also with folders beside its images."""
    write(tmp_path / "images", "rose/1.png", "rose/more/2.png", "rose/more/3.png")
    assert opened(tmp_path).paths == ("rose/1.png", "rose/more/2.png", "rose/more/3.png")


def test_splits_below_classes_are_not_mixed(tmp_path: Path) -> None:
    """A layout that some tools write; a class that happens to be cut otherwise is left alone."""
    write(tmp_path / "images", "rose/train/1.png", "rose/test/2.png", "tulip/train/3.png")
    with pytest.raises(
        storage.DatasetError, match=r"images/rose holds splits, such as test"
    ) as err:
        opened(tmp_path)
    assert "splits stand above classes, as in test/rose/" in str(err.value)
    write(tmp_path / "years", "rose/2020/1.png", "rose/2021/2.png", "tulip/2021/3.png")
    assert len(opened(tmp_path, "years")) == 3


def test_a_class_called_train(tmp_path: Path) -> None:
    """It holds images, so that it is no split; a split of that name may have such a class."""
    write(tmp_path / "vehicles", "bus/1.png", "car/2.png", "train/3.png")
    found = opened(tmp_path, "vehicles")
    assert found.class_names == ("bus", "car", "train")
    assert found.labels.tolist() == [0, 1, 2]
    write(
        tmp_path / "images", *(f"{s}/{c}/1.png" for s in ("train", "test") for c in ("a", "train"))
    )
    assert opened(tmp_path, split="train").class_names == ("a", "train")
    with pytest.raises(storage.DatasetError, match=r"has no split 'val'; it has test, train"):
        opened(tmp_path, split="val")


def test_hidden_folders_hold_no_images(tmp_path: Path) -> None:
    """Thumbnails of a network drive, resource forks, and what notebooks keep."""
    hidden = (".@__thumb", ".AppleDouble", ".ipynb_checkpoints")
    write(tmp_path / "images", *(f"{c}/{h}/1.png" for c in "ab" for h in hidden))
    write(tmp_path / "images", "a/1.png", "b/1.png", "b/._1.png", ".@__thumb/1.png", "a/Thumbs.db")
    assert opened(tmp_path).paths == ("a/1.png", "b/1.png")


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    """As torchvision does; one to a folder that it lies in would never end."""
    write(tmp_path, "images/a/1.png", "images/b/2.png", "more/a/3.png", "more/c/4.png")
    images = tmp_path / "images"
    (images / "a" / "more").symlink_to(tmp_path / "more" / "a")
    (images / "c").symlink_to(tmp_path / "more" / "c")
    (images / "a" / "loop").symlink_to(images / "a")
    (images / "b" / "up").symlink_to(images)
    (images / "b" / "gone").symlink_to(tmp_path / "gone")
    assert opened(tmp_path).paths == ("a/1.png", "a/more/3.png", "b/2.png", "c/4.png")


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    """They are evaluated, and shown with their bytes: Parquet holds text alone."""
    folder = tmp_path / "images"
    write(folder, "b/1.png")
    try:
        (folder / os.fsdecode(b"caf\xe9")).mkdir()
        (folder / os.fsdecode(b"caf\xe9/\xff.png")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    found = opened(tmp_path)
    assert found.class_names == ("b", r"caf\xe9")
    assert found.paths == ("b/1.png", r"caf\xe9/\xff.png")
    assert found.read([1])["image"].to_pylist() == [b"x"]
    assert found.images_table()["class_name"].to_pylist() == ["b", r"caf\xe9"]


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".JPEG", ".apng", ".pnm", ".TIF"])
def test_suffixes_of_images_that_browsers_and_scanners_write(tmp_path: Path, suffix: str) -> None:
    """Half of the images would be missing from every figure."""
    write(tmp_path / "images", "rose/1.jpg", f"rose/2{suffix}", "tulip/3.jpg", "tulip/Thumbs.db")
    assert opened(tmp_path).paths == ("rose/1.jpg", f"rose/2{suffix}", "tulip/3.jpg")


@pytest.mark.parametrize(
    ("path", "begin"),
    [
        ("rose/2", b"\xff\xd8\xff\xe0"),
        ("rose/2.jpg_large", b"\xff\xd8\xff\xe0"),
        ("rose/more/2.dat", b"\x89PNG\r\n\x1a\n"),
        ("rose/2.heic", b"\0\0\0\x18ftypheic"),
        ("rose/2.avif", b"\0\0\0\x1cftypavif"),
        ("rose/2.jp2", b"\0\0\0\x0cjP  "),
        ("rose/2.nef", b"II*\0"),
    ],
)
def test_images_under_other_names_are_not_left_out_silently(
    tmp_path: Path, path: str, begin: bytes
) -> None:
    """Their names are in the message, before anything is evaluated."""
    write(tmp_path / "images", "rose/1.jpg", "tulip/3.jpg")
    (tmp_path / "images" / path).parent.mkdir(exist_ok=True)
    (tmp_path / "images" / path).write_bytes(begin)
    with pytest.raises(storage.DatasetError, match="would be missing") as err:
        opened(tmp_path)
    assert f"not read: 1, such as {path}." in str(err.value)


def test_other_files_and_hidden_images_are_no_images(tmp_path: Path) -> None:
    """Text, thumbnails in a database, and what macOS writes next to each file."""
    write(tmp_path / "images", "rose/1.jpg", "tulip/3.jpg", "rose/notes.txt", "rose/Thumbs.db")
    (tmp_path / "images/rose/._1").write_bytes(b"\xff\xd8\xff\xe0")
    os.mkfifo(tmp_path / "images/rose/pipe")
    assert opened(tmp_path).paths == ("rose/1.jpg", "tulip/3.jpg")


def test_a_million_paths_would_be_kept_once(tmp_path: Path) -> None:
    """What people read and what is opened is one text, but for a name that is no UTF-8."""
    write(tmp_path / "images", "a/1.png", "b/2.png")
    Path(os.fsdecode(os.fsencode(tmp_path / "images" / "b") + b"/caf\xe9.png")).write_bytes(b"x")
    images = opened(tmp_path)
    assert isinstance(images.source, FolderSource)
    same = [shown is path for shown, path in zip(images.paths, images.source._paths, strict=True)]
    assert same == [True, True, False]
    assert images.paths[2] == "b/caf\\xe9.png"


def test_an_image_that_is_too_large_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its size is asked for first; one byte less is read."""
    write(tmp_path / "images", "a/1.png", "b/2.png")
    images = opened(tmp_path)
    monkeypatch.setattr("storage.images.folder._MAX_IMAGE_BYTES", 7)
    assert images.read([0]).column("image").to_pylist() == [b"a/1.png"]
    monkeypatch.setattr("storage.images.folder._MAX_IMAGE_BYTES", 6)
    with pytest.raises(storage.DatasetError, match="is more than 6 bytes"):
        images.read([0])
