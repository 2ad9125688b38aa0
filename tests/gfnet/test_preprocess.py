"""Decoding and transforming, by hand-worked pixels."""

from __future__ import annotations

import io
import math
import re
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

import gfnet
from gfnet.preprocess import ORIENTATION, geometry, normalisation


def encoded(pixels: np.ndarray, form: str = "PNG") -> bytes:
    """Encode (H, W) or (H, W, 3) bytes."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def test_normalised_pixels() -> None:
    """Worked by hand: grey 51 is 0.2; minus mean 0.5, over deviation 0.25, is -1.2."""
    image = gfnet.decode(encoded(np.full((4, 4), 51, np.uint8)))
    steps = gfnet.transform(gfnet.Preprocessing(4, 4, mean=(0.5, 0.2, 0.0), std=(0.25, 0.5, 0.1)))
    tensor = steps(image)
    assert tensor.dtype == torch.float32
    assert type(tensor) is torch.Tensor
    expected = torch.tensor([-1.2, 0.0, 2.0]).reshape(3, 1, 1).expand(3, 4, 4)
    torch.testing.assert_close(tensor, expected)


def test_resize_keeps_the_ratio_and_crops_the_centre() -> None:
    """An 8 x 16 image of three stripes, at size 4 and crop 4, keeps the middle stripe."""
    pixels = np.zeros((8, 16), np.uint8)
    pixels[:, 4:12] = 255
    steps = gfnet.transform(gfnet.Preprocessing(4, 4, "nearest", (0, 0, 0), (1, 1, 1)))
    torch.testing.assert_close(steps(gfnet.decode(encoded(pixels))), torch.ones(3, 4, 4))


def test_formats_and_modes_become_rgb() -> None:
    """Colour stays in its channels; palettes, alpha and JPEG are read."""
    pixels = np.zeros((3, 3, 3), np.uint8)
    pixels[..., 1] = 200
    for form in ("PNG", "BMP", "TIFF", "GIF"):
        image = gfnet.decode(encoded(pixels, form))
        assert image.mode == "RGB"
        assert image.getpixel((1, 1)) == (0, 200, 0)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "^no bytes$"),
        (b"", "^no bytes$"),
        (b"not an image", "^not an image of a known format$"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "^not an image of a known format$"),
    ],
)
def test_undecodable_bytes(data: bytes | None, words: str) -> None:
    """Each says why, in one error."""
    with pytest.raises(gfnet.DecodeError, match=words):
        gfnet.decode(data)


def test_truncated_and_enormous_images() -> None:
    """A file cut short, and one that would need gigabytes."""
    whole = encoded(np.zeros((64, 64, 3), np.uint8), "JPEG")
    with pytest.raises(gfnet.DecodeError, match=r"(?i)truncated"):
        gfnet.decode(whole[: len(whole) // 2])
    bomb = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(bomb, "PNG")
    # Pillow's warning is an error in these tests; elsewhere it is said once, and then we refuse.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises(gfnet.DecodeError, match=r"100,000,000 pixels .* bomb"):
            gfnet.decode(bomb.getvalue())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"size": 0}, "preprocessing.size 0 is not a whole number from 1 to 65536"),
        ({"size": 65_537}, "preprocessing.size 65537 is not a whole number from 1 to 65536"),
        ({"crop": True}, "preprocessing.crop True is not a whole number from 1 to 65536"),
        ({"size": 8, "crop": 9}, "preprocessing.crop 9 is more than size 8"),
        (
            {"interpolation": "sinc"},
            "preprocessing.interpolation 'sinc'; allowed: nearest, bilinear, bicubic",
        ),
        ({"std": (1.0, 1.0, 0.0)}, "preprocessing.std (1.0, 1.0, 0.0) is not positive"),
    ],
)
def test_impossible_preprocessing(fields: dict[str, object], words: str) -> None:
    """Each impossible value is named, and what would be possible."""
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        gfnet.Preprocessing(**({"size": 8, "crop": 8} | fields))


@pytest.mark.parametrize("name", ["mean", "std"])
@pytest.mark.parametrize(
    "channels",
    [(0.5,), (0.5,) * 4, (0.5, 0.5, "1"), (0.5, 0.5, 1e6 + 1), (0.5, math.nan, 0.5)],
)
def test_channels_that_are_no_colours(name: str, channels: tuple[object, ...]) -> None:
    """Three numbers, of which each could be a colour's."""
    words = f"preprocessing.{name} {channels!r} is not three finite numbers in a colour's range"
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        gfnet.Preprocessing(8, 8, **{name: channels})


