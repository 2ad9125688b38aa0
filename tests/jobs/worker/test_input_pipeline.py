"""Batches: the two ways to one are the same bits, and what cannot be decoded is named by both."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

import gfnet
from jobs.machine.devices import use_device
from jobs.worker.input_pipeline import Pipeline

SIDES = [(256, 256), (250, 256), (247, 247), (256, 242), (257, 256)]
"""Sizes of the images of UC Merced."""


def jpegs(sides: list[tuple[int, int]], mode: str = "RGB") -> list[bytes | None]:
    """Made-up photographs."""
    found: list[bytes | None] = []
    for seed, (width, height) in enumerate(sides):
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(file, "JPEG")
        found.append(file.getvalue())
    return found


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "nearest"])
@pytest.mark.parametrize(("size", "crop"), [(32, 32), (256, 224), (256, 256)])
def test_bulk_is_batch_bit_for_bit(size: int, crop: int, interpolation: str) -> None:
    """More images than are normalised at a time, of several sizes and modes."""
    encoded = jpegs(SIDES * 4) + jpegs(SIDES[:3], "L")
    pipeline = Pipeline(gfnet.Preprocessing(size, crop, interpolation), use_device("cpu"))
    one, places = pipeline.batch(encoded, range(len(encoded)))
    other, same_places = pipeline.bulk(encoded, range(len(encoded)))
    assert places == same_places == list(range(23))
    assert one is not None
    assert other is not None
    assert one.shape == other.shape == (23, 3, crop, crop)
    assert one.dtype == other.dtype == torch.float32
    assert torch.equal(one, other)
    assert pipeline.failures == {}


@pytest.mark.parametrize("way", ["batch", "bulk"])
def test_images_that_cannot_be_decoded_are_left_out_and_named(way: str) -> None:
    """In the middle of a batch, where the places behind them must not shift; or all of it."""
    encoded = jpegs(SIDES * 2)
    encoded[3], encoded[8] = None, b"no image"
    pipeline = Pipeline(gfnet.Preprocessing(32, 32), use_device("cpu"))
    tensor, kept = getattr(pipeline, way)(encoded, [9, 8, 3, 2])
    assert kept == [9, 2]
    expected, _ = pipeline.batch([encoded[9], encoded[2]], [0, 1])
    assert torch.equal(tensor, expected)
    assert pipeline.failures == {3: "no bytes", 8: "not an image of a known format"}
    assert getattr(pipeline, way)(encoded, [3, 8]) == (None, [])


@pytest.mark.parametrize("exif", ["ignore", "apply"])
@pytest.mark.parametrize("way", ["batch", "bulk"])
def test_an_exif_orientation_is_applied_or_noticed(way: str, exif: str) -> None:
    """As the checkpoint's preprocessing asks for."""
    upright = np.zeros((8, 8, 3), np.uint8)
    upright[:4] = 255
    file, tag = io.BytesIO(), Image.Exif()
    tag[0x0112] = 6
    Image.fromarray(upright).rotate(90).save(file, "PNG", exif=tag)
    preprocessing = gfnet.Preprocessing(8, 8, "nearest", (0, 0, 0), (1, 1, 1), exif)
    pipeline = Pipeline(preprocessing, use_device("cpu"))
    tensor, _ = getattr(pipeline, way)([file.getvalue()], [0])
    axis = 2 if exif == "apply" else 3
    assert tensor.mean(dim=(1, *{2, 3} - {axis})).squeeze().tolist() == [1] * 4 + [0] * 4
    assert pipeline.is_turned is (exif == "ignore")
