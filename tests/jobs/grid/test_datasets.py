"""Images of one data set in a Parquet file and in folders: the same to a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gfnet
import storage
from jobs.common.yaml_document import Document
from jobs.grid.datasets import read_datasets
from jobs.grid.downloads import open_or_download
from jobs.machine.devices import use_device
from jobs.worker.input_pipeline import Pipeline


def write_folder(folder: Path, images: storage.ImageSet) -> None:
    """Each image as a file, under its own path."""
    for row in images.read(range(len(images))).to_pylist():
        file = folder / row["path"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(row["image"])


def assert_same(folder: storage.ImageSet, parquet: storage.ImageSet, size: int) -> None:
    """Classes, labels and pixels; the folder in the order of sorted paths."""
    order = sorted(range(len(parquet)), key=lambda row: parquet.paths[row])
    assert folder.class_names == parquet.class_names
    assert list(folder.paths) == [parquet.paths[row] for row in order]
    assert np.array_equal(folder.labels, parquet.labels[order])
    pipeline = Pipeline(gfnet.Preprocessing(size, size), use_device("cpu"))
    left, right = (
        pipeline.bulk(images.read(rows)["image"].to_pylist(), range(len(rows)))[0]
        for images, rows in ((folder, range(len(folder))), (parquet, order))
    )
    assert left is not None
    assert right is not None
    assert left.equal(right)
    assert not pipeline.failures


def made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> storage.ImageSet:
    """The digits as the named set `land`, in an order that is not that of their paths."""
    digits = storage.open_images("digits")
    order = np.random.default_rng(1).permutation(len(digits))
    names = [f"class {label}" for label in digits.class_names]
    rows = digits.read(order).to_pylist()
    images = (
        storage.EncodedImage(
            row["image"], f"{names[row['label']]}/{row['image_id']}.png", row["label"]
        )
        for row in rows
    )
    storage.write_images(folder / "land" / "test.parquet", images, names)
    monkeypatch.setenv("GFJOBS_DATA", str(folder))
    return open_or_download("land")


@pytest.mark.parametrize("below", ["", "test"])
def test_a_folder_is_what_its_parquet_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    """PATH/<class>/ and PATH/<split>/<class>/."""
    parquet = made(tmp_path / "data", monkeypatch)
    write_folder(tmp_path / "folder" / below, parquet)
    assert_same(open_or_download(f"imagefolder:{tmp_path / 'folder'}"), parquet, 8)


def test_uc_merced_as_a_folder_is_what_its_parquet_file_is(tmp_path: Path) -> None:
    """Photographs of which some are not 256 px, where the data set is on this machine."""
    if not storage.named_file("ucm", "test"):
        pytest.skip("ucm/test.parquet is not below GFJOBS_DATA")
    parquet = open_or_download("ucm")
    write_folder(tmp_path, parquet)
    assert len(parquet.class_names) == 21
    assert_same(open_or_download(f"imagefolder:{tmp_path}"), parquet, 256)


def test_columns_of_a_grid(tmp_path: Path) -> None:
    """Of images and labels; one file with two columns of labels is two data sets."""
    images = pa.array([{"bytes": b"a", "path": "a"}, {"bytes": b"b", "path": "b"}])
    columns = {"photo": images, "species": [0, 1], "family": [0, 0]}
    pq.write_table(pa.table(columns), tmp_path / "leaves.parquet")
    entry = "name: 'parquet:leaves.parquet', image: photo, label"
    path = tmp_path / "grid.yaml"
    path.write_text(f"- {{{entry}: species}}\n- {{{entry}: family}}\n- 'parquet:leaves.parquet'\n")
    document = Document.read(path)
    found = read_datasets(document.root().items(), tmp_path)
    assert [(each.label, each.images.class_names) for _, each in found] == [
        ("leaves/test:species", ("0", "1")),
        ("leaves/test:family", ("0",)),
    ]
    (problem,) = document.problems
    assert "has no column image or img; it has photo: struct" in problem.found
