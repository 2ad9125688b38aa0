"""Names of data sets that mean the same from every folder."""

from __future__ import annotations

from pathlib import Path

import pytest

import storage


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with images, Parquet files, and folders called as data sets are."""
    for name in ("pictures/a", "hub", "digits", "scans", "a:b c"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("hub/test.parquet", "one.parquet", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "data" / "ucm").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(storage.DATA_VARIABLE, str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("digits", "digits"),
        ("cifar10", "cifar10"),
        ("ucm", "ucm"),
        ("./digits", "imagefolder:HERE/digits"),
        ("scans", "imagefolder:HERE/scans"),
        ("pictures/", "imagefolder:HERE/pictures"),
        ("a:b c", "imagefolder:HERE/a:b c"),
        ("~/scans", "imagefolder:HERE/scans"),
        ("hub", "parquet:HERE/hub"),
        ("one.parquet", "parquet:HERE/one.parquet"),
        ("notes.txt", "imagefolder:HERE/notes.txt"),  # whose error says what is missing
        ("none/here", "imagefolder:HERE/none/here"),
        ("none.parquet", "parquet:HERE/none.parquet"),
        ("hub/*.parquet", "parquet:HERE/hub/*.parquet"),
        ("parquet:hub", "parquet:HERE/hub"),
        ("imagefolder:pictures", "imagefolder:HERE/pictures"),
        ("imagefolder:/x/y", "imagefolder:/x/y"),
        ("imagefolder:~/x", "imagefolder:HERE/x"),
        ("imagefolder:~nobody-of-that-name/x", "imagefolder:HERE/~nobody-of-that-name/x"),
        ("imagefolder:", "imagefolder:"),
        ("digts", "digts"),
        ("folder:/x", "folder:/x"),
        ("", ""),
        ("x" * 5000, "x" * 5000),
    ],
)
def test_names_and_paths(text: str, name: str, folder: Path) -> None:
    """Known names stay; a path gets its form; what is neither is left for an error to name."""
    assert storage.absolute_name(text) == name.replace("HERE", str(folder))
