"""Data sets: every way to name one, what is refused, and digests that ignore the file format."""

from __future__ import annotations

import hashlib
import io
import json
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import storage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CLASSES = ("ant", "bee")
IMAGES = [b"ant-0", b"ant-1", b"bee-0", b"bee-1", b"bee-2"]
LABELS = [0, 0, 1, 1, 1]
SPLITS = ("test", "train")
PATHS = ["ant/0.png", "ant/1.JPG", "bee/0.png", "bee/1.jpeg", "bee/2.tif"]


def write_folder(folder: Path) -> None:
    """Write the five images as a folder, with files that are no images beside them."""
    for path, content in zip(PATHS, IMAGES, strict=True):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    (folder / "ant" / "Thumbs.db").write_bytes(b"x")
    (folder / "ant" / ".hidden.png").write_bytes(b"x")
    (folder / "README.txt").write_text("x")
    (folder / ".cache").mkdir()


def write_parquet(
    file: Path,
    labels: Sequence[int | None] = LABELS,
    names: Sequence[str] | None = CLASSES,
    images: Sequence[bytes | None] = IMAGES,
    **options: Any,
) -> None:
    """Write images in the Hugging Face layout."""
    metadata = {}
    if names is not None:
        features = {"label": {"names": list(names), "_type": "ClassLabel"}}
        metadata["huggingface"] = json.dumps({"info": {"features": features}})
    schema = pa.schema(
        [
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("label", pa.int64()),
        ],
        metadata=metadata,
    )
    rows = [{"bytes": image, "path": path} for image, path in zip(images, PATHS, strict=False)]
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table([rows, list(labels)], schema=schema), file, **options)


def test_digits_are_scikit_learns_pixel_for_pixel() -> None:
    """Train and test together are the 1,797 digits, each once, by the fixed split."""
    datasets = pytest.importorskip("sklearn.datasets", reason="needs the development extras")
    digits = datasets.load_digits()
    rows: list[int] = []
    for split in ("train", "test"):
        opened = storage.open_images("digits", split)
        assert opened.class_names == tuple("0123456789")
        numbers = [int(path.removeprefix("digits/").removesuffix(".png")) for path in opened.paths]
        assert numbers == sorted(numbers)
        for row, record in zip(numbers, opened.read(range(len(opened))).to_pylist(), strict=True):
            with Image.open(io.BytesIO(record["image"])) as image:
                assert (image.format, image.mode) == ("PNG", "L")
                pixels = np.asarray(image)
            assert np.array_equal(pixels, np.round(digits.images[row] * 255 / 16))
            assert record["label"] == digits.target[row]
        rows += numbers
    assert sorted(rows) == list(range(1797))
    expected = np.sort(np.random.default_rng(0).permutation(1797)[:450])
    assert rows[-450:] == expected.tolist()


def test_embedded_digits_can_be_made_again(tmp_path: Path) -> None:
    """The script gives the embedded labels, paths and pixels."""
    pytest.importorskip("sklearn", reason="needs the development extras")
    from storage.datasets import make_digits

    make_digits.write_digits(tmp_path)
    made = storage.open_images(f"parquet:{tmp_path / 'digits-test.parquet'}")
    embedded = storage.open_images("digits")
    assert made.paths == embedded.paths
    assert made.labels.tolist() == embedded.labels.tolist()
    for one, other in zip(
        made.read(range(450))["image"].to_pylist(),
        embedded.read(range(450))["image"].to_pylist(),
        strict=True,
    ):
        # Pillow's compression may differ by version; the pixels may not.
        with Image.open(io.BytesIO(one)) as a, Image.open(io.BytesIO(other)) as b:
            assert a.tobytes() == b.tobytes()


def test_folder_and_parquet_of_the_same_images_agree(tmp_path: Path) -> None:
    """Digest, labels, classes and bytes do not depend on the files that hold them."""
    write_folder(tmp_path / "folder")
    write_folder(tmp_path / "splits" / "test")
    write_parquet(tmp_path / "data" / "test.parquet", row_group_size=2)
    write_parquet(tmp_path / "one.parquet", compression="snappy")
    opened = [
        storage.open_images(name, base=tmp_path)
        for name in (
            "imagefolder:folder",
            "imagefolder:splits",
            "parquet:data",
            "parquet:one.parquet",
            f"parquet:{tmp_path}/one.parquet",
        )
    ]
    for one in opened:
        assert one.sha256 == opened[0].sha256
        assert one.class_names == CLASSES
        assert one.labels.tolist() == LABELS
        assert list(one.paths) == PATHS
        table = one.read([4, 0, 2, 2])
        assert table.to_pydict() == {
            "image_id": [4, 0, 2, 2],
            "path": [PATHS[i] for i in (4, 0, 2, 2)],
            "label": [1, 0, 1, 1],
            "image": [IMAGES[i] for i in (4, 0, 2, 2)],
        }
        assert table.schema.field("image").type == pa.binary()
    assert (opened[0].name, opened[0].split, len(opened[0])) == ("imagefolder:folder", "test", 5)