def test_the_extremes_are_possible() -> None:
    """The smallest size and the greatest, a crop of the whole, colours to a million either way."""
    assert gfnet.Preprocessing(1, 1).crop == 1
    assert gfnet.Preprocessing(65_536, 65_536).size == 65_536
    assert gfnet.Preprocessing(8, 8, mean=(1e6, -1e6, 0), std=(1, 1e6, 1e-9)).mean[1] == -1e6


def test_json_round_trip() -> None:
    """What is written is read back, and other fields are refused."""
    preprocessing = gfnet.Preprocessing(9, 8, "nearest", (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    assert gfnet.Preprocessing.from_json(preprocessing.to_json()) == preprocessing
    assert type(preprocessing.to_json()["mean"]) is type(preprocessing.to_json()["std"]) is list
    expected = r"\['crop', 'exif', 'interpolation', 'mean', 'size', 'std'\]"
    with pytest.raises(
        ValueError, match=rf"^preprocessing has the fields \['size'\]; expected {expected}$"
    ):
        gfnet.Preprocessing.from_json({"size": 3})


def test_16_bit_grey_is_scaled_and_wider_grey_refused() -> None:
    """Worked by hand: 32896 of 65535 is 128 of 255; 32-bit pixels have no known range."""
    image = gfnet.decode(encoded(np.full((2, 2), 32896, np.uint16)))
    assert image.getpixel((0, 0)) == (128, 128, 128)
    for grey, expected in ((0, 0), (1000, 4), (65_278, 254), (65_535, 255)):
        image = gfnet.decode(encoded(np.full((2, 2), grey, np.uint16)))
        assert image.getpixel((1, 1)) == (expected,) * 3
    for pixels in (np.full((2, 2), 9, np.int32), np.full((2, 2), 0.5, np.float32)):
        with pytest.raises(gfnet.DecodeError, match="no known range"):
            gfnet.decode(encoded(pixels, "TIFF"))


def test_an_unknown_format_is_named_without_addresses() -> None:
    """The same bytes give the same words, so that notes of several rounds are one."""
    with pytest.raises(gfnet.DecodeError, match=r"^not an image of a known format$"):
        gfnet.decode(b"not an image")


def test_a_format_that_is_not_on_the_list_is_unknown() -> None:
    """Pillow would read it: with every format comes another parser."""
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "TGA")
    with pytest.raises(gfnet.DecodeError, match=r"^not an image of a known format$"):
        gfnet.decode(file.getvalue())


def test_pixels_are_counted_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as allowed are decoded; where nothing is forbidden, all."""
    image = encoded(np.zeros((20, 30), np.uint8))
    for most in (600, None):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
        assert gfnet.decode(image).size == (30, 20)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 599)
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    said = "ValueError: 600 pixels are more than 599: could be a decompression bomb"
    with pytest.raises(gfnet.DecodeError, match=f"^{said}$"):
        gfnet.decode(image)


def test_an_image_too_long_to_resize_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a size of 30, 10 x 40 pixels become 3,600; a square is resized whatever it takes."""
    preprocessing = gfnet.Preprocessing(30, 30, "nearest", (0, 0, 0), (1, 1, 1))
    steps, long = gfnet.transform(preprocessing), Image.new("RGB", (40, 10))
    for most in (None, 3600):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
        assert steps(long).shape == (3, 30, 30)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3599)
    said = r"40 x 10 pixels, resized to a shorter side of 30, make 3,600: more than 3,599"
    with pytest.raises(gfnet.DecodeError, match=f"^{said}$"):
        steps(long)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert steps(Image.new("RGB", (10, 10))).shape == (3, 30, 30)


