"""Data sets that are fetched once: torchvision's real reader on a tiny archive of its layout."""

from __future__ import annotations

import hashlib
import logging
import pickle
import sys
from http.client import BadStatusLine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from torchvision.datasets import CIFAR10, cifar

import gfnet
import storage
from jobs.cli import main
from jobs.common.errors import BadInputError
from jobs.common.yaml_document import Document
from jobs.grid.downloads import open_or_download
from jobs.grid.reader import read_grid

CLASSES = [f"class{label}" for label in range(10)]
FILES = {"train": ["data_batch_1"], "test": ["test_batch"]}


def _batch(seed: int, rows: int) -> dict[str, Any]:
    pixels = np.random.default_rng(seed).integers(0, 256, (rows, 3 * 32 * 32), dtype=np.uint8)
    return {"data": pixels, "labels": [row % 10 for row in range(rows)]}


BATCHES = {"data_batch_1": _batch(0, 30), "test_batch": _batch(1, 20)}


@pytest.fixture
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Folders to which a tiny CIFAR-10 was downloaded; nothing is on this machine before."""
    monkeypatch.delenv("GFJOBS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    contents = {name: pickle.dumps(batch) for name, batch in BATCHES.items()}
    contents["batches.meta"] = pickle.dumps({"label_names": CLASSES})
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}  # noqa: S324
    lists = {split: [[name, md5[name]] for name in names] for split, names in FILES.items()}
    monkeypatch.setattr(CIFAR10, "train_list", lists["train"])
    monkeypatch.setattr(CIFAR10, "test_list", lists["test"])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5["batches.meta"]})
    downloaded: list[str] = []

    def download(_url: str, root: str, **_: Any) -> None:
        print("Downloading", file=sys.stdout)  # noqa: T201 - as torchvision 0.20 does
        downloaded.append(root)
        folder = Path(root) / CIFAR10.base_folder
        folder.mkdir()
        for name, content in contents.items():
            (folder / name).write_bytes(content)

    monkeypatch.setattr(cifar, "download_and_extract_archive", download)
    return downloaded


@pytest.mark.parametrize("split", ["train", "test"])
def test_what_is_downloaded_has_its_pixels_labels_and_names(
    downloads: list[str],
    split: str,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Pixel for pixel what the archive holds, in its order; where it goes is said on stderr."""
    with caplog.at_level(logging.WARNING):
        images = open_or_download("cifar10", split)
    batch = BATCHES[FILES[split][0]]
    assert images.class_names == tuple(CLASSES)
    assert images.labels.tolist() == batch["labels"]
    assert images.paths[1] == f"{split}/class1/00001.ppm"
    for encoded, pixels in zip(
        images.read(range(len(images)))["image"].to_pylist(), batch["data"], strict=True
    ):
        decoded = np.asarray(gfnet.decode(encoded)).transpose(2, 0, 1)
        assert np.array_equal(decoded, pixels.reshape(3, 32, 32))
    assert len(downloads) == 1
    assert "cifar10 is not on this machine: downloading it to" in caplog.text
    assert capsys.readouterr().out == ""


def test_it_is_downloaded_once(downloads: list[str], tmp_path: Path) -> None:
    """Both splits come of one download, and nothing but them is left."""
    first = open_or_download("cifar10", "test").sha256
    open_or_download("cifar10", "train")
    assert open_or_download("cifar10").sha256 == first
    assert len(downloads) == 1
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert sorted(path.name for path in kept) == ["test.parquet", "train.parquet"]
    assert not Path(downloads[0]).exists()


def test_a_copy_below_the_data_folder_comes_first(
    downloads: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """$GFJOBS_DATA/cifar10/test.parquet is taken, and only the split that it lacks is fetched."""
    copy = tmp_path / "data" / "cifar10" / "test.parquet"
    storage.write_images(copy, [storage.EncodedImage(b"x", "a.png", 0)], ["only"])
    monkeypatch.setenv("GFJOBS_DATA", str(tmp_path / "data"))
    assert open_or_download("cifar10").class_names == ("only",)
    assert downloads == []
    assert len(open_or_download("cifar10", "train")) == 30


@pytest.mark.parametrize(
    "failure",
    [
        OSError("no route to host"),
        RuntimeError("File not found or corrupted."),
        BadStatusLine("hello"),
    ],
)
def test_a_download_that_fails_says_what_to_do(
    downloads: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    """What was asked, where it would have gone, how to do without; nothing is left of it."""

    def fail(*_: Any, **__: Any) -> None:
        raise failure

    monkeypatch.setattr(cifar, "download_and_extract_archive", fail)
    with pytest.raises(storage.DatasetError, match=f"{failure}; set GFJOBS_DATA to a folder"):
        open_or_download("cifar10")
    assert downloads == []
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_download_that_fails_is_tried_once_a_grid(
    downloads: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each entry that needs it has the problem; the network is asked once, and again next time."""
    tried: list[str] = []

    def fail(*_: Any, **__: Any) -> None:
        tried.append("cifar10")
        raise OSError("no route to host")

    monkeypatch.setattr(cifar, "download_and_extract_archive", fail)
    text = (
        "models: [digits-gfnet]\n"
        "datasets: [cifar10, {name: cifar10, limit: 10}, {name: cifar10, split: train}]\n"
    )
    for times in (1, 2):
        with pytest.raises(BadInputError) as caught:
            read_grid(Document(tmp_path / "g.yaml", text), ("cpu",), tmp_path)
        assert str(caught.value).count("no route to host") == 3
        assert len(tried) == times
    assert downloads == []


def test_a_file_with_another_checksum_is_not_unpickled(
    downloads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torchvision checks before it reads."""
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", "0" * 32]])
    with pytest.raises(storage.DatasetError, match=r"downloading it to .* failed"):
        open_or_download("cifar10")
    assert downloads


def test_a_split_that_it_does_not_have_is_not_downloaded(
    downloads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no archive with a `val`."""
    monkeypatch.setattr(cifar, "download_and_extract_archive", None)
    with pytest.raises(storage.DatasetError, match=r"no .*val\.parquet"):
        open_or_download("cifar10", "val")
    assert downloads == []


def test_planning_downloads_nothing_unless_asked(
    downloads: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what would be downloaded, how much, where to, and by which command."""
    grid = tmp_path / "grid.yaml"
    grid.write_text("models: [cifar10-gfnet]\ndatasets: [cifar10]\nmeasure: [accuracy]\n")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["plan", str(grid)])
    assert (done.exit_code, downloads) == (2, [])
    said = " ".join(done.stderr.split())
    assert f"would be downloaded (163 MiB to {storage.cache_folder()})" in said
    assert "plan with --download, or submit" in said
    done = CliRunner().invoke(main, ["plan", str(grid), "--download"])
    assert (done.exit_code, len(downloads)) == (0, 1), done.output
    assert "cifar10: 20 images, 10 classes" in done.stdout
    assert CliRunner().invoke(main, ["plan", str(grid)]).exit_code == 0, "it is here now"
