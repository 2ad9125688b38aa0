"""Bundles are read whole from a folder or a zip, with one identity; all else is refused."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from support import bundles

import gfnet
from gfnet.bundle import files as bundle_files
from gfnet.bundle.files import pack


def in_folder(folder: Path, contents: Mapping[str, bytes]) -> Path:
    """Write the files of a bundle."""
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def refusal(source: str | Path | bytes) -> str:
    """What is said of a bundle that is refused."""
    with pytest.raises(gfnet.BundleError) as caught:
        gfnet.load_bundle(source)
    return str(caught.value)


def test_a_folder_and_zips_of_it_are_one_bundle(tmp_path: Path) -> None:
    """The digest is that of the canonical JSON, however the manifest is written or packed."""
    contents = bundles.files()
    document = json.loads(contents["manifest.json"])
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    folder = in_folder(tmp_path / "folder", contents)
    reordered = dict(reversed(document.items()))
    pretty = contents | {"manifest.json": json.dumps(reordered, indent=3).encode()}
    sources = [
        folder,
        bundles.zipped(contents),
        bundles.zipped(dict(reversed(contents.items())), zipfile.ZIP_DEFLATED),
        bundles.zipped(pretty),
        gfnet.load_bundle(folder).packed(),
    ]
    (tmp_path / "x.gfbundle").write_bytes(sources[1])
    (tmp_path / "link").symlink_to(tmp_path / "x.gfbundle")
    found = [gfnet.load_bundle(each) for each in (*sources, str(tmp_path / "link"))]
    assert {each.digest for each in found} == {hashlib.sha256(canonical).hexdigest()}
    assert all(each.files["stage_0.onnx"] == contents["stage_0.onnx"] for each in found)
    assert found[0].manifest.exit_blocks == (2,)
    assert found[0].manifest.stages[0].multiply_adds == 60
    assert found[0].manifest.stages[0].parameters is None


def test_another_weight_is_another_bundle() -> None:
    """The manifest's digests of the graphs are part of the identity."""
    other = bundles.last_stage()
    other.graph.initializer[0].raw_data = b"\0" * 48
    first, second = (
        gfnet.load_bundle(bundles.zipped(bundles.files(graphs)))
        for graphs in ({}, {"stage_1.onnx": other})
    )
    assert first.digest != second.digest


def test_packing_gives_the_same_bytes() -> None:
    """Whatever day it is: by hand, a fixed date, and no compression."""
    contents = bundles.files()
    packed = pack(contents)
    assert packed == pack(dict(contents))
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.namelist() == list(contents)
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}


def test_a_known_digest_spares_the_graphs(tmp_path: Path) -> None:
    """Those of another digest, and those that are missing, are noticed all the same."""
    contents = bundles.files()
    folder = in_folder(tmp_path / "b", contents)
    info = gfnet.inspect_manifest(folder)
    whole = gfnet.inspect_bundle(folder)
    assert (info.where, info.digest, info.manifest) == (str(folder), whole.digest, whole.manifest)
    assert info.size_bytes == sum(map(len, contents.values()))
    zipped = tmp_path / "b.gfbundle"
    zipped.write_bytes(bundles.zipped(contents, zipfile.ZIP_DEFLATED))
    assert gfnet.inspect_manifest(zipped, info.digest).size_bytes == info.size_bytes
    _changed(folder)
    assert gfnet.inspect_manifest(folder, info.digest) == info
    with pytest.raises(gfnet.BundleError, match="its SHA-256"):
        gfnet.inspect_manifest(folder, "0" * 64)
    _without("stage_1.onnx")(folder)
    with pytest.raises(gfnet.BundleError, match=r"stage_1\.onnx is missing"):
        gfnet.inspect_manifest(folder, info.digest)


def test_inspecting_needs_neither_torch_nor_onnx(tmp_path: Path) -> None:
    """A machine that plans has neither."""
    folder = in_folder(tmp_path / "b", bundles.files())
    code = (
        "import sys, gfnet;"
        f"gfnet.inspect_bundle({str(folder)!r});"
        "sys.exit(bool({'torch', 'onnx', 'onnxruntime'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _linked(name: str) -> Callable[[Path], None]:
    def link(folder: Path) -> None:
        (folder / name).rename(folder.parent / "outside")
        (folder / name).symlink_to(folder.parent / "outside")

    return link


def _pipe(folder: Path) -> None:
    (folder / "stage_0.onnx").unlink()
    os.mkfifo(folder / "stage_0.onnx")


def _changed(folder: Path) -> None:
    content = (folder / "stage_0.onnx").read_bytes()
    (folder / "stage_0.onnx").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_without("manifest.json"), "manifest.json is missing: a bundle is a folder with"),
        (_without("stage_1.onnx"), "stage_1.onnx is missing: manifest.json lists it"),
        (_linked("manifest.json"), "manifest.json: is a symbolic link"),
        (_linked("stage_0.onnx"), "stage_0.onnx: is a symbolic link"),
        (_pipe, "stage_0.onnx: is no regular file"),
        (_changed, "stage_0.onnx: its SHA-256 is"),
    ],
)
def test_a_spoilt_folder_is_refused(
    tmp_path: Path, spoil: Callable[[Path], None], words: str
) -> None:
    """The file is named; a pipe is not waited for."""
    folder = in_folder(tmp_path / "b", bundles.files())
    spoil(folder)
    assert words in refusal(folder)


