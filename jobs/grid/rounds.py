"""Rounds that end when figures are known: `until` and `rounds` under `latency` of a grid file."""

from __future__ import annotations

import re
from collections.abc import Mapping

import storage
from jobs.common.yaml_document import Value
from jobs.grid.grid import FEWEST_UNTIL, MOST_UNTIL, Grid, Until
from jobs.grid.keys import ROUNDS_KEYS, UNTIL_KEYS

MAX_ROUNDS = 10_000
_LEAST_PCT, _MOST_PCT = 0.01, 50.0
_PERCENTAGE = re.compile(r"((?:0|[1-9][0-9]*)(?:\.[0-9]+)?)%")
_ALLOWED = f"a percentage from {_LEAST_PCT:g}% to {_MOST_PCT:g}%, such as 1%"
_RANGE = f"{{min: {FEWEST_UNTIL}, max: {MOST_UNTIL}}}"


def read_until(fields: Mapping[str, Value]) -> Until | None:
    """Read `until` with its range of rounds; None if the number of rounds is given.

    Args:
        fields: the values under `latency`.
    """
    rounds = fields.get("rounds")
    if "until" not in fields:
        if rounds is not None and rounds.is_mapping:
            rounds.mapping(ROUNDS_KEYS)
            rounds.problem(
                "a range of rounds without `until`",
                "a number, or with `until: 1%` a range: what ends the rounds",
            )
            return Until(_MOST_PCT)  # a stand-in: the number of rounds would be a second problem
        return None
    pct, of = _width(fields["until"])
    fewest, most = _range(rounds) if rounds is not None else (FEWEST_UNTIL, MOST_UNTIL)
    return Until(pct, of, fewest, most)


def check_baseline(entries: Mapping[str, Value], grid: Grid) -> None:
    """Record a problem if ratios are wanted, and no model has one time that they can be to.

    Also if no other model has a ratio to it.
    """
    until = grid.latency.until
    if until is None or until.of != "ratio" or not grid.models:
        return
    baseline = find_baseline(grid)
    if baseline is not None and all(model.name == baseline for model in grid.models):
        entries["latency"].problem(
            f"`until` is of ratios, and {baseline}, the baseline, is the only model",
            "another model, or the width of means: `until: 1%`",
        )
    if baseline is None:
        entries["latency"].problem(
            "`until` wants ratios to a baseline without exits, and the grid has none",
            "`baseline: MODEL`, a model without exits; or `until: 1%`, the width of means",
        )


def find_baseline(grid: Grid) -> str | None:
    """Return the name of the model that times are relative to; None if there is none without exits.

    Exits have a time for each threshold.
    """
    static = [model.name for model in grid.models if not model.gates]
    if grid.baseline is not None:
        return grid.baseline if grid.baseline in static else None
    return static[0] if static else None


def _width(given: Value) -> tuple[float, storage.UntilOf]:
    if not given.is_mapping:
        return _percentage(given), "mean"
    of: dict[str, Value] = given.mapping(UNTIL_KEYS)
    if len(of) != 1:
        given.problem(f"{len(of)} figures", f"one of {', '.join(UNTIL_KEYS)}, as {{ratio: 1%}}")
    read = {name: _percentage(value) for name, value in of.items()}
    return (read["ratio"], "ratio") if "ratio" in read else (read.get("mean", _MOST_PCT), "mean")


def _percentage(value: Value) -> float:
    found = _PERCENTAGE.fullmatch(value.node.value) if value.is_scalar else None
    pct = float(found[1]) if found else 0.0
    if not _LEAST_PCT <= pct <= _MOST_PCT:
        value.problem(value.shown, _ALLOWED)
        return _MOST_PCT
    return pct


def _range(given: Value) -> tuple[int, int]:
    if not given.is_mapping:
        given.problem(
            f"{given.shown} together with `until`, which decides how many rounds run",
            f"a range, as {_RANGE}",
        )
        return FEWEST_UNTIL, MOST_UNTIL
    ends = given.mapping(ROUNDS_KEYS)
    fewest = ends["min"].whole(FEWEST_UNTIL, MAX_ROUNDS) if "min" in ends else FEWEST_UNTIL
    most = ends["max"].whole(FEWEST_UNTIL, MAX_ROUNDS) if "max" in ends else MOST_UNTIL
    if fewest > most:
        given.problem(f"min {fewest} is more than max {most}", f"a range, as {_RANGE}")
        return FEWEST_UNTIL, MOST_UNTIL
    return fewest, most