def test_digest_is_of_lengths_bytes_labels_and_names(tmp_path: Path) -> None:
    """Written out once by hand, so that it can never change unnoticed."""
    write_parquet(tmp_path / "a.parquet")
    digest = hashlib.sha256()
    for image, label in zip(IMAGES, LABELS, strict=True):
        digest.update(struct.pack("<q", len(image)) + image + struct.pack("<q", label))
    for name in CLASSES:
        digest.update(struct.pack("<q", len(name)) + name.encode())
    assert storage.open_images("parquet:a.parquet", base=tmp_path).sha256 == digest.hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        {"labels": [0, 1, 1, 1, 1]},
        {"names": ("ant", "wasp")},
        {"names": ("ant", "bee", "cow")},
        {"images": [b"ant-0", b"ant-", b"1bee-0", b"bee-1", b"bee-2"]},
        {"images": [b"ant-1", b"ant-0", b"bee-0", b"bee-1", b"bee-2"]},
        {"images": [b"", b"ant-1", b"bee-0", b"bee-1", b"bee-2"]},
        {"images": [None, b"ant-1", b"bee-0", b"bee-1", b"bee-2"]},
    ],
)
def test_digest_changes_with_content(tmp_path: Path, change: dict[str, Any]) -> None:
    """Labels, names, order, and where one image ends all count."""
    write_parquet(tmp_path / "a.parquet")
    write_parquet(tmp_path / "b.parquet", **change)
    one, other = (storage.open_images(f"parquet:{name}.parquet", base=tmp_path) for name in "ab")
    assert one.sha256 != other.sha256


def test_digest_tells_no_image_from_an_empty_one(tmp_path: Path) -> None:
    """NULL bytes and no bytes are different content."""
    write_parquet(tmp_path / "a.parquet", images=[None, *IMAGES[1:]])
    write_parquet(tmp_path / "b.parquet", images=[b"", *IMAGES[1:]])
    one, other = (storage.open_images(f"parquet:{name}.parquet", base=tmp_path) for name in "ab")
    assert one.sha256 != other.sha256


def test_image_without_bytes_stays_in_the_set(tmp_path: Path) -> None:
    """It will fail to decode and be named; the others go on. None and empty differ."""
    write_parquet(tmp_path / "a.parquet", images=[None, b"", *IMAGES[2:]])
    opened = storage.open_images("parquet:a.parquet", base=tmp_path)
    assert opened.read([1, 0, 2])["image"].to_pylist() == [b"", None, b"bee-0"]


def test_classes_without_metadata_are_numbered(tmp_path: Path) -> None:
    """K is the largest label + 1."""
    write_parquet(tmp_path / "a.parquet", labels=[0, 0, 3, 1, 1], names=None)
    assert storage.open_images("parquet:a.parquet", base=tmp_path).class_names == tuple("0123")


def test_images_table_lists_all(tmp_path: Path) -> None:
    """One row an image, of the schema of the table `images`."""
    write_folder(tmp_path)
    opened = storage.open_images(f"imagefolder:{tmp_path}")
    table = opened.images_table()
    assert table.schema.equals(storage.TABLES["images"])
    assert table.to_pylist()[2] == {
        "dataset_sha256": opened.sha256,
        "image_id": 2,
        "path": "bee/0.png",
        "label": 1,
        "class_name": "bee",
    }


def test_folder_order_is_that_of_sorted_paths(tmp_path: Path) -> None:
    """Sorted as whole paths: 'ab/x' comes before 'a/x' never, whatever the file system says."""
    for path in ("b/2.png", "a b/1.png", "a/sub/3.png", "a/10.png", "a/9.png"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(path.encode())
    opened = storage.open_images(f"imagefolder:{tmp_path}")
    assert opened.class_names == ("a", "a b", "b")
    assert opened.paths == ("a b/1.png", "a/10.png", "a/9.png", "a/sub/3.png", "b/2.png")
    assert opened.labels.tolist() == [1, 0, 0, 0, 2]
    assert opened.read([3])["image"].to_pylist() == [b"a/sub/3.png"]


def test_named_sets_come_from_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cifar10 and any other bare name are <name>/<split>.parquet below GFJOBS_DATA."""
    monkeypatch.setenv("GFJOBS_DATA", str(tmp_path))
    for name in ("cifar10", "insects"):
        write_parquet(tmp_path / name / "test.parquet")
        assert len(storage.open_images(name)) == 5
        with pytest.raises(storage.DatasetError, match=r"has no split 'val'.* splits there: test"):
            storage.open_images(name, "val")
    with pytest.raises(storage.DatasetError, match=f"no {tmp_path}/cifar100/test.parquet and"):
        storage.open_images("cifar100")


def test_a_data_folder_of_an_unknown_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its path is taken as it is, as any other; it ended in a traceback."""
    given = "~nobody-of-that-name/data"
    monkeypatch.setenv("GFJOBS_DATA", given)
    with pytest.raises(storage.DatasetError, match=f"no folder .* below GFJOBS_DATA={given}"):
        storage.open_images("insects")
    with pytest.raises(storage.DatasetError, match=f"no .*/{given}/cifar10/test.parquet and no"):
        storage.open_images("cifar10")
    assert storage.named_file("cifar10", "test") is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "cifar10",
            r"data set cifar10 was not found: no .*/data/cifar10/test.parquet \(GFJOBS_DATA is not",
        ),
        (
            "digit",
            r"data set 'digit' is not known \(did you mean 'digits'\?\); known: digits, cifar10",
        ),
        ("../etc", "data set '../etc' is not known"),
        ("imagefolder:", "data set 'imagefolder:' is not known"),
        ("imagefoldr:x", r"did you mean 'imagefolder:PATH'"),
        ("parquet:none.parquet", "there is no file or folder .*/none.parquet"),
        ("imagefolder:none", "there is no folder .*/none; give the folder that holds"),
        ("imagefolder:.", "has no class folders"),
    ],
)
def test_unknown_names_say_what_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    """What was asked, where it was looked for, what there is."""
    monkeypatch.delenv("GFJOBS_DATA", raising=False)
    with pytest.raises(storage.DatasetError, match=message):
        storage.open_images(name, base=tmp_path)


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("digits", "val", "no split 'val'; splits: train, test"),
        ("digits", "../x", "split '../x' is not allowed"),
        ("parquet:x", "", "split '' is not allowed"),
    ],
)
def test_unknown_splits(name: str, split: str, message: str) -> None:
    """A split is a word, and one that there is."""
    with pytest.raises(storage.DatasetError, match=message):
        storage.open_images(name, split)


