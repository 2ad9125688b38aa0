"""Images and data sets that were made to harm."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import gfnet
import storage
from jobs.machine.devices import use_device
from jobs.worker.input_pipeline import Pipeline


def encoded(image: Image.Image, form: str = "PNG") -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG that claims a size, with other chunks before its (few) pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    every = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(b"\0" * 10_000)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in every
    )


def test_no_other_program_is_started() -> None:
    """For PostScript Pillow would start Ghostscript; the other exotic formats are not needed."""
    picture = encoded(Image.new("RGB", (4, 4)), "EPS")
    assert picture.startswith(b"%!PS")
    with pytest.raises(gfnet.DecodeError, match="not an image of a known format"):
        gfnet.decode(picture)


@pytest.mark.parametrize("form", ["BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP"])
def test_the_formats_of_images_are_read(form: str) -> None:
    """All that a folder of images may hold."""
    assert gfnet.decode(encoded(Image.new("RGB", (5, 4)), form)).size == (5, 4)


def test_bombs_are_refused_before_they_are_unpacked() -> None:
    """A size that is claimed, and a text that unpacks to 5 MB."""
    with pytest.raises(gfnet.DecodeError, match="decompression bomb"):
        gfnet.decode(png(50_000, 50_000))
    text = b"zTXt", b"key\0\0" + zlib.compress(b"x" * 5_000_000)
    with pytest.raises(gfnet.DecodeError, match="too large"):
        gfnet.decode(png(4, 4, text))


def test_a_line_is_no_image_of_gigabytes() -> None:
    """1 x 60,000 pixels, whose shorter side becomes 224, would be three billion."""
    line = encoded(Image.new("L", (60_000, 1)))
    pipeline = Pipeline(gfnet.Preprocessing(224, 224), use_device("cpu"))
    good = encoded(Image.new("L", (30, 20)))
    for read in (pipeline.batch, pipeline.bulk):
        pipeline.failures.clear()
        batch, kept = read([good, line], [0, 1])
        assert batch is not None
        assert kept == [0]
        assert pipeline.failures[1].startswith("60000 x 1 pixels, resized to a shorter side of 224")


def test_paths_in_parquet_are_words(tmp_path: Path) -> None:
    """They name an image to people; no file of that name is opened."""
    rows = [{"bytes": None, "path": "/etc/passwd"}, {"bytes": b"x", "path": "../../x"}]
    table = pa.table({"image": rows, "label": pa.array([0, 1], pa.int64())})
    column = table.column("image").cast(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    pq.write_table(table.set_column(0, "image", column), tmp_path / "x.parquet")
    images = storage.open_images(f"parquet:{tmp_path / 'x.parquet'}")
    assert images.read([0, 1]).column("image").to_pylist() == [None, b"x"]


def test_parquet_of_more_rows_than_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal rows without end are a file of some kilobytes, and gigabytes of paths."""
    monkeypatch.setattr("storage.images.parquet._MAX_ROWS", 2000)
    number = 1000
    image = pa.StructArray.from_arrays(
        [pa.nulls(number, pa.binary()), pa.nulls(number, pa.string())], ["bytes", "path"]
    )
    table = pa.table({"image": image, "label": pa.array(np.zeros(number, np.int64))})
    with pq.ParquetWriter(tmp_path / "x.parquet", table.schema) as writer:
        for _ in range(3):
            writer.write_table(table)
    with pytest.raises(storage.DatasetError, match="claims 3,000 images"):
        storage.open_images(f"parquet:{tmp_path / 'x.parquet'}")


def test_what_a_link_leads_to_is_not_told(tmp_path: Path) -> None:
    """Links in a folder are followed, since people link images; of others nothing is shown."""
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    folder = tmp_path / "images" / "cat"
    folder.mkdir(parents=True)
    (folder / "x.png").symlink_to(secret)
    images = storage.open_images(f"imagefolder:{folder.parent}")
    with pytest.raises(gfnet.DecodeError) as caught:
        gfnet.decode(images.read([0]).column("image")[0].as_py())
    assert "hunter2" not in str(caught.value)


def test_a_folder_that_holds_no_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`imagefolder:/` must not walk a whole disk."""
    monkeypatch.setattr("storage.images.folder._MAX_OTHERS", 10)
    (tmp_path / "a").mkdir()
    for number in range(11):
        (tmp_path / "a" / f"{number}.txt").touch()
    with pytest.raises(storage.DatasetError, match="more than 10 files that are not images"):
        storage.open_images(f"imagefolder:{tmp_path}")
    with pytest.raises(storage.DatasetError, match="more than 4096 characters"):
        storage.open_images("x" * 5000)
