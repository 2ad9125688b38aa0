"""Which Parquet files are a data set, and which of their columns hold images and labels.

As people have them from the Hugging Face hub: one file per split or several, in a folder or in the
hub's cache, with columns under the names that their authors chose.
"""

from __future__ import annotations

import glob
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from storage.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "labels", "fine_label", "coarse_label")
"""Names that are looked for, in this order, if the file does not say which column it is."""

_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})(?:-[0-9a-f]{16})?")
"""The name of one file of several of a split, and how many they are."""

_CONVERTED = re.compile(r"\d{4}")
"""The names of a split's files in the hub's own conversion, in a folder named after the split."""

_MOST_FILES = 10_000
_NAMED = 6
_WILD = re.compile(r"[*?\[]")
_BYTES = (pa.binary(), pa.large_binary())
_TEXT = (pa.string(), pa.large_string(), pa.null())


@dataclass(frozen=True)
class Columns:
    """Where a file has images and labels.

    Attributes:
        image: the column of encoded images, or of structs with a field `bytes`.
        has_bytes: whether it is of structs.
        has_path: whether these have a field `path`, too.
        label: the column of labels.
        class_names: in the order of the labels, if the file names them.
    """

    image: str
    has_bytes: bool
    has_path: bool
    label: str
    class_names: tuple[str, ...]

    @property
    def leaf(self) -> str:
        """The encoded images among the columns that the file has on the disk."""
        return f"{self.image}.bytes" if self.has_bytes else self.image


def find_files(name: str, path: Path, split: str) -> tuple[Path, ...]:
    """The files of a data set, in the order of their rows.

    Args:
        name: what the data set was asked for as.
        path: of a file, of a folder with files per split, of a folder of the hub's cache, or a
            pattern of files, all of which are taken.
        split: of a folder.

    Raises: DatasetError: there are none, some of a split are missing, or there are several sets.
    """
    if path.is_file():
        return (path,)
    if path.is_dir():
        return _find_split(name, _snapshot(name, path), split)
    if _WILD.search(str(path)):
        found = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 - of an absolute path
        files = tuple(file for each in found if (file := path.__class__(each)).is_file())
        if files:
            return files
        raise DatasetError(f"data set {name}: no file matches {path}")
    raise DatasetError(f"data set {name}: there is no file or folder {path}")


def _snapshot(name: str, folder: Path) -> Path:
    """The folder of the revision that the hub's cache has of a data set; of another, itself."""
    snapshots = folder / "snapshots"
    if not snapshots.is_dir():
        return folder
    main = folder / "refs" / "main"
    if main.is_file() and (snapshots / main.read_text().strip()).is_dir():
        return snapshots / main.read_text().strip()
    revisions = sorted(entry for entry in snapshots.iterdir() if entry.is_dir())
    if len(revisions) == 1:
        return revisions[0]
    raise DatasetError(
        f"data set {name}: {snapshots} has {len(revisions)} revisions, and none is main; give the"
        f" folder of one: {_listed(entry.name for entry in revisions)}"
    )


def _find_split(name: str, folder: Path, split: str) -> tuple[Path, ...]:
    exact = folder / f"{split}.parquet"
    if exact.is_file():
        return (exact,)
    found: dict[tuple[Path, str], list[Path]] = {}
    for number, file in enumerate(folder.rglob("*.parquet")):
        if number >= _MOST_FILES:
            raise DatasetError(
                f"data set {name}: {folder} holds more than {_MOST_FILES:,} Parquet files; give the"
                " folder of one data set, or a pattern of its files"
            )
        found.setdefault(_set_and_split(file), []).append(file)
    of_split = {above: files for (above, each), files in found.items() if each == split}
    if not of_split:
        splits = _listed(sorted({each for _, each in found})) or "none"
        raise DatasetError(
            f"data set {name}: {folder} has no split {split!r}, as {split}.parquet or as"
            f" {split}-00000-of-0000N.parquet; splits there: {splits}"
        )
    if len(of_split) > 1:
        parts = (above.relative_to(folder).as_posix() for above in sorted(of_split))
        raise DatasetError(
            f"data set {name}: {folder} holds several data sets: {_listed(parts)}; give the folder"
            " of one"
        )
    ((_, files),) = of_split.items()
    _check_whole(name, files)
    return tuple(sorted(files))


