"""Models of a grid: one that has not changed since it was last planned is not read again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support import bundles

import gfnet
from gfnet import checkpoint
from gfnet.bundle.files import FolderFiles, ZipFiles
from jobs.common.errors import BadInputError
from jobs.common.yaml_document import Document
from jobs.grid.models import Model, read_model
from storage.images import digests


def planned(path: Path) -> Model:
    """The checkpoint, as a grid names it."""
    document = Document(Path("grid.yaml"), str(path))
    model = read_model(document.root(), path.parent)
    document.check()
    assert model is not None
    return model


@pytest.fixture
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of digests that keeps those of small files that changed just now."""
    monkeypatch.setenv("GFJOBS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "MIN_BYTES", 0)
    monkeypatch.setattr(digests, "SETTLED_NS", -(10**9))


def flip_bit(path: Path, at: int = -1) -> None:
    """Change one byte of a file; its size and its time of change stay."""
    before, data = path.stat(), bytearray(path.read_bytes())
    data[at] ^= 1
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # the clock of files ticks slowly
        path.write_bytes(data)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.usefixtures("_cache")
def test_a_checkpoint_is_digested_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then its header alone is read, until it changes, though size and time stay."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(gfnet.bundled()["digits-dynn"].read_bytes())
    first = planned(path)
    with monkeypatch.context() as patch:
        patch.delattr(checkpoint, "read_bytes")
        assert planned(path) == first
    flip_bit(path)
    changed = planned(path)
    assert changed.metadata == first.metadata
    assert changed.sha256 != first.sha256


@pytest.mark.usefixtures("_cache")
@pytest.mark.parametrize("is_folder", [True, False])
def test_a_bundle_is_digested_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_folder: bool
) -> None:
    """Then its manifest alone is read, until a graph changes, though size and time stay."""
    contents = bundles.files()
    path = graph = tmp_path / "tiny.gfbundle"
    if is_folder:
        graph = bundles.write(path, contents) / "stage_1.onnx"
    else:
        path.write_bytes(bundles.zipped(contents))
    first = planned(path)
    assert first.size_bytes == sum(map(len, contents.values()))
    read: list[str] = []
    for kind in (FolderFiles, ZipFiles):

        def noting(files: object, name: str, most: int, of: object = kind.read) -> bytes:
            read.append(name)
            return of(files, name, most)

        monkeypatch.setattr(kind, "read", noting)
    assert planned(path) == first
    assert read == ["manifest.json"]
    at = graph.read_bytes().rindex(b"logits")  # in the last graph, not in the zip's directory
    flip_bit(graph, at)
    with pytest.raises(BadInputError, match=r"stage_1\.onnx: (its SHA-256|cannot be unpacked)"):
        planned(path)


@pytest.mark.usefixtures("_cache")
@pytest.mark.parametrize("is_folder", [True, False])
def test_another_manifest_is_another_bundle(tmp_path: Path, is_folder: bool) -> None:
    """What the cache holds of the one before is of no use to it."""

    def write(**changes: object) -> Model:
        contents = bundles.files(**changes)
        path = tmp_path / "tiny.gfbundle"
        if is_folder:
            bundles.write(path, contents)
        else:
            path.write_bytes(bundles.zipped(contents))
        return planned(path)

    first, second = write(), write(thresholds=[0.8])
    assert first.sha256 != second.sha256
    assert write() == first


@pytest.mark.usefixtures("_cache")
def test_a_link_in_a_known_folder_is_refused(tmp_path: Path) -> None:
    """A graph that became a link is another file, though its content is the same."""
    folder = bundles.write(tmp_path / "tiny", bundles.files())
    planned(folder)
    (folder / "stage_1.onnx").rename(tmp_path / "moved")
    (folder / "stage_1.onnx").symlink_to(tmp_path / "moved")
    with pytest.raises(BadInputError, match="is a symbolic link"):
        planned(folder)
