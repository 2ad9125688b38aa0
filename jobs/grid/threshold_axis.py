"""The threshold axis: numbers, ranges, vectors and `default`, each a value in float32.

Thresholds are float32 from the YAML to the SQL, so that the same comparison holds in torch and in
DuckDB.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from jobs.common.yaml_document import Value
from jobs.grid.models import Model

RANGE_KEYS = {
    "start": "First threshold of a range.",
    "stop": "Last threshold of a range.",
    "num": "Number of thresholds, at equal distances; the all-exit pass answers them.",
}
MAX_THRESHOLDS = 100_000
"""In all; the all-exit pass answers any threshold, so a finer grid is never needed."""

MAX_PATIENCE = 1000.0
"""As many exits as a model can have."""

INFINITY = (".inf", "inf")
"""How a vector says that no image exits at a gate."""

DEFAULT = "default"
DEFAULT_THRESHOLD = 0.5
PATIENCE = "patience"
"""The exit rule whose thresholds are counts: of exits in a row that agree."""

DEFAULT_PATIENCE = 2.0


@dataclass(frozen=True)
class Threshold:
    """One value of the threshold axis.

    Attributes:
        values: one number for all gates, or one per gate; empty: the checkpoint's default.
        is_written: it is written out in the grid, not part of a range, so it is routed under
            the clock.
        rule: the exit rule that it is for; None: every rule but patience.
    """

    values: tuple[float, ...]
    is_written: bool
    rule: str | None = None

    def holds(self, model: Model) -> bool:
        """Whether it is for the model's exit rule; for a static model it means nothing."""
        if not model.gates:
            return True
        return model.exit_rule == self.rule if self.rule else model.exit_rule != PATIENCE

    def fits(self, model: Model) -> bool:
        """Whether this has one number for all gates, or one per gate of the model."""
        return len(self.values) <= 1 or model.gates in (0, len(self.values))

    def of(self, model: Model) -> tuple[float, ...]:
        """Return one float32 number per gate of the model; empty for a static model."""
        is_default = model.exit_rule == model.config.default_rule
        trained = model.metadata.thresholds if is_default else ()
        default = DEFAULT_PATIENCE if model.exit_rule == PATIENCE else DEFAULT_THRESHOLD
        given = self.values or trained or (default,)
        return tuple(float32(value) for value in (given * model.gates)[: model.gates])


def float32(value: float) -> float:
    """Round a number to the nearest float32, returned as an equal Python float."""
    return float(np.float32(value))


def read_thresholds(values: list[Value], rule: str | None = None) -> list[tuple[Value, Threshold]]:
    """Read the entries of `thresholds`, each value once, written ones before those of ranges.

    Args:
        values: the entries.
        rule: the exit rule that they are for; None: every rule but patience.
    """
    low, high = (1.0, MAX_PATIENCE) if rule == PATIENCE else (0.0, 1.0)
    read: list[tuple[Value, Threshold]] = []
    for value in values:
        if value.is_mapping:
            numbers = _range(value, low, high)
            if len(read) + len(numbers) > MAX_THRESHOLDS:
                value.problem("too many thresholds", f"at most {MAX_THRESHOLDS:,} in all")
                continue
            read += [
                (value, Threshold((number,), is_written=False, rule=rule)) for number in numbers
            ]
        elif value.is_list:
            vector = tuple(_limit(item, low, high) for item in value.items())
            if len(set(vector)) == 1 and len(vector) == 1:
                value.problem("a list of one number", "one number per exit, or a plain number")
            read.append((value, Threshold(vector, is_written=True, rule=rule)))
        elif value.node.value == DEFAULT:
            read.append((value, Threshold((), is_written=True, rule=rule)))
        else:
            number = float32(_number_or_default(value, low, high))
            read.append((value, Threshold((number,), is_written=True, rule=rule)))
    distinct: dict[tuple[float, ...], tuple[Value, Threshold]] = {}
    for value, threshold in sorted(read, key=lambda entry: not entry[1].is_written):
        distinct.setdefault(threshold.values, (value, threshold))
    return list(distinct.values())


def _limit(value: Value, low: float, high: float) -> float:
    """Read one gate's threshold: a number, or `.inf`: no image exits there."""
    if value.is_scalar and value.node.value in INFINITY:
        return math.inf
    return float32(value.number(low, high))


def _number_or_default(value: Value, low: float, high: float) -> float:
    before = len(value.document.problems)
    number = value.number(low, high)
    if len(value.document.problems) > before:
        value.document.problems.pop()
        value.problem(
            f"{value.shown}",
            f"a number from {low:g} to {high:g}, a list with one per exit, {{start, stop, num}}, or"
            " default",
        )
    return number


def _range(value: Value, low: float, high: float) -> list[float]:
    entries = value.mapping(RANGE_KEYS, required=RANGE_KEYS)
    if len(entries) < len(RANGE_KEYS):
        return []
    start, stop = (entries[key].number(low, high) for key in ("start", "stop"))
    count = entries["num"].whole(1, MAX_THRESHOLDS)
    return [float32(number) for number in np.linspace(start, stop, count)]
