"""A bundle is written whole or not at all, and replaces nothing but a bundle."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
from support import bundles

import gfnet
from gfnet.bundle.writer import check_writable, save_bundle_thresholds, write_bundle


@pytest.fixture
def bundle() -> gfnet.Bundle:
    """The one of a few bytes."""
    return gfnet.load_bundle(bundles.zipped(bundles.files()))


@pytest.mark.parametrize("name", ["new/b", "new/b.gfbundle"])
def test_what_is_written_is_the_bundle(tmp_path: Path, bundle: gfnet.Bundle, name: str) -> None:
    """As a folder or as a zip; written again, it has the same bytes, and nothing is left beside."""
    path = tmp_path / name
    for _ in range(2):
        check_writable(path, is_forced=True)
        write_bundle(bundle, path)
        assert gfnet.load_bundle(path).digest == bundle.digest
        assert os.listdir(path.parent) == [path.name]  # noqa: PTH208 - hidden ones too
    if path.is_file():
        assert path.read_bytes() == bundle.packed()


def test_only_a_bundle_is_replaced_and_only_by_force(tmp_path: Path, bundle: gfnet.Bundle) -> None:
    """Neither a folder with anything else in it, nor a file."""
    folder, packed = tmp_path / "b", tmp_path / "b.gfbundle"
    write_bundle(bundle, folder)
    write_bundle(bundle, packed)
    for path in (folder, packed):
        with pytest.raises(
            gfnet.BundleError, match=r"already (exists|holds a bundle); add --force"
        ):
            check_writable(path, is_forced=False)
    (folder / "notes.txt").write_text("precious")
    for is_forced in (True, False):  # no advice to use force where it would not help
        with pytest.raises(gfnet.BundleError, match=r"also holds notes.txt; move that away"):
            check_writable(folder, is_forced=is_forced)
    (folder / "manifest.json").unlink()
    with pytest.raises(gfnet.BundleError, match="is not a bundle, and is not replaced"):
        check_writable(folder, is_forced=True)
    with pytest.raises(gfnet.BundleError, match="is a file; give a folder, or a name that ends"):
        check_writable(folder / "notes.txt", is_forced=True)
    folder.rename(tmp_path / "c.gfbundle")
    with pytest.raises(gfnet.BundleError, match="is a folder; choose another name"):
        check_writable(tmp_path / "c.gfbundle", is_forced=True)
    (tmp_path / "empty").mkdir()
    check_writable(tmp_path / "empty", is_forced=False)


@pytest.mark.parametrize("name", ["b", "b.gfbundle"])
def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, bundle: gfnet.Bundle, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The older bundle is whole, and nothing is left beside it."""
    write_bundle(bundle, tmp_path / name)

    def fail(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_bundle(bundle, tmp_path / name)
    assert gfnet.load_bundle(tmp_path / name).digest == bundle.digest
    assert os.listdir(tmp_path) == [name]  # noqa: PTH208 - hidden ones too


def test_new_thresholds_make_another_bundle_of_the_same_graphs(
    tmp_path: Path, bundle: gfnet.Bundle
) -> None:
    """Written over itself or beside itself, and over nothing else."""
    source, path = tmp_path / "source", tmp_path / "b.gfbundle"
    write_bundle(bundle, source)
    for limit in (0.25, math.inf):
        save_bundle_thresholds(source, path, (limit,))
        found = gfnet.load_bundle(path)
        assert found.manifest == replace(bundle.manifest, thresholds=(limit,))
        assert found.digest != bundle.digest
    save_bundle_thresholds(path, path, (0.5,))
    with pytest.raises(gfnet.BundleError, match="2 thresholds for 1 early exits"):
        save_bundle_thresholds(source, path, (0.5, 0.5))
    with pytest.raises(gfnet.BundleError, match=r"choose a name in \.gfbundle"):
        save_bundle_thresholds(source, tmp_path / "b.safetensors", (0.5,))
    other = tmp_path / "other.gfbundle"
    for content in (b"mine", bundles.zipped(bundles.files({"stage_1.onnx": b"another graph"}))):
        other.write_bytes(content)
        with pytest.raises(gfnet.BundleError, match="not a bundle with these graphs"):
            save_bundle_thresholds(source, other, (0.5,))
        assert other.read_bytes() == content
