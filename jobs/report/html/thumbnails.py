"""Small pictures of a run's images, if its data set is still available and unchanged."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import storage
from gfnet.preprocess import DecodeError, decode
from jobs.common.errors import BadInputError
from jobs.common.yaml_document import Document
from jobs.grid.datasets import KEYS as DATASET_KEYS
from jobs.grid.keys import KEYS as GRID_KEYS

if TYPE_CHECKING:
    from PIL.Image import Image

_SIDE = 64  # pixels, at most
_AS_IT_IS = 64  # pixels: up to this size a picture is kept without scaling or loss
_QUALITY = 80  # of a JPEG


@dataclass(frozen=True)
class Thumbnails:
    """Pictures of one data set.

    Attributes:
        urls: `data:` URLs by image_id, without images that cannot be decoded.
        problem: why there are no pictures; None if there are.
    """

    urls: Mapping[int, str]
    problem: str | None = None


def thumbnails(
    root: storage.Root, details: storage.RunRow, sha256: str | None, image_ids: Collection[int]
) -> Thumbnails:
    """Read some images of the data set with this digest, from where the run's grid found it.

    Nothing is downloaded, and a data set that has changed since the run is not shown.
    """
    problems = []
    for name, split, base, image, label in _datasets(root, details):
        try:
            images = storage.open_images(name, split, base, image=image, label=label)
            if images.sha256 != sha256:
                problems.append(f"{name} is not the data set of the run, or has changed since")
                continue
            rows = images.read(sorted(image_ids)).to_pylist()
        except storage.DatasetError as err:
            problems.append(str(err))
            continue
        urls = {row["image_id"]: url for row in rows if (url := _url(row["image"]))}
        return Thumbnails(urls, None if urls else f"no image of {name} can be decoded")
    why = "; ".join(dict.fromkeys(problems)) or "the run's grid names no data set"
    return Thumbnails({}, why)


def _datasets(
    root: storage.Root, details: storage.RunRow
) -> list[tuple[str, str, Path, str | None, str | None]]:
    """Name and split of each data set in the run's grid, the folder of its paths, its columns."""
    try:
        submission = storage.read_submission(root, details.run_id)
    except (storage.RunNotFoundError, storage.DamagedError):
        return []
    if not {"grid_path", "base"} <= set(submission):
        return []
    document = Document(Path(submission["grid_path"]), details.grid or "")
    try:
        entries = document.root().mapping(GRID_KEYS)
    except BadInputError:
        return []
    found = []
    for value in entries["datasets"].items() if "datasets" in entries else ():
        fields = value.mapping(DATASET_KEYS) if value.is_mapping else {"name": value}
        name = fields["name"].text() if "name" in fields else None
        split = fields["split"].text() if "split" in fields else "test"
        if name and split:
            image, label = (fields[k].text() if k in fields else None for k in ("image", "label"))
            found.append((name, split, Path(submission["base"]), image, label))
    return found


def _url(encoded: bytes | None) -> str | None:
    """A picture as a `data:` URL: small ones as PNG, others scaled down, as JPEG."""
    try:
        image = decode(encoded)
    except DecodeError:
        return None
    if max(image.size) <= _AS_IT_IS:
        return _encoded(image, "png")
    image.thumbnail((_SIDE, _SIDE))
    return _encoded(image, "jpeg", quality=_QUALITY)


def _encoded(image: Image, form: str, **options: int) -> str:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return f"data:image/{form};base64,{base64.b64encode(buffer.getvalue()).decode()}"
