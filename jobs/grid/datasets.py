"""Data sets of a grid: opens each by name, and gives it a short label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import storage
from jobs.common.yaml_document import Value
from jobs.grid.downloads import open_or_download

DATASET_RULE = (
    "digits, cifar10, cifar100, a folder below $GFJOBS_DATA, imagefolder:PATH, or parquet:PATH"
)
KEYS = ("name", "split", "limit", "image", "label")
"""Of a data set; the last two name columns of Parquet files."""


@dataclass(frozen=True)
class Dataset:
    """One value of the grid's data set axis.

    Attributes:
        label: its name in rows, with split and limit if names alone are ambiguous.
        images: the encoded images and their labels.
        limit: how many images are used, the first of the fixed shuffle; None: all.
        column: the column of its labels, if the grid names one.
    """

    label: str
    images: storage.ImageSet
    limit: int | None
    column: str | None = None

    @property
    def count(self) -> int:
        """Number of images used."""
        return min(len(self.images), self.limit or len(self.images))


def read_datasets(
    values: Sequence[Value], base: Path, *, may_download: bool = True
) -> list[tuple[Value, Dataset]]:
    """Read the entries of `datasets`, each a name or a mapping of KEYS.

    Returns: those without a problem, each with its place in the file.
    """
    # Otherwise each entry would wait for a network that is down.
    failed: dict[str, storage.DatasetError] = {}

    @cache  # an alias may repeat a data set a thousand times
    def opened(name: str, split: str, image: str | None, label: str | None) -> storage.ImageSet:
        return open_or_download(
            name,
            split,
            base,
            failed,
            is_shuffled=True,
            image=image,
            label=label,
            may_download=may_download,
        )

    read = [(value, dataset) for value in values if (dataset := _read(value, opened))]
    counts = Counter(dataset.label for _, dataset in read)
    labelled = [
        (value, _qualified(dataset) if counts[dataset.label] > 1 else dataset)
        for value, dataset in read
    ]
    seen: set[str] = set()
    for value, dataset in labelled:
        if dataset.label in seen:
            value.problem(f"the data set {dataset.label} is given twice", "each data set once")
        seen.add(dataset.label)
    return labelled


def _read(value: Value, opened: Callable[..., storage.ImageSet]) -> Dataset | None:
    split, limit, named = "test", None, value
    columns: list[str | None] = [None, None]
    if value.is_mapping:
        entries = value.mapping(KEYS, required=("name",))
        if "name" not in entries:
            return None
        named = entries["name"]
        split = entries["split"].text() if "split" in entries else split
        limit = entries["limit"].whole(1) if "limit" in entries else None
        columns = [entries[key].text() if key in entries else None for key in ("image", "label")]
    name = named.text()
    if not name or not split:
        return None
    try:
        images = opened(name, split, *columns)
    except storage.DatasetError as err:
        named.problem(str(err), DATASET_RULE)
        return None
    return Dataset(_label(name), images, limit, columns[1])


def _label(name: str) -> str:
    """Return the stem of a path's last part, or the name."""
    _, has_path, path = name.partition(":")
    return Path(path).stem or name if has_path else name


def _qualified(dataset: Dataset) -> Dataset:
    limit = f"@{dataset.limit}" if dataset.limit else ""
    column = f":{dataset.column}" if dataset.column else ""
    return replace(dataset, label=f"{dataset.label}/{dataset.images.split}{column}{limit}")
