"""Compares latency and energy of a pair of cells, with the control divided out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from jobs.analysis.comparison.accuracy import Compared, blank
from jobs.analysis.comparison.comparable import explain_no_times
from jobs.analysis.comparison.run_data import Runs, Times
from jobs.common.formatting import Row, energy_sources
from jobs.statistics.log_ratio import log_ratio, percent
from jobs.statistics.sequential import FIRST_LOOK, OUTSIDE, spend

_COLUMNS = {"latency": ("forward_ms", "forward_ms"), "energy": ("energy_mj", "power_w")}
"""Columns of `measured`: the figure, and the one that is set if it was measured."""

_ONE_ROUND = (
    "one unthrottled round in the {}: how rounds differ is unknown; time two or more"
    " (latency: {{rounds: N}})"
)
_NO_LOOK = (
    f"fewer than {FIRST_LOOK} rounds of those that end when figures are known: before that no"
    " interval allows for a look"
)
_LOOKED_AT = "rounds ended when figures were known: interval and p allow for the looks"
_EQUAL = "all rounds and images agree to the last digit: the error of the change is unknown"


def times(runs: Runs, a: Row, b: Row, figure: str, control: str | None) -> Compared | None:
    """Compare latency by image, or energy by round; None if neither run measured it."""
    column, measured = _COLUMNS[figure]
    if a[measured] is None and b[measured] is None:
        return None
    row = blank(a, b, figure, column)
    if figure == "energy":
        row = replace(row, energy_source=", then ".join(energy_sources((a, b))) or None)
    if reason := explain_no_times(a, b):
        return replace(row, reason=reason)
    tables = [run.times if figure == "latency" else run.energies for run in runs]
    sides = [_of(table, each) for table, each in zip(tables, (a, b), strict=True)]
    if None in sides:
        is_latency = figure == "latency"
        why = "fewer than 11 samples" if is_latency else _why_no_energy(runs, (a, b))
        return replace(row, reason=why)
    first, second = _aligned([side for side in sides if side is not None])
    if not first.images:
        return replace(row, reason="other images: none was timed in every round of both")
    is_one_run = runs[0].side.run_id == runs[1].side.run_id
    note = None
    if control is not None and not is_one_run:
        divided = _divided(runs, (a, b), (first, second), tables, control)
        if isinstance(divided, str):
            note = divided
        else:
            first, second = divided
            note = f"the change is relative to that of the control {control}"
    if figure == "energy":
        some = dict.fromkeys((a["energy_note"], b["energy_note"]))
        note = "; ".join(filter(None, (note, *some))) or None
    share = _share(a, b)
    if share < 1:
        note = "; ".join(filter(None, (note, _LOOKED_AT)))
    row = replace(
        row,
        change=percent(float(second.logs.mean() - first.logs.mean())),
        images=len(first.images) if figure == "latency" else None,
        note=note,
    )
    return _tested(row, first, second, share, are_of_one_run=is_one_run)


def _share(*rows: Row) -> float:
    """Return the part of the error that is left for a comparison of cells; 1 of planned rounds.

    The rounds of the others ended because they agreed, so they look more alike than they are. At
    each look a share may be spent, here the smaller one of both sides. Of one run both have the
    same, and the intervals of all looks hold together; of two runs that was measured
    (`benchmarks/until.py`).
    """
    looked = [row["rounds"] for row in rows if row["until_pct"] is not None]
    return min((spend(rounds) / OUTSIDE for rounds in looked), default=1.0)


def _tested(
    row: Compared, first: Times, second: Times, share: float, *, are_of_one_run: bool
) -> Compared:
    """Return the row with its interval and p; or with the reason why neither is known."""
    for which, side in (("first", first), ("second", second)):
        if len(side.rounds) == 1:
            return replace(row, p_reason=_ONE_ROUND.format(which))
    if share == 0:
        return replace(row, p_reason=_NO_LOOK)
    are_paired = are_of_one_run and first.rounds == second.rounds
    ratio = log_ratio(first.logs, second.logs, are_paired=are_paired)
    if not ratio.is_known:
        return replace(row, p_reason=_EQUAL)
    low, high = (percent(float(end)) for end in ratio.interval(share))
    return replace(row, low=low, high=high, p=float(ratio.p_value(share)))


def _why_no_energy(runs: Runs, pair: tuple[Row, Row]) -> str:
    """Explain why energy is not compared: power not above idle, in all or some rounds, or none."""
    said = []
    for run, row in zip(runs, pair, strict=True):
        if row["energy_mj"] is None and row["power_w"] is not None:
            said.append(str(row["energy_note"]).removeprefix("energy: "))
        elif why := run.rounds_without_energy.get((row["cell_id"], row["node"])):
            said.append(why)
    return "; ".join(dict.fromkeys(said)) or "no power, or none above idle, in some of its rounds"


def _of(table: Mapping[tuple[str, str | None], Times], row: Row) -> Times | None:
    return table.get((row["cell_id"], row["node"]))


def _aligned(sides: Sequence[Times]) -> list[Times]:
    """Keep only the images that all sides have."""
    images = sorted(set.intersection(*(set(side.images) for side in sides)))
    aligned = []
    for side in sides:
        places = {image: place for place, image in enumerate(side.images)}
        logs = side.logs[:, [places[image] for image in images]]
        aligned.append(Times(side.rounds, tuple(images), logs))
    return aligned


def _divided(
    runs: Runs,
    pair: tuple[Row, Row],
    sides: tuple[Times, Times],
    tables: Sequence[Mapping[tuple[str, str | None], Times]],
    name: str,
) -> tuple[Times, Times] | str:
    """Divide the control's figures out of both sides, round by round; or return why not."""
    if pair[0]["model"] == name:
        return "the control itself: nothing is divided out"
    controls = [run.control(row, name) for run, row in zip(runs, pair, strict=True)]
    absent = [run.side.run_id for run, row in zip(runs, controls, strict=True) if row is None]
    first, second = controls
    if first is None or second is None:
        return f"no control {name} with the same setting in {' and '.join(absent)}"
    if first["checkpoint_sha256"] != second["checkpoint_sha256"]:
        return f"the control {name} has different weights in the two runs: not divided out"
    if reason := explain_no_times(first, second):
        return f"the control {name} cannot be compared ({reason}): not divided out"
    divided = []
    for table, row, side in zip(tables, (first, second), sides, strict=True):
        its = _of(table, row)
        rounds = sorted(set(side.rounds) & set(its.rounds)) if its else []
        if its is None or not rounds:
            return f"the control {name} has no rounds in common with it: not divided out"
        ours = side.logs[[side.rounds.index(number) for number in rounds]]
        level = its.logs[[its.rounds.index(number) for number in rounds]].mean(axis=1)
        divided.append(Times(tuple(rounds), side.images, ours - level[:, None]))
    return divided[0], divided[1]
