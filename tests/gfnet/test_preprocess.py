"""Decoding and transforming, by hand-worked pixels."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

import gfnet


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


@pytest.mark.parametrize("data", [None, b"", b"not an image", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_undecodable_bytes(data: bytes | None) -> None:
    """Each says why, in one error."""
    with pytest.raises(gfnet.DecodeError):
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
        ({"size": 0}, "size 0"),
        ({"size": 8, "crop": 9}, "crop 9 is more than size 8"),
        ({"interpolation": "sinc"}, "'sinc'; allowed: nearest"),
        ({"mean": (0.5,)}, "not three numbers"),
        ({"std": (1.0, 1.0, 0.0)}, "not positive"),
    ],
)
def test_impossible_preprocessing(fields: dict[str, object], words: str) -> None:
    """Each impossible value is named."""
    with pytest.raises(ValueError, match=words):
        gfnet.Preprocessing(**({"size": 8, "crop": 8} | fields))


def test_json_round_trip() -> None:
    """What is written is read back, and other fields are refused."""
    preprocessing = gfnet.Preprocessing(9, 8, "nearest", (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    assert gfnet.Preprocessing.from_json(preprocessing.to_json()) == preprocessing
    with pytest.raises(ValueError, match="has the fields"):
        gfnet.Preprocessing.from_json({"size": 3})


def test_16_bit_grey_is_scaled_and_wider_grey_refused() -> None:
    """Worked by hand: 32896 of 65535 is 128 of 255; 32-bit pixels have no known range."""
    image = gfnet.decode(encoded(np.full((2, 2), 32896, np.uint16)))
    assert image.getpixel((0, 0)) == (128, 128, 128)
    for pixels in (np.full((2, 2), 9, np.int32), np.full((2, 2), 0.5, np.float32)):
        with pytest.raises(gfnet.DecodeError, match="no known range"):
            gfnet.decode(encoded(pixels, "TIFF"))


def test_an_unknown_format_is_named_without_addresses() -> None:
    """The same bytes give the same words, so that notes of several rounds are one."""
    with pytest.raises(gfnet.DecodeError, match=r"^not an image of a known format$"):
        gfnet.decode(b"not an image")
