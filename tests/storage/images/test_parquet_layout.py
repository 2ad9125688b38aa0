"""Parquet data sets as people have them: shards, a hub's cache, patterns, columns of any name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import storage
from storage.images.image_set import ImageSet

NAMES = ("airplane", "bird")


def features(**kinds: Any) -> dict[bytes, bytes]:
    """Metadata as `datasets` writes it: a list is of class names, None an image."""
    known = {
        column: {"_type": "Image"} if kind is None else {"_type": "ClassLabel", "names": kind}
        for column, kind in kinds.items()
    }
    return {b"huggingface": json.dumps({"info": {"features": known}}).encode()}


def write(file: Path, rows: range = range(4), **columns: Any) -> None:
    """Images `b"0"`, `b"1"`, ... with alternating labels, under the columns that are given."""
    metadata = columns.pop("metadata", None)
    columns = columns or {"image": "struct", "label": None}
    made: dict[str, pa.Array] = {}
    for column, kind in columns.items():
        encoded = [str(row).encode() for row in rows]
        if kind == "struct":
            made[column] = pa.array([{"bytes": b, "path": f"{b.decode()}.png"} for b in encoded])
        elif kind == "bytes":
            made[column] = pa.array([{"bytes": b} for b in encoded])
        elif kind == "binary":
            made[column] = pa.array(encoded)
        else:
            made[column] = pa.array([row % 2 for row in rows])
    table = pa.table(made)
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata(metadata), file)


def opened(root: Path, path: str, split: str = "test", **columns: str) -> ImageSet:
    """The data set `parquet:path`."""
    return storage.open_images(f"parquet:{path}", split, root, **columns)


@pytest.mark.parametrize(
    ("columns", "classes"),
    [
        ({"img": "struct", "label": None, "metadata": features(img=None, label=NAMES)}, NAMES),
        ({"img": "struct", "fine_label": None, "coarse_label": None}, ("0", "1")),
        ({"image": "binary", "labels": None, "metadata": features(labels=NAMES)}, NAMES),
        ({"image": "bytes", "label": None}, ("0", "1")),
        ({"photo": "bytes", "kind": None, "metadata": features(photo=None, kind=NAMES)}, NAMES),
    ],
)
def test_columns_of_any_name_and_type(
    tmp_path: Path, columns: dict[str, Any], classes: tuple[str, ...]
) -> None:
    """The images, labels and digest are those of the usual layout."""
    write(tmp_path / "a.parquet", **columns)
    usual = features(label=classes)
    write(tmp_path / "b.parquet", image="struct", label=None, metadata=usual)
    found, expected = opened(tmp_path, "a.parquet"), opened(tmp_path, "b.parquet")
    assert found.class_names == classes
    assert found.sha256 == expected.sha256
    assert found.read([3, 0])["image"].to_pylist() == [b"3", b"0"]
    has_path = "struct" in columns.values()
    assert found.paths[:2] == (("0.png", "1.png") if has_path else ("0", "1"))


def test_columns_may_be_named(tmp_path: Path) -> None:
    """One of several; a label of another column is another data set."""
    metadata = features(image=None, thumb=None, fine_label=["a", "b"], coarse_label=["x", "y"])
    columns = {"image": "struct", "thumb": "bytes", "fine_label": None, "coarse_label": None}
    write(tmp_path / "a.parquet", **columns, metadata=metadata)
    assert opened(tmp_path, "a.parquet").class_names == ("a", "b")
    coarse = opened(tmp_path, "a.parquet", image="thumb", label="coarse_label")
    assert (coarse.class_names, coarse.paths) == (("x", "y"), ("0", "1", "2", "3"))
    said = "has no column 'species'; it has image: struct<.*, coarse_label: int64"
    with pytest.raises(storage.DatasetError, match=said):
        opened(tmp_path, "a.parquet", label="species")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"picture": "struct", "label": None}, r"has no column image or img; .* image: COLUMN\}"),
        ({"image": "struct", "kind": None}, r"no column label or labels or .*, label: COLUMN\}"),
        ({"image": None, "label": None}, "column image of .* is int64; needed are encoded images"),
        ({"image": "struct", "label": "binary"}, "column label of .* is binary; needed are labels"),
        (
            {"image": "struct", "label": None, "metadata": features(label=["a", "a"])},
            "names a class twice: a",
        ),
    ],
)
def test_columns_that_will_not_do(tmp_path: Path, columns: dict[str, Any], said: str) -> None:
    """With what there is, and what is needed."""
    write(tmp_path / "a.parquet", **columns)
    with pytest.raises(storage.DatasetError, match=said):
        opened(tmp_path, "a.parquet")


CACHE = "datasets--uoft-cs--cifar10"


@pytest.mark.parametrize(
    ("files", "path"),
    [
        (("data/test-0000{n}-of-00002.parquet",), "."),
        (("data/test-0000{n}-of-00002-a1b2c3d4e5f60718.parquet",), "."),
        (("test-0000{n}-of-00002.parquet", "train-00000-of-00001.parquet"), "."),
        (("plain_text/test/000{n}.parquet", "plain_text/train/0000.parquet"), "."),
        (("data/test-0000{n}-of-00002.parquet",), "data/test-*.parquet"),
        (("data/anything-{n}.parquet",), "data/*"),
        ((f"{CACHE}/snapshots/0b2/plain_text/test-0000{{n}}-of-00002.parquet",), CACHE),
    ],
)
def test_a_split_in_several_files(tmp_path: Path, files: tuple[str, ...], path: str) -> None:
    """Their rows one after the other, as in one file, whoever laid them out."""
    for file in files:
        for n, rows in enumerate((range(3), range(3, 7)) if "{n}" in file else (range(9),)):
            write(tmp_path / file.format(n=n), rows)
    write(tmp_path / "one" / "all.parquet", range(7))
    found, expected = opened(tmp_path, path), opened(tmp_path, "one/all.parquet")
    assert len(found) == 7
    assert (found.sha256, found.paths) == (expected.sha256, expected.paths)
    assert found.read([6, 2, 3])["image"].to_pylist() == [b"6", b"2", b"3"]


def test_the_main_revision_of_a_hubs_cache(tmp_path: Path) -> None:
    """What `refs/main` names; of several others one must be given."""
    snapshots = tmp_path / CACHE / "snapshots"
    for number, revision in enumerate(("aaa", "bbb")):
        write(snapshots / revision / "data" / "test-00000-of-00001.parquet", range(number + 1))
    with pytest.raises(storage.DatasetError, match=r"2 revisions, and none is main; .*aaa, bbb"):
        opened(tmp_path, CACHE)
    assert len(opened(tmp_path, f"{CACHE}/snapshots/bbb")) == 2
    (tmp_path / CACHE / "refs").mkdir()
    (tmp_path / CACHE / "refs" / "main").write_text("bbb")
    assert len(opened(tmp_path, CACHE)) == 2


def test_a_split_of_which_files_are_missing(tmp_path: Path) -> None:
    """A download that was cut short, or two makings in one folder."""
    for number in (0, 2):
        write(tmp_path / "data" / f"test-0000{number}-of-00004.parquet")
    said = "of the 4 files of the split in .*data, 2 are not there: number 1, 3; download"
    with pytest.raises(storage.DatasetError, match=said):
        opened(tmp_path, "data")
    for number in (0, 1):
        write(tmp_path / "data" / f"test-0000{number}-of-00002.parquet")
    with pytest.raises(storage.DatasetError, match="files of several makings of one split"):
        opened(tmp_path, "data")


def test_what_a_folder_has(tmp_path: Path) -> None:
    """Splits, or data sets, of which one is to be given; a pattern that matches nothing."""
    for name in ("plain/test-00000-of-00001", "plain/train-00000-of-00001", "large/test"):
        write(tmp_path / f"{name}.parquet")
    with pytest.raises(storage.DatasetError, match=r"has no split 'val'.*there: test, train"):
        opened(tmp_path, ".", "val")
    with pytest.raises(storage.DatasetError, match="holds several data sets: large, plain; give"):
        opened(tmp_path, ".")
    with pytest.raises(storage.DatasetError, match=r"no file matches .*/x\*\.parquet"):
        opened(tmp_path, "x*.parquet")


def test_files_of_one_split_must_be_alike(tmp_path: Path) -> None:
    """Label 0 is to mean the same in all of them."""
    for number, names in enumerate((["a", "b"], ["b", "a"])):
        file = tmp_path / f"test-0000{number}-of-00002.parquet"
        write(file, image="struct", label=None, metadata=features(label=names))
    with pytest.raises(storage.DatasetError, match=r"00001-of.* has other columns or classes than"):
        opened(tmp_path, ".")


def test_a_column_that_stands_there_twice(tmp_path: Path) -> None:
    """Of two, neither is chosen; named or not."""
    file = tmp_path / "test.parquet"
    columns = [pa.array([b"0", b"1"]), pa.array([0, 1]), pa.array([1, 0])]
    pq.write_table(pa.Table.from_arrays(columns, names=["image", "label", "label"]), file)
    for asked in ({}, {"label": "label"}):
        with pytest.raises(storage.DatasetError, match="has several columns label; it has image"):
            opened(tmp_path, "test.parquet", **asked)


def test_paths_in_the_place_of_images(tmp_path: Path) -> None:
    """As `datasets` writes a table of local files; a single image without bytes stays."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for name, first in (("paths", None), ("images", b"0")):
        rows = [{"bytes": b, "path": f"/home/me/{i}.png"} for i, b in enumerate((None, first))]
        images = pa.array(rows, kind)
        table = pa.table({"image": images, "label": pa.array([0, 1])})
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=1)
    with pytest.raises(storage.DatasetError, match=r"such as /home/me/0\.png: write the files'"):
        opened(tmp_path, "paths.parquet")
    assert opened(tmp_path, "images.parquet").read([0, 1])["image"].to_pylist() == [None, b"0"]


def test_a_pointer_of_git_lfs(tmp_path: Path) -> None:
    """What a clone without it has: text instead of the file."""
    (tmp_path / "test.parquet").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0"
    )
    with pytest.raises(storage.DatasetError, match=r"pointer of Git LFS.*`git lfs pull`"):
        opened(tmp_path, "test.parquet")


def test_a_file_that_is_opened_again_in_between_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mapped pages are given back; the digest and each image are those of one pass."""
    rows = [storage.EncodedImage(bytes([n % 250]) * 50, f"{n}.png", n % 2) for n in range(2_500)]
    storage.write_images(tmp_path / "a.parquet", rows, ["x", "y"])
    whole = storage.open_images("parquet:a.parquet", "test", tmp_path)
    monkeypatch.setattr("storage.images.parquet._MAPPED_BYTES", 1)
    again = storage.open_images("parquet:a.parquet", "test", tmp_path)
    assert again.sha256 == whole.sha256
    asked = [2_150, 3, 1_077]
    assert again.read(asked).equals(whole.read(asked))
