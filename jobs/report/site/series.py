"""A model's figures over the nights, in one setting: what changed, and how it looks in a line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.common.formatting import Row, format_counted, format_setting, format_threshold

GROUP = (
    *("dataset", "dataset_sha256", "images", "accuracy_images", "device", "node", "runtime"),
    *("precision", "threads", "batch_size", "model"),
)
"""What series share that differ only in their thresholds."""

METRICS = ("acc1", "forward_ms", "energy_mj")
"""Figures that have a change."""

_SHORT = 12  # characters of a digest
_LIKE_METRIC = {"accuracy": "acc1", "latency": "forward_ms", "energy": "energy_mj"}
_FINDING_KEY = (
    *("model", "dataset", "device", "node", "runtime", "precision", "threads", "batch_size"),
    *("threshold",),
)


RunOrder = Callable[[str], int]
"""Gives the place of a run among all, oldest first."""


@dataclass(frozen=True)
class SeriesGroup:
    """All series of a model in one setting: one per thresholds.

    Attributes:
        name: of its data file.
        model: the model.
        setting: data set, device, engine, batch and numbers of images, as text.
        rows: rows of `series`, in the order of the newest run's grid.
    """

    name: str
    model: str
    setting: str
    rows: Sequence[Row]


def group_series(rows: Sequence[Row]) -> list[SeriesGroup]:
    """Groups rows of `series`, in their order."""
    grouped: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        grouped.setdefault(tuple(row[name] for name in GROUP), []).append(row)
    return [_group(key, rows) for key, rows in grouped.items()]


def _group(key: tuple[Any, ...], rows: Sequence[Row]) -> SeriesGroup:
    first = rows[0]
    batch = "" if first["batch_size"] == 1 else f", batch {first['batch_size']}"
    timed, answered = first["images"], first["accuracy_images"]
    images = format_counted(timed, "image", "images")
    if answered not in (None, timed):
        images = f"{answered:,} images, {timed:,} timed"
    return SeriesGroup(
        name=hashlib.sha256(json.dumps(key).encode()).hexdigest()[:_SHORT],
        model=str(first["model"]),
        setting=f"{format_setting(first)}{batch}, {images}",
        rows=sorted(rows, key=lambda row: row["position"]),
    )


def changes(row: Row, metric: str) -> Iterator[float | None]:
    """Yields how a metric of a series changed, night by night, from the last valid figure before.

    Accuracy in points, all else in percent; None if either figure is missing or not valid, as in
    `trend`.
    """
    before = None
    for now, is_valid in zip(row[metric], row["is_valid"], strict=True):
        if now is None or not is_valid:
            yield None
            continue
        if metric == "acc1":
            yield None if before is None else now - before
        else:
            yield 100 * (now / before - 1) if before else None
        before = now


def explain_changes(row: Row) -> Iterator[tuple[int, str]]:
    """Yields what else changed from one night of a series to the next, by the later one's place."""
    states = row["state"]
    for place in range(1, len(states)):
        before, now = states[place - 1], states[place]
        if before == now:
            continue
        names = [name for name in now if now[name] != before[name]]
        said = [f"{name} {_state(before[name])} → {_state(now[name])}" for name in names]
        yield place, "; ".join(said)


def _state(value: object) -> str:
    """A value of a state as text; digests are shortened."""
    if value is None:
        return "unknown"
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    return text[:_SHORT] if len(text) == hashlib.sha256().digest_size * 2 else text


def history_data(
    group: SeriesGroup, order: RunOrder, findings: Mapping[str, Sequence[Row]]
) -> dict[str, Any]:
    """Returns the data of a group's page: nights once, and per thresholds one list per figure.

    Args:
        group: the group.
        order: of all runs.
        findings: verdicts that say something, by run.
    """
    nights = sorted({run_id for row in group.rows for run_id in row["run_id"]}, key=order)
    place_of = {run_id: place for place, run_id in enumerate(nights)}
    return {
        "nights": nights,
        "lines": [
            {
                "threshold": format_threshold(row),
                "night": [place_of[run_id] for run_id in row["run_id"]],
                **{name: row[name] for name in (*METRICS, "mean_blocks", "is_valid")},
                "changes": {name: list(changes(row, name)) for name in METRICS},
                "verdicts": dict(_verdicts(row, findings)),
                "explained": dict(explain_changes(row)),
            }
            for row in group.rows
        ],
    }


def _verdicts(
    row: Row, findings: Mapping[str, Sequence[Row]]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields the verdicts on a series by place: metric and verdict."""
    for place, run_id in enumerate(row["run_id"]):
        found = {
            _LIKE_METRIC[each["metric"]]: each["verdict"]
            for each in findings.get(run_id, ())
            if all(each[name] == row[name] for name in _FINDING_KEY)
            and (each["thresholds"] or None) == (row["thresholds"] or None)
        }
        if found:
            yield place, found
