"""Data sets of a grid: opens each by name, and gives it a short label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path, PurePath

import storage
from jobs.common.yaml_document import Value
from jobs.grid.downloads import open_or_download

DATASET_RULE = (
    "digits, cifar10, cifar100, a folder below $GFJOBS_DATA, imagefolder:PATH, or parquet:PATH"
)
KEYS = {
    "name": f"The data set: {DATASET_RULE}.",
    "split": "Its split. Default: `test`.",
    "limit": "Most images to use, the first of the fixed shuffle. Default: all.",
    "image": "Column of the images in Parquet files. Default: found by its name or the metadata.",
    "label": "Column of the labels in Parquet files. Default: found by its name or the metadata.",
}


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
    labels = _labels([dataset for _, dataset in read])
    labelled = [
        (value, replace(dataset, label=label))
        for (value, dataset), label in zip(read, labels, strict=True)
    ]
    seen: dict[str, Dataset] = {}
    for value, dataset in labelled:
        other = seen.setdefault(dataset.label, dataset)
        if other is not dataset and _content(other) == _content(dataset):
            value.problem(f"the data set {dataset.label} is given twice", "each data set once")
        elif other is not dataset:
            value.problem(
                f"two data sets are called {dataset.label}: {other.images.name} and"
                f" {dataset.images.name}",
                "paths of which the last parts, or parts before them, differ",
            )
    return labelled


def _labels(datasets: Sequence[Dataset]) -> list[str]:
    """Label each data set, as shortly as the others allow.

    By the last part of its path; if several share that, also by split, column and limit; if data
    sets with other images share that too, by as many more parts of their paths as tell them apart.
    """
    labels = [dataset.label for dataset in datasets]
    counts = Counter(labels)
    labels = [
        _qualified(dataset, label) if counts[label] > 1 else label
        for dataset, label in zip(datasets, labels, strict=True)
    ]
    for label in dict.fromkeys(labels):
        places = [place for place, each in enumerate(labels) if each == label]
        same = [datasets[place] for place in places]
        if len({_content(dataset) for dataset in same}) > 1:
            for place, longer in zip(places, _longer(same), strict=True):
                labels[place] = longer
    return labels


def _longer(same: Sequence[Dataset]) -> list[str]:
    """Label data sets by the fewest last parts of their paths that tell their images apart."""
    parts = [_parts(dataset.images.name) for dataset in same]
    # Two paths to the same images are one data set, which is given twice.
    first = [[_content(each) for each in same].index(_content(dataset)) for dataset in same]
    labels: list[str] = []
    for number in range(1, max(map(len, parts)) + 1):
        tails = ["/".join(parts[place][-number:]) for place in first]
        labels = [_qualified(each, tail) for each, tail in zip(same, tails, strict=True)]
        if len(set(labels)) == len(set(first)):
            break
    return labels


def _parts(name: str) -> tuple[str, ...]:
    """Return the parts of a path in a name, that of a file without its suffix; or the name."""
    _, has_path, text = name.partition(":")
    path = PurePath(text)
    path = path.with_suffix("") if path.suffix == ".parquet" else path
    return tuple(part for part in path.parts if part != path.anchor) if has_path else (name,)


def _content(dataset: Dataset) -> tuple[str, int | None]:
    return dataset.images.sha256, dataset.limit


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


def _qualified(dataset: Dataset, label: str) -> str:
    limit = f"@{dataset.limit}" if dataset.limit else ""
    column = f":{dataset.column}" if dataset.column else ""
    return f"{label}/{dataset.images.split}{column}{limit}"
