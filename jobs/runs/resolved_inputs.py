"""Resolved inputs: what the names in a grid stand for, saved with a run and compared later.

A cell is identified by the name of a model, the label of a data set, and so on. What these resolve
to (checkpoint, images, protocol) must be the same in all cells of a run; otherwise the run would
hold two different results under one name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any

import storage
from jobs.common.formatting import format_kind
from jobs.plan.cell import PROTOCOL_VERSION, Cell

ResolvedInputs = dict[str, dict[str, Any]]
"""Values by key, as JSON has them, by input, such as `model dynn`."""

SHOWN = 8
"""Most differences in a message; further ones mostly repeat the first."""

DIGEST_DIGITS = 12
SHA256_DIGITS = 64


@dataclass(frozen=True)
class InputDifference:
    """An input that has changed.

    Attributes:
        what: the input, such as `model dynn`.
        key: the key that differs.
        then, now: its values, as text.
    """

    what: str
    key: str
    then: str
    now: str

    def text(self, then: str = "then", now: str = "now") -> str:
        """One line of a message."""
        return f"  {self.key} of {self.what}: {then} {self.then}, {now} {self.now}"


def resolve_inputs(cells: Iterable[Cell]) -> ResolvedInputs:
    """All that determines the results of cells, apart from their names."""
    found: ResolvedInputs = {}
    for cell in cells:
        model, dataset = cell.model, cell.dataset
        found[f"model {model.name}"] = {
            "checkpoint": model.sha256,
            "exit_blocks": list(model.config.exit_blocks),
            "exit_rule": model.exit_rule,
            **_flat("preprocessing", model.metadata.preprocessing.to_json()),
        }
        found[_dataset(dataset.label)] = {"content": dataset.images.sha256, "limit": dataset.limit}
        if used := cell.calibration:
            found[f"calibration of {model.name}"] = {
                "content": used.images.sha256,
                "images": used.count,
            }
        if cell.borrowed_from:
            continue  # a sample may grow, and a batch holds no more than it: other cells
        kind = format_kind(cell.kind, None, cell.batch_size)  # one name for all rates of arrivals
        found[f"{kind} of {model.name} on {dataset.label}"] = {
            "batch_size": cell.batch_size,
            "images": cell.images,
            "warmup_images": cell.warmup_images,
            "protocol": PROTOCOL_VERSION,
            "energy": asdict(cell.energy) if cell.energy else None,
            **({"seconds": asked.seconds, "seed": asked.seed} if (asked := cell.arrivals) else {}),
        }
    plain: ResolvedInputs = json.loads(json.dumps(found))
    return plain


def resolve_rows(rows: Iterable[storage.CellRow]) -> ResolvedInputs:
    """The resolved inputs as far as cell rows have them, for a run that saved none."""
    found: ResolvedInputs = {}
    for row in rows:
        found[f"model {row.model}"] = {
            "checkpoint": row.checkpoint_sha256,
            "exit_blocks": list(row.exit_blocks or ()),
        }
        found[_dataset(row.dataset)] = {"content": row.dataset_sha256}
        if row.calibration_sha256:
            found[f"calibration of {row.model}"] = {
                "content": row.calibration_sha256,
                "images": row.calibration_images,
            }
        if row.borrowed_from:
            continue
        kind = format_kind(str(row.kind), None, row.batch_size or 0)
        found[f"{kind} of {row.model} on {row.dataset}"] = {
            "batch_size": row.batch_size,
            "images": row.images,
            "warmup_images": row.warmup_images or 0,
        }
    return found


def compare_inputs(then: ResolvedInputs, now: ResolvedInputs) -> list[InputDifference]:
    """The differences in keys that both have.

    For cells whose model or data set differs no further difference is listed: it follows from that.
    """
    found: list[InputDifference] = []
    for what, values in now.items():
        if what not in then or _follows(what, found):
            continue
        before = then[what]
        found += [
            InputDifference(what, key, _shown(before[key]), _shown(value))
            for key, value in values.items()
            if key in before and before[key] != value
        ]
    return found


def describe_differences(
    found: Sequence[InputDifference], then: str = "then", now: str = "now"
) -> str:
    """Differences as lines of a message, at most SHOWN and then their number."""
    lines = [difference.text(then, now) for difference in found[:SHOWN]]
    more = len(found) - SHOWN
    return "\n".join([*lines, *([f"  and {more} more"] if more > 0 else [])])


def find_relabelled(then: ResolvedInputs, now: ResolvedInputs) -> dict[str, str]:
    """Labels of data sets that changed because a grid has more or fewer data sets of one name.

    With a second data set `digits` in the grid, `digits` becomes `digits/test@100`: the images are
    the same. With a second folder `x`, `x` becomes `v1/x/test`.

    Returns: the label then, by the label now.
    """
    before, today = _datasets(then), _datasets(now)
    found = {}
    for label, meaning in today.items():
        same = [
            old
            for old, meant in before.items()
            if old not in today and meant == meaning and _is_of_name(label, old.split("/")[0])
        ]
        if label not in before and len(same) == 1:
            found[label] = same[0]
    return found


def _is_of_name(label: str, name: str) -> bool:
    """Whether a label is made of a name, alone or with parts of a path before it."""
    return any(name in (part, PurePath(part).stem) for part in label.split("/"))


def _dataset(label: str | None) -> str:
    return f"data set {label}"


def _datasets(known: ResolvedInputs) -> dict[str, dict[str, Any]]:
    start = _dataset("")
    return {what[len(start) :]: known[what] for what in known if what.startswith(start)}


def _flat(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{name}.{key}": value for key, value in values.items()}


def _follows(what: str, found: Iterable[InputDifference]) -> bool:
    """Whether a difference of a model or of a data set explains others."""
    return any(f" {name} " in f" {what} " for name in _names(found))


def _names(found: Iterable[InputDifference]) -> Iterator[str]:
    for difference in found:
        for start in ("model ", "data set "):
            if difference.what.startswith(start):
                yield difference.what.removeprefix(start)


def _shown(value: Any) -> str:
    """A value as short text."""
    if isinstance(value, str) and len(value) == SHA256_DIGITS:
        return f"sha256 {value[:DIGEST_DIGITS]}"
    return "none" if value is None else json.dumps(value)
