"""Encoded images and their labels, by data set name. Nothing is decoded here."""

from __future__ import annotations

from storage.images.image_set import ImageSet
from storage.images.names import open_images

__all__ = ["ImageSet", "open_images"]