def test_geometry_and_normalisation_are_the_transform() -> None:
    """Pixels of 8 bits in between, so that they can be kept; a batch is normalised at once."""
    preprocessing = gfnet.Preprocessing(6, 4, "bilinear", (0.5, 0.2, 0.0), (0.25, 0.5, 0.1))
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
    image = Image.fromarray(pixels)
    kept = geometry(preprocessing)(image)
    assert type(kept) is torch.Tensor
    assert (kept.dtype, kept.shape) == (torch.uint8, (3, 4, 4))
    resized = np.asarray(image.resize((8, 6), Image.Resampling.BILINEAR))[1:5, 2:6]
    assert np.abs(kept.permute(1, 2, 0).numpy().astype(int) - resized).max() <= 1
    batch = normalisation(preprocessing)(kept[None])
    by_hand = (kept / 255 - torch.tensor([[[0.5]], [[0.2]], [[0.0]]])) / torch.tensor(
        [[[0.25]], [[0.5]], [[0.1]]]
    )
    torch.testing.assert_close(batch[0], by_hand)
    torch.testing.assert_close(gfnet.transform(preprocessing)(image), batch[0])


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_interpolations_are_pillows(interpolation: str) -> None:
    """Antialiased where an image shrinks; within what rounding to 8 bits comes to."""
    preprocessing = gfnet.Preprocessing(8, 8, interpolation, (0, 0, 0), (1, 1, 1))
    pixels = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)
    found = geometry(preprocessing)(Image.fromarray(pixels)).permute(1, 2, 0).numpy()
    form = Image.Resampling[interpolation.upper()]
    expected = np.asarray(Image.fromarray(pixels).resize((8, 8), form))
    assert np.abs(found.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize(("orientation", "turn"), [(3, 180), (6, 270), (8, 90)])
def test_exif_orientation(form: str, orientation: int, turn: int) -> None:
    """Ignored as torchvision does, and then said; or applied: a phone held upright writes 6."""
    file = io.BytesIO()
    upright = Image.new("RGB", (16, 8), "blue")
    upright.paste("red", (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright.rotate(360 - turn, expand=True).save(file, form, exif=exif, quality=95)
    stored = gfnet.decode(file.getvalue())
    if form == "TIFF":  # Pillow turns it while it loads it
        assert stored.tobytes() == upright.tobytes()
        assert ORIENTATION not in stored.info
    else:
        assert stored.size == ((16, 8) if turn == 180 else (8, 16))
        assert stored.info[ORIENTATION] == orientation
    applied = gfnet.decode(file.getvalue(), "apply")
    assert ORIENTATION not in applied.info
    difference = np.abs(np.asarray(applied, np.int16) - np.asarray(upright, np.int16))
    assert applied.size == (16, 8)
    assert difference.mean() < 8
    plain = gfnet.decode(encoded(np.zeros((4, 4, 3), np.uint8), form))
    assert ORIENTATION not in plain.info


@pytest.mark.parametrize("most", [255, 4095, 65535])
def test_grey_maps_of_any_depth(most: int) -> None:
    """8, 12 and 16 bits of PGM, by hand: a third of the greatest value is 85 of 255."""
    size = "B" if most == 255 else ">H"
    pixels = np.full((2, 3), most // 3, np.dtype(size)).tobytes()
    image = gfnet.decode(b"P5 3 2 %d\n" % most + pixels)
    assert set(np.asarray(image).ravel().tolist()) == {85}


def test_exif_in_metadata() -> None:
    """Written only where it is not as it always was, so that earlier versions read the rest."""
    plain = gfnet.Preprocessing(8, 8)
    assert "exif" not in plain.to_json()
    turned = gfnet.Preprocessing(8, 8, exif="apply")
    assert gfnet.Preprocessing.from_json(turned.to_json()) == turned
    assert gfnet.Preprocessing.from_json(plain.to_json()) == plain
    with pytest.raises(ValueError, match=r"preprocessing\.exif 'turn'; allowed: ignore, apply"):
        gfnet.Preprocessing(8, 8, exif="turn")


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize(
    "sides", [(8, 8), (9, 8), (8, 9), (31, 17), (17, 31), (224, 64), (3, 7), (45, 46), (10, 8)]
)
def test_pixels_are_those_of_torchvision(sides: tuple[int, int], interpolation: str) -> None:
    """Bit for bit, in the same layout: resized up, down and not at all, odd and even margins."""
    from torchvision.transforms import InterpolationMode, v2

    pixels = np.random.default_rng(0).integers(0, 256, (*sides, 3), dtype=np.uint8)
    image = gfnet.decode(encoded(pixels))
    for size, crop in ((8, 8), (8, 7), (9, 4), (40, 33)):
        chosen = gfnet.Preprocessing(size, crop, interpolation)
        cut = [
            v2.Resize(size, interpolation=InterpolationMode(interpolation), antialias=True),
            v2.CenterCrop(crop),
            v2.ToImage(),
            v2.ToPureTensor(),
        ]
        normalise = [
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(chosen.mean), list(chosen.std)),
        ]
        for ours, theirs in (
            (geometry(chosen), v2.Compose(cut)),
            (gfnet.transform(chosen), v2.Compose([*cut, *normalise])),
        ):
            found, expected = ours(image), theirs(image)
            assert found.equal(expected)
            assert found.stride() == expected.stride()
            assert found.dtype == expected.dtype


def test_preparing_images_imports_no_torchvision() -> None:
    """It would take 165 MiB of each worker."""
    code = """
        import sys, gfnet
        from PIL import Image
        gfnet.transform(gfnet.Preprocessing(9, 8))(Image.new("RGB", (20, 12)))
        sys.exit("torchvision" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert done.returncode == 0