def _set_and_split(file: Path) -> tuple[Path, str]:
    """The folder of a file's data set, and its split by the file's name."""
    if shard := _SHARD.fullmatch(file.stem):
        return file.parent, shard[1]
    if _CONVERTED.fullmatch(file.stem):
        return file.parent.parent, file.parent.name
    return file.parent, file.stem


def _check_whole(name: str, files: list[Path]) -> None:
    """Refuse a split of which files are missing: its images would be fewer, in another order."""
    shards = [shard for file in files if (shard := _SHARD.fullmatch(file.stem))]
    totals = {int(shard[3]) for shard in shards}
    numbers = sorted(int(shard[2]) for shard in shards)
    if not shards:
        return
    if len(totals) > 1 or len(shards) < len(files):
        raise DatasetError(
            f"data set {name}: {files[0].parent} has files of several makings of one split:"
            f" {_listed(sorted(file.name for file in files))}; keep those of one"
        )
    if missing := sorted(set(range(*totals)) - set(numbers)):
        raise DatasetError(
            f"data set {name}: of the {next(iter(totals))} files of the split in"
            f" {files[0].parent}, {len(missing)} are not there: number"
            f" {_listed(map(str, missing))}; download them again"
        )


def find_columns(
    name: str, file: Path, schema: pa.Schema, image: str | None, label: str | None
) -> Columns:
    """The columns of a file, as named, as its metadata says, or by usual names.

    Raises: DatasetError: there are none, or several; or of types that hold no images or labels.
    """
    features = _features(schema)
    image = _choose(name, file, schema, image, "image", _of_type(features, "Image"), IMAGE_COLUMNS)
    named = _of_type(features, "ClassLabel")
    label = _choose(name, file, schema, label, "label", named, LABEL_COLUMNS)
    kind = schema.field(image).type
    parts = {field.name: field.type for field in kind} if pa.types.is_struct(kind) else {}
    if kind not in _BYTES and parts.get("bytes") not in _BYTES:
        raise DatasetError(
            f"data set {name}: column {image} of {file} is {kind}; needed are encoded images, as"
            " binary or as struct<bytes: binary, path: string>"
        )
    if not pa.types.is_integer(schema.field(label).type):
        raise DatasetError(
            f"data set {name}: column {label} of {file} is {schema.field(label).type}; needed are"
            " labels, as whole numbers from 0"
        )
    class_names = _class_names(features.get(label))
    if len(set(class_names)) < len(class_names):
        raise DatasetError(
            f"data set {name}: {file} names a class twice:"
            f" {_listed(sorted({each for each in class_names if class_names.count(each) > 1}))}"
        )
    has_path = parts.get("path") in _TEXT
    return Columns(image, bool(parts), has_path, label, class_names)


def _choose(  # noqa: PLR0917 - of one column
    name: str,
    file: Path,
    schema: pa.Schema,
    asked: str | None,
    key: str,
    typed: list[str],
    usual: tuple[str, ...],
) -> str:
    columns = ", ".join(f"{field.name}: {field.type}" for field in schema)
    known = [asked] if asked is not None else [*usual, *(typed if len(typed) == 1 else ())]
    if found := next((each for each in known if each in schema.names), None):
        if schema.names.count(found) > 1:
            raise DatasetError(
                f"data set {name}: {file} has several columns {found}; it has {columns}. Rename or"
                " remove all but one"
            )
        return found
    if asked is not None:
        raise DatasetError(f"data set {name}: {file} has no column {asked!r}; it has {columns}")
    raise DatasetError(
        f"data set {name}: {file} has no column {' or '.join(usual)}; it has {columns}. Name the"
        f" one that is meant: {{name: '{name}', {key}: COLUMN}}"
    )


def _features(schema: pa.Schema) -> dict[str, Any]:
    """What `datasets` keeps with the schema: each column with its kind; {} if it does not."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _of_type(features: dict[str, Any], kind: str) -> list[str]:
    return [
        column
        for column, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == kind
    ]


def _class_names(feature: Any) -> tuple[str, ...]:
    names = feature.get("names") if isinstance(feature, dict) else None
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    return ", ".join(every[:_NAMED]) + more
