"""Resolved inputs: what the names in a grid stand for, saved with a run and compared later.

A cell is known by a name of a model, a label of a data set, and so on. What these mean at the time,
which checkpoint, which images, under which protocol, must be the same in all cells of one run, or
two answers to one question would stand side by side.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import storage
from jobs.plan.cell import PROTOCOL_VERSION, Cell

ResolvedInputs = dict[str, dict[str, Any]]
"""By what is meant, such as `model dynn`: key and value, as JSON has them."""

SHOWN = 8
"""Differences that a message has; where there are more they are mostly the same again."""

DIGEST_DIGITS = 12
SHA256_DIGITS = 64


@dataclass(frozen=True)
class InputDifference:
    """Something that is not what it was.

    Attributes:
        what: of which thing, such as `model dynn`.
        key: of it.
        then, now: the values, as words.
    """

    what: str
    key: str
    then: str
    now: str

    def text(self, then: str = "then", now: str = "now") -> str:
        """One line."""
        return f"  {self.key} of {self.what}: {then} {self.then}, {now} {self.now}"


def resolve_inputs(cells: Iterable[Cell]) -> ResolvedInputs:
    """All that determines what these cells give, beside their names."""
    found: ResolvedInputs = {}
    for cell in cells:
        model, dataset = cell.model, cell.dataset
        found[f"model {model.name}"] = {
            "checkpoint": model.sha256,
            "exit_blocks": list(model.config.exit_blocks),
            **_flat("preprocessing", model.metadata.preprocessing.to_json()),
        }
        found[_dataset(dataset.label)] = {"content": dataset.images.sha256, "limit": dataset.limit}
        found[f"{cell.kind} of {model.name} on {dataset.label}"] = {
            "batch_size": cell.batch_size,
            "images": cell.images,
            "warmup_images": cell.warmup_images,
            "protocol": PROTOCOL_VERSION,
            "energy": asdict(cell.energy) if cell.energy else None,
        }
    plain: ResolvedInputs = json.loads(json.dumps(found))
    return plain


def resolve_rows(rows: Iterable[storage.CellRow]) -> ResolvedInputs:
    """What the rows of a run say of it, where nothing more was written down."""
    found: ResolvedInputs = {}
    for row in rows:
        found[f"model {row.model}"] = {
            "checkpoint": row.checkpoint_sha256,
            "exit_blocks": list(row.exit_blocks or ()),
        }
        found[_dataset(row.dataset)] = {"content": row.dataset_sha256}
        found[f"{row.kind} of {row.model} on {row.dataset}"] = {
            "batch_size": row.batch_size,
            "images": row.images,
            "warmup_images": row.warmup_images or 0,
        }
    return found


def compare_inputs(then: ResolvedInputs, now: ResolvedInputs) -> list[InputDifference]:
    """What both know, and know differently.

    Of cells whose model or data set differs nothing more is said: it follows from that.
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
    """Lines for a message."""
    lines = [difference.text(then, now) for difference in found[:SHOWN]]
    more = len(found) - SHOWN
    return "\n".join([*lines, *([f"  and {more} more"] if more > 0 else [])])


def find_relabelled(then: ResolvedInputs, now: ResolvedInputs) -> dict[str, str]:
    """Which labels of data sets became others, because a grid has more or fewer of one name.

    `digits` is `digits/test@100` beside a second data set `digits`, and the same images.

    Returns: the label of then, by that of now.
    """
    before, today = _datasets(then), _datasets(now)
    found = {}
    for label, meaning in today.items():
        same = [
            old
            for old, meant in before.items()
            if old not in today and meant == meaning and old.split("/")[0] == label.split("/")[0]
        ]
        if label not in before and len(same) == 1:
            found[label] = same[0]
    return found


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
    """A value in few characters."""
    if isinstance(value, str) and len(value) == SHA256_DIGITS:
        return f"sha256 {value[:DIGEST_DIGITS]}"
    return "none" if value is None else json.dumps(value)
