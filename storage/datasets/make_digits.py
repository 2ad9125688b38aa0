"""Makes digits-train.parquet and digits-test.parquet from the digits of scikit-learn.

Needs the development extras (scikit-learn, Pillow); run as `python -m
storage.datasets.make_digits`. Only the test that compares the files with it imports it.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from storage.images.writing import EncodedImage, write_images

TEST_IMAGES = 450
SPLIT_SEED = 0

# Intensities in the source are 0..16.
_MAX_INTENSITY = 16


def split_rows(images: int) -> dict[str, np.ndarray[Any, np.dtype[np.int64]]]:
    """Draw the fixed split: the original row numbers of each part, ascending."""
    shuffled = np.random.default_rng(SPLIT_SEED).permutation(images)
    return {"test": np.sort(shuffled[:TEST_IMAGES]), "train": np.sort(shuffled[TEST_IMAGES:])}


def write_digits(folder: Path) -> None:
    """Write both files: 8 x 8 grayscale PNG, in the Hugging Face image layout."""
    digits = load_digits()
    for split, rows in split_rows(len(digits.images)).items():
        images = [
            EncodedImage(_png(digits.images[row]), f"digits/{row:04d}.png", int(digits.target[row]))
            for row in rows
        ]
        names = [str(digit) for digit in range(10)]
        write_images(folder / f"digits-{split}.parquet", images, names)


def _png(intensities: np.ndarray[Any, np.dtype[np.float64]]) -> bytes:
    pixels = np.round(intensities * 255 / _MAX_INTENSITY).astype(np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, format="PNG", optimize=True)
    return encoded.getvalue()


if __name__ == "__main__":
    write_digits(Path(__file__).parent)
