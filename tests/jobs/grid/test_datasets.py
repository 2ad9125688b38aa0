"""Images of one data set in a Parquet file and in folders: the same to a model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gfnet
import storage
from jobs.common.yaml_document import Document
from jobs.grid import datasets
from jobs.grid.datasets import Dataset, read_datasets
from jobs.grid.downloads import open_or_download
from jobs.machine.devices import use_device
from jobs.runs.resolved_inputs import find_relabelled
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


LABELS = [  # names, each with its content, and their labels
    (("imagefolder:ds/v1/x", 1), ("imagefolder:ds/v2/x", 2), "v1/x/test v2/x/test"),
    (("imagefolder:/a/v1/x", 1), ("imagefolder:/b/v1/x/", 2), "a/v1/x/test b/v1/x/test"),
    (("parquet:pq/v1.0", 1), ("parquet:pq/v1.1", 2), "v1.0/test v1.1/test"),
    (("parquet:v1/x.parquet", 1), ("imagefolder:v2/x", 2), "v1/x/test v2/x/test"),
    (("parquet:pq/v1.0", 1), ("parquet:pq/w", 2), "v1 w"),
    (("parquet:x/a.parquet", 1), ("imagefolder:x/b", 2), "a b"),
]


@pytest.mark.parametrize(("one", "other", "labels"), LABELS)
def test_sets_of_one_last_part_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, one: tuple[str, int], other: tuple[str, int], labels: str
) -> None:
    """By the parts before it; what was unique keeps its short label."""
    contents = dict((one, other))
    grid = f"d: ['{one[0]}', '{other[0]}']"
    read, problems = read_as(monkeypatch, contents, grid)
    assert [dataset.label for dataset in read] == labels.split()
    assert not problems


def read_as(
    monkeypatch: pytest.MonkeyPatch, contents: dict[str, int], text: str
) -> tuple[list[Dataset], list[str]]:
    """Read `d` of a grid whose data sets have these contents."""
    digits = storage.open_images("digits")

    def opened(name: str, *_: object, **__: object) -> storage.ImageSet:
        return dataclasses.replace(digits, name=name, sha256=str(contents[name]))

    monkeypatch.setattr(datasets, "open_or_download", opened)
    document = Document(Path("g.yaml"), text)
    values = document.root().mapping(("d",))["d"].items()
    read = [dataset for _, dataset in read_datasets(values, Path())]
    return read, [problem.found for problem in document.problems]


def test_two_paths_to_the_same_images_are_one_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given twice, also beside a third of that name; what no path tells apart is said so."""
    contents = {"imagefolder:a/x": 1, "imagefolder:./a/x": 1, "imagefolder:b/x": 2}
    _, problems = read_as(monkeypatch, contents, f"d: {list(contents)}")
    assert problems == ["the data set a/x/test is given twice"]
    contents = {"imagefolder:a/x": 1, "parquet:a/x": 2}
    _, problems = read_as(monkeypatch, contents, f"d: {list(contents)}")
    assert problems == ["two data sets are called a/x/test: imagefolder:a/x and parquet:a/x"]


@pytest.mark.parametrize(
    ("before", "after"),
    [("x", "v1/x/test"), ("v1", "v1.0/test"), ("digits", "digits/test@100")],
)
def test_a_run_keeps_its_label_when_a_second_set_comes(before: str, after: str) -> None:
    """The images are the same: no cell of the run is new."""
    meaning = {"content": "c", "limit": None}
    then = {f"data set {before}": meaning}
    now = {f"data set {after}": meaning, "data set other": {"content": "d", "limit": None}}
    assert find_relabelled(then, now) == {after: before}
