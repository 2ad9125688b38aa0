"""The images from which a grid takes the ranges of int8: training images, never those it tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import storage
from gfnet.runtimes.availability import CALIBRATION_IMAGES, MAX_CALIBRATION_IMAGES
from jobs.common.yaml_document import Value
from jobs.grid.datasets import DATASET_RULE, Dataset
from jobs.grid.downloads import open_or_download

CALIBRATION_SPLIT = "train"
KEYS = {
    "dataset": "The data set, by a name as in `datasets`; its images must not be tested.",
    "images": f"Number of images, the first of the fixed shuffle. Default: {CALIBRATION_IMAGES}.",
    "split": f"Its split. Default: `{CALIBRATION_SPLIT}`.",
    "image": "Column of the images in Parquet files, as in `datasets`.",
    "label": "Column of the labels in Parquet files, as in `datasets`.",
}


@dataclass(frozen=True)
class CalibrationSet:
    """Images to calibrate on.

    Attributes:
        images: the data set that they are of.
        count: how many are used, the first of the fixed shuffle.
    """

    images: storage.ImageSet
    count: int


def read_calibration(
    value: Value,
    datasets: Sequence[tuple[Value, Dataset]],
    base: Path,
    *,
    may_download: bool = True,
) -> CalibrationSet | None:
    """Read the key `calibration`.

    Args:
        value: a mapping of KEYS.
        datasets: those that the grid tests.
        base: the folder that relative paths start from.
        may_download: whether a data set that is not on this machine is downloaded.

    Returns: None if a problem was recorded.
    """
    entries = value.mapping(KEYS, required=("dataset",))
    if "dataset" not in entries:
        return None
    named = entries["dataset"]
    texts = {key: entries[key].text() for key in ("split", "image", "label") if key in entries}
    wanted = (
        entries["images"].whole(1, MAX_CALIBRATION_IMAGES)
        if "images" in entries
        else CALIBRATION_IMAGES
    )
    name = named.text()
    if not name:
        return None
    try:
        found = open_calibration(
            name,
            wanted,
            texts.get("split", CALIBRATION_SPLIT),
            base,
            image=texts.get("image"),
            label=texts.get("label"),
            may_download=may_download,
        )
    except storage.DatasetError as err:
        named.problem(str(err), DATASET_RULE)
        return None
    for _, dataset in datasets:
        if dataset.images.sha256 == found.images.sha256:
            named.problem(
                f"{name}/{found.images.split} has the images of {dataset.label}, which the grid"
                " tests",
                "images that are not tested, such as those of split: train",
            )
            return None
    return found


def open_calibration(
    name: str,
    count: int = CALIBRATION_IMAGES,
    split: str = CALIBRATION_SPLIT,
    base: Path | None = None,
    *,
    image: str | None = None,
    label: str | None = None,
    may_download: bool = True,
) -> CalibrationSet:
    """Open images to calibrate on.

    Args:
        name: of the data set, as in a grid.
        count: how many are used.
        split: of the data set.
        base: the folder that relative paths start from.
        image: as of `storage.open_images`.
        label: as there.
        may_download: whether a data set that is not on this machine is downloaded.

    Raises:
        DatasetError: it cannot be opened, or has fewer images.
    """
    images = open_or_download(
        name,
        split,
        base,
        is_shuffled=True,
        image=image,
        label=label,
        may_download=may_download,
    )
    if count > len(images):
        raise storage.DatasetError(
            f"{name}/{split} has {len(images):,} images, and {count:,} are asked for to calibrate:"
            " ask for fewer"
        )
    return CalibrationSet(images, count)