@pytest.mark.parametrize("path", ["nothing", "\0", "/dev/zero"])
def test_what_is_no_file_is_refused(path: str) -> None:
    """In one line."""
    assert "\n" not in refusal(path)


def test_files_of_a_folder_that_are_not_listed_are_left_alone(tmp_path: Path) -> None:
    """A README may lie there; in a zip it may not, since no digest covers it."""
    folder = in_folder(tmp_path / "b", bundles.files() | {"README": b"hello"})
    assert set(gfnet.load_bundle(folder).files) == set(bundles.files())
    assert "holds 'README', which manifest.json does not list" in refusal(
        bundles.zipped(bundles.files() | {"README": b"hello"})
    )


def _entries(*changes: tuple[str, bytes], **settings: Any) -> bytes:
    """A zip of a bundle and further entries."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
        warnings.simplefilter("ignore")  # of two entries with one name
        for name, content in [*bundles.files().items(), *changes]:
            entry = zipfile.ZipInfo(name)
            for key, value in settings.items():
                setattr(entry, key, value)
            archive.writestr(entry, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is no zip"),
        (b"{}", "is no zip; a bundle is a folder with manifest.json, or a zip of its files"),
        (bundles.zipped(bundles.files())[:-30], "is truncated"),
        (bundles.zipped(bundles.files()) + b"x", "is truncated, or more follows its end"),
        (bundles.zipped({}), "manifest.json is missing; the zip holds nothing"),
        (_entries(("stage_0.onnx", b"x")), "two of its entries have the same name"),
        (_entries(("STAGE_0.onnx", b"x")), "two of its entries have the same name"),
        (_entries(("../x.onnx", b"x")), "holds '../x.onnx', which manifest.json does not list"),
        (_entries(("/etc/x", b"x")), "'/etc/x'"),
        (_entries(("a\\b.onnx", b"x")), "which manifest.json does not list"),
        (_entries(external_attr=0o120777 << 16, create_system=3), "is no regular file"),
        (_entries(compress_type=zipfile.ZIP_BZIP2), "packed by another method than deflate"),
        (_entries(*((f"{n}.onnx", b"") for n in range(70))), "claims 73 entries; allowed: 66"),
        (
            bundles.zipped({f"b/{name}": each for name, each in bundles.files().items()}),
            "manifest.json is missing; the zip holds 'b/manifest.json'",
        ),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_an_odd_zip_is_refused(data: bytes, words: str) -> None:
    """Before a byte of its entries is used."""
    assert words in refusal(data)


def _claiming(name: str, size: int) -> bytes:
    """A zip whose directory claims another size of an entry."""
    data = bytearray(bundles.zipped(bundles.files(), zipfile.ZIP_DEFLATED))
    at = data.rindex(name.encode())  # in the directory, which follows the entries
    data[at - 22 : at - 18] = size.to_bytes(4, "little")
    return bytes(data)


def test_a_bomb_is_refused_by_what_it_declares_and_by_what_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Zeros pack to a thousandth; and an entry may claim less than it unpacks to, or more."""
    bomb = bundles.files() | {"stage_1.onnx": b"\0" * 10**6}
    monkeypatch.setattr(bundle_files, "MAX_BUNDLE_BYTES", 100_000)
    packed = bundles.zipped(bomb, zipfile.ZIP_DEFLATED)
    assert len(packed) < 10_000
    assert "its entries unpack to 1,00" in refusal(packed)
    monkeypatch.undo()
    for size in (5, 10**6):
        found = refusal(_claiming("stage_1.onnx", size))
        assert "cannot be unpacked" in found or "unpacks to other than" in found
    assert "unpack to 4,294," in refusal(_claiming("stage_1.onnx", 2**32 - 2))


def test_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each by itself, and all together; a sparse file of a terabyte is not read."""
    folder = in_folder(tmp_path / "b", bundles.files())
    with (folder / "stage_0.onnx").open("ab") as file:
        file.truncate(2**40)
    assert "holds 1,099,511,627,776 bytes or more; allowed: 1,073,741,824" in refusal(folder)
    with (folder / "manifest.json").open("ab") as file:
        file.truncate(2**23)
    assert "manifest.json: holds 8,388,608 bytes or more; allowed: 4,194,304" in refusal(folder)
    monkeypatch.setattr("gfnet.bundle.reader.MAX_BUNDLE_BYTES", 1_000)
    whole = in_folder(tmp_path / "c", bundles.files())
    assert "stage_1.onnx: holds" in refusal(whole)
