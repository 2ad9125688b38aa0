"""What must be alike before two measurements may be compared, and descriptions of differences."""

from __future__ import annotations

from collections.abc import Iterator

from jobs.common.formatting import Row
from jobs.machine.power_mode import are_same_modes

CLOCK_TOLERANCE = 0.05
"""As in storage/queries/conditions/conditions.sql: heat changes a clock by 2 or 3 %."""

CELL = ("model", "threshold", "thresholds")
PLACE = ("dataset", "device", "node", "runtime", "precision", "threads", "batch_size")
IDENTITY = (*CELL, *PLACE)
"""Columns that identify a cell in another run; its checkpoint may be what changed."""

_MODE = "power_mode"
_MUST_BE_ALIKE = {
    "node": "node",
    "accelerator": "accelerator",
    _MODE: "power mode",
    "governor": "governor",
    "protocol": "protocol version",
    "warmup_images": "warm-up images",
}


def make_identity(row: Row, columns: tuple[str, ...] = IDENTITY) -> tuple[object, ...]:
    """Return what identifies the cell of a row of `measured`."""
    values = (row[column] for column in columns)
    return tuple(tuple(value) if isinstance(value, list) else value for value in values)


def count_answered(row: Row) -> int:
    """Return the number of images that a row's accuracy covers."""
    return sum(row["exit_counts"] or ())


def explain_no_accuracy(first: Row, second: Row) -> str | None:
    """Return why the accuracies of two rows of `measured` cannot be compared; None if they can."""
    for which, row in (("the first", first), ("the second", second)):
        if row["acc1"] is None:
            return f"no answers in {which}"
        if row.get("accuracy_from"):
            return (
                f"{which} borrows its accuracy from {row['accuracy_from']}: the cells of that"
                " device are compared"
            )
    if first["dataset_sha256"] != second["dataset_sha256"]:
        return "other images: the data set has other content"
    images = count_answered(first), count_answered(second)
    if images[0] != images[1]:
        return f"other images: {images[0]} in the first, {images[1]} in the second"
    return None


def explain_no_times(first: Row, second: Row) -> str | None:
    """Return why the times and energies of two rows cannot be compared; None if they can."""
    return "; ".join(_differences(first, second)) or None


def _differences(first: Row, second: Row) -> Iterator[str]:
    for which, row in (("first", first), ("second", second)):
        if row["forward_ms"] is None:
            yield f"not timed in the {which}"
        elif row["is_valid"] is False:
            yield f"the {which} is invalid" + (f" ({row['note']})" if row["note"] else "")
    if first["dataset_sha256"] != second["dataset_sha256"]:
        yield "other images: the data set has other content"
    elif first["images"] != second["images"]:
        yield (
            f"other images: {first['images']} timed in the first, {second['images']} in the second"
        )
    for column, what in _MUST_BE_ALIKE.items():
        one, other = first[column], second[column]
        if not (are_same_modes(one, other) if column == _MODE else one == other):
            yield f"{what}: {_said(one)}, then {_said(other)}"
    if first["are_clocks_locked"] != second["are_clocks_locked"]:
        said = {True: "locked", False: "floating", None: "unknown"}
        locks = [said[row["are_clocks_locked"]] for row in (first, second)]
        yield f"clocks: {locks[0]}, then {locks[1]}"
    clocks = (first["max_clock_mhz"], second["max_clock_mhz"])
    if None not in clocks and min(clocks) < (1 - CLOCK_TOLERANCE) * max(clocks):
        yield f"clock: {clocks[0]:.0f} MHz, then {clocks[1]:.0f} MHz"


def _said(value: object) -> str:
    return "unknown" if value is None else str(value)
