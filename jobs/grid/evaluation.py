"""The grid that the options of one evaluation stand for, and which option each of its keys is.

It is read, planned and run as any grid. Only its problems name an option, not a line: the user
never wrote one. Paths in it are absolute, so that it means the same from every folder.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import yaml

import gfnet
import storage
from jobs.common.errors import InputProblem
from jobs.common.yaml_document import MAX_BYTES, Document
from jobs.grid.grid import DEFAULT_MEASURES, INT8, grid_name
from jobs.grid.models import SUFFIXES
from jobs.grid.threshold_axis import DEFAULT, INFINITY, RANGE_KEYS

_HEAD = """\
# One evaluation, as `gfjobs eval` was asked for it. `gfjobs submit` of this file repeats it.
"""

_THRESHOLDS = "--thresholds"
_RANGE = ":".join(RANGE_KEYS).upper()
THRESHOLD_RULE = f"a number from 0 to 1, {_RANGE}, one number per exit as '[0.6,0.5]', or {DEFAULT}"
_BETWEEN = re.compile(r",(?![^\[]*\])")
"""A comma that is not inside brackets."""

_SUFFIXES = (*SUFFIXES, ".parquet")
_DECIMAL = re.compile(r"[0-9.eE+-]+")


@dataclass(frozen=True)
class Option:
    """What the user wrote where a grid has a key.

    Attributes:
        name: the option, such as `--data`.
        allowed: what to say is allowed, where a grid's reader would describe YAML; empty: what the
            reader says.
    """

    name: str
    allowed: str = ""


_OPTIONS = {
    "models": Option("CHECKPOINT"),
    "datasets": Option("--data"),
    "datasets[0].split": Option("--split"),
    "datasets[0].limit": Option("--limit"),
    "datasets[0].image": Option("--image"),
    "datasets[0].label": Option("--label"),
    "thresholds": Option(_THRESHOLDS),
    "devices": Option("--device"),
    "runtimes": Option("--runtime"),
    "precisions[0]": Option("--precision"),
    # Of the whole list: int8 lacks images to calibrate on.
    "precisions": Option("--precision", "--calibration NAME: training images, not tested ones"),
    "threads": Option("--threads"),
    "latency.rounds": Option("--rounds"),
    "calibration.dataset": Option("--calibration"),
    "calibration": Option("--calibration", f"--precision {INT8} for a checkpoint, or none"),
}
"""By the key of the grid; a longer key goes first."""


@dataclass(frozen=True)
class Evaluation:
    """One checkpoint on one data set; what is None or empty is left to the grid's defaults.

    Attributes:
        checkpoint: a bundled name, or the path of a checkpoint or bundle.
        data: a data set as a grid names it, or the path of a folder or .parquet file.
        thresholds: lists, separated by commas, of what `THRESHOLD_RULE` says.
        calibration: a data set for int8, named as `data` is.
        has_energy: whether energy is measured, too.
    """

    checkpoint: str
    data: str
    split: str | None = None
    limit: int | None = None
    image: str | None = None
    label: str | None = None
    thresholds: tuple[str, ...] = ()
    device: str | None = None
    runtime: str | None = None
    precision: str | None = None
    threads: int | None = None
    rounds: int | None = None
    calibration: str | None = None
    has_energy: bool = False


@dataclass
class OptionsDocument(Document):
    """A grid made of options: its problems name the option, not a line.

    Attributes:
        options: by key; a value belongs to the longest key that it is, or is below.
    """

    options: Mapping[str, Option] = field(default_factory=dict)
    is_file: ClassVar[bool] = False

    def record(self, line: int, key: str, found: str, allowed: str) -> None:
        """Add a problem with the option that stands for a key."""
        del line
        keys = (key[:end] for end in range(len(key), 0, -1))
        option = next((self.options[each] for each in keys if each in self.options), None)
        if option is None:
            option, found = Option("gfjobs eval"), f"{key}: {found}" if key else found
        self.problems.append(InputProblem(option.name, 0, "", found, option.allowed or allowed))


def build_grid(evaluation: Evaluation) -> OptionsDocument:
    """Write the grid of an evaluation.

    Its paths are absolute, but for what is not found: that is for the reader to refuse.
    """
    checkpoint = _absolute_checkpoint(evaluation.checkpoint)
    data = storage.absolute_name(evaluation.data)
    dataset = {
        "name": data,
        "split": evaluation.split,
        "limit": evaluation.limit,
        "image": evaluation.image,
        "label": evaluation.label,
    }
    calibration = evaluation.calibration
    items = [item.strip() for text in evaluation.thresholds for item in _BETWEEN.split(text)]
    grid = {
        "name": grid_name(f"{_last_part(checkpoint)}-{_last_part(data.partition(':')[2] or data)}"),
        "models": [checkpoint],
        "datasets": [_given(dataset)],
        "thresholds": [*map(_read_threshold, items)],
        "devices": _given([evaluation.device]),
        "runtimes": _given([evaluation.runtime]),
        "precisions": _given([evaluation.precision]),
        "threads": _given([evaluation.threads]),
        "measure": [*DEFAULT_MEASURES, "energy"] if evaluation.has_energy else [],
        "latency": _given({"rounds": evaluation.rounds}),
        "calibration": _given({"dataset": calibration and storage.absolute_name(calibration)}),
    }
    text = _HEAD + yaml.safe_dump(
        {key: value for key, value in grid.items() if value},
        default_flow_style=None,
        sort_keys=False,
        allow_unicode=True,
        width=math.inf,
    )
    options = dict(entry for place in enumerate(items) for entry in _threshold_options(*place))
    document = OptionsDocument(Path("grid.yaml"), text, options=_OPTIONS | options)
    if len(text.encode()) > MAX_BYTES:
        allowed = f"what fits into a grid of {MAX_BYTES:,} bytes; {_RANGE} has many in few"
        document.record(0, "thresholds", "too many to write into a grid", allowed)
    return document


def _absolute_checkpoint(text: str) -> str:
    if text and text not in gfnet.bundled():
        with contextlib.suppress(OSError):  # not a valid file name
            if (path := Path(text).absolute()).exists():
                return str(path)
    return text


def _last_part(name: str) -> str:
    path = Path(name)
    return path.stem if path.suffix in _SUFFIXES else path.name


def _given(values: Any) -> Any:
    """Return a list or a mapping without the values that were not given."""
    if isinstance(values, list):
        return [value for value in values if value is not None]
    return {key: value for key, value in values.items() if value is not None}


def _read_threshold(item: str) -> Any:
    """Turn a threshold into what a grid has for it; what it is not, the reader refuses."""
    if item.startswith("[") and item.endswith("]"):
        return [_number(part.strip()) for part in item[1:-1].split(",")]
    parts = item.split(":")
    if len(parts) == len(RANGE_KEYS):
        return dict(zip(RANGE_KEYS, map(_number, parts), strict=True))
    return _number(item)


def _number(text: str) -> float | str:
    if text in INFINITY:
        return math.inf
    if text.isdecimal() and str(int(text)) == text:
        return int(text)
    with contextlib.suppress(ValueError):
        return float(text) if _DECIMAL.fullmatch(text) else text
    return text


def _threshold_options(index: int, item: str) -> Iterator[tuple[str, Option]]:
    """Yield how problems with a threshold are told, by key."""
    key = f"thresholds[{index}]"
    read = _read_threshold(item)
    if isinstance(read, dict):
        for name in RANGE_KEYS:
            yield f"{key}.{name}", Option(f"{_THRESHOLDS} {item}: {name.upper()}")
    elif not isinstance(read, list):
        yield key, Option(_THRESHOLDS, THRESHOLD_RULE)