def test_labels_outside_the_classes_name_their_rows(tmp_path: Path) -> None:
    """The first bad rows, and the allowed range."""
    write_parquet(tmp_path / "a.parquet", labels=[0, 2, 1, -1, 1])
    with pytest.raises(
        storage.DatasetError,
        match=(r"outside its 2 classes \(0..1\): row 1 \(ant/1.JPG\): 2, row 3 \(bee/1.jpeg\): -1"),
    ):
        storage.open_images("parquet:a.parquet", base=tmp_path)
    write_parquet(tmp_path / "b.parquet", labels=[-1] * 5, names=None)
    with pytest.raises(storage.DatasetError, match=r"outside its 1 classes"):
        storage.open_images("parquet:b.parquet", base=tmp_path)
    write_parquet(tmp_path / "c.parquet", labels=[0, None, 1, 1, 1])
    with pytest.raises(storage.DatasetError, match="no label in row 1"):
        storage.open_images("parquet:c.parquet", base=tmp_path)


def test_other_layouts_are_refused_with_what_was_found(tmp_path: Path) -> None:
    """No rows, no Parquet at all; columns are tested with their layouts."""
    file = tmp_path / "a.parquet"
    write_parquet(file, labels=[], images=[])
    with pytest.raises(storage.DatasetError, match="has no images"):
        storage.open_images(f"parquet:{file}")
    file.write_bytes(b"not parquet")
    with pytest.raises(storage.DatasetError, match="cannot be read as Parquet"):
        storage.open_images(f"parquet:{file}")


def test_class_without_images_is_refused(tmp_path: Path) -> None:
    """An empty class folder would shift nothing, but is surely a mistake."""
    write_folder(tmp_path)
    (tmp_path / "cow").mkdir()
    (tmp_path / "cow" / "notes.txt").write_text("x")
    with pytest.raises(storage.DatasetError, match="no images in class cow"):
        storage.open_images(f"imagefolder:{tmp_path}")


def test_class_that_a_split_lacks_does_not_shift_labels(tmp_path: Path) -> None:
    """Classes are those of all splits: a label is the same class in each of them."""
    write_folder(tmp_path / "test")
    write_folder(tmp_path / "train")
    (tmp_path / "train" / "ape").mkdir()
    (tmp_path / "train" / "ape" / "0.png").write_bytes(b"ape-0")
    (tmp_path / "notes").mkdir()
    test, train = (storage.open_images(f"imagefolder:{tmp_path}", split) for split in SPLITS)
    assert test.class_names == train.class_names == ("ant", "ape", "bee")
    assert test.labels.tolist() == [0, 0, 2, 2, 2]
    assert train.labels.tolist() == [0, 0, 1, 2, 2, 2]


@pytest.mark.parametrize("image_id", [-1, 5])
def test_reading_outside_the_set_is_refused(tmp_path: Path, image_id: int) -> None:
    """Numpy would take -1 for the last image."""
    write_folder(tmp_path)
    opened = storage.open_images(f"imagefolder:{tmp_path}")
    with pytest.raises(storage.DatasetError, match=f"has no image {image_id}; its images are 0..4"):
        opened.read([0, image_id])
    assert opened.read([]).num_rows == 0


def test_file_that_vanished_is_named(tmp_path: Path) -> None:
    """A folder may change under a run."""
    write_folder(tmp_path)
    opened = storage.open_images(f"imagefolder:{tmp_path}")
    (tmp_path / "bee" / "0.png").unlink()
    with pytest.raises(storage.DatasetError, match=r"image 2 cannot be read: .*bee/0.png"):
        opened.read([2])
