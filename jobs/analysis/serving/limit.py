"""The best model and threshold under a limit on the 99th percentile of the response.

Measured cells decide. What was not served is simulated from exit costs, and said to be.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

import storage
from jobs.analysis.serving.left_out import explain_left_out, is_meant, read_meant
from jobs.analysis.serving.service_times import Indices, ServiceTimes, read_service_times
from jobs.analysis.serving.simulation import SimulatedResponses, simulate_rate
from jobs.analysis.thresholds.choose import (
    format_narrowing,
    read_bounds,
    read_exit_answers,
    read_points,
)
from jobs.analysis.thresholds.exit_answers import Vector
from jobs.common.errors import UsageError
from jobs.common.formatting import (
    SETTING,
    Row,
    format_model,
    format_setting,
    format_threshold,
)
from jobs.grid.reader import MAX_REQUESTS, MIN_ARRIVALS_PER_S
from jobs.plan.task import common_threshold

P99 = 99
P99_SAMPLES = 662
"""Samples that it needs: what `samples_for(99)` is in SQL."""

SIMULATED_POINTS = 40
"""Shared thresholds of a model that are simulated, spread evenly over all of them."""

_RATE_STEPS = 14
_ONE_AT_A_TIME = 0.01  # of the rate at which a server is always busy


@dataclass(frozen=True)
class Candidate:
    """One model at one threshold, in one setting.

    Attributes:
        row: model, setting, threshold, thresholds; if its device borrows its accuracy
            `accuracy_from`, and of the chosen one `acc1_bound_points`.
        acc1: percent; None if the run has no all-exit pass of it.
        per_s: the rate of arrivals.
        p99_ms: of the response there; None if it is overloaded, or has too few requests.
        is_simulated: it was not measured.
        timed: how many times of each exit the simulation draws from; None if it was measured.
        refuting: if it is simulated, a measured cell that shows it to be above the limit.
    """

    row: Row
    acc1: float | None
    per_s: float
    p99_ms: float | None
    is_simulated: bool
    timed: int | None = None
    refuting: Candidate | None = None

    @property
    def name(self) -> str:
        """Model and threshold."""
        return format_model(self.row["model"], format_threshold(self.row))

    @property
    def vector(self) -> Vector:
        """One threshold per gate; empty for a static model."""
        return _vector(self.row)

    @property
    def floor(self) -> tuple[float, str]:
        """What its p99 is at least as measured, in ms, and the figure that says so.

        A lower percentile needs fewer requests, and is no higher; an overload is above any limit.
        """
        if self.is_simulated or self.row["is_valid"] is False:
            return 0.0, "nothing"
        if self.row["is_overloaded"]:
            return math.inf, "an overload"
        known = ((99, self.p99_ms), (90, self.row["p90_ms"]), (50, self.row["p50_ms"]))
        figures = ((ms, f"a p{number} of {ms:.4g} ms") for number, ms in known if ms is not None)
        return next(figures, (0.0, "nothing"))


@dataclass(frozen=True)
class RateLimit:
    """How fast requests may arrive at one model and threshold.

    Attributes:
        measured: the highest rate at which it and all lower ones were within the limit; None if
            none was, or if it was not served.
        simulated_per_s: the highest rate in the simulation; 0 if even a single request is too slow,
            None without exit costs.
        timed: how many times of each exit the simulation draws from.
        exceeded: the measured cell at the lowest rate of those whose p99 is above the limit.
        refuting: the same of those at its own threshold or a shallower one.
    """

    row: Row
    acc1: float | None
    measured: Candidate | None
    simulated_per_s: float | None
    timed: int | None = None
    exceeded: Candidate | None = None
    refuting: Candidate | None = None

    @property
    def name(self) -> str:
        """Model and threshold."""
        return format_model(self.row["model"], format_threshold(self.row))


def choose_at_rate(
    root: storage.Root, run_id: str, limit_ms: float, per_s: float, narrowing: Mapping[str, str]
) -> tuple[Candidate, list[Candidate], list[str]]:
    """Choose the highest accuracy whose 99th percentile is within a limit at a rate.

    Args:
        root: the results root.
        run_id: the run.
        limit_ms: the highest 99th percentile.
        per_s: requests per second; if the run served none at this rate, or too few for a
            percentile, all is simulated.
        narrowing: required values of some of NARROWING.

    Returns: the best, all that were compared, measured ones if any was measured there, and if none
        was, which models can be neither measured nor simulated, and why.

    Raises:
        UsageError: nothing is within the limit, nothing is known, or it is of several data sets; or
            the limit or the rate is no number that can be measured.
    """
    _check_limit(limit_ms)
    if not MIN_ARRIVALS_PER_S <= per_s <= MAX_REQUESTS:
        raise UsageError(
            f"--at {per_s:g}: give requests per second, from {MIN_ARRIVALS_PER_S:g} to"
            f" {MAX_REQUESTS:,}, as in a grid"
        )
    cells = read_meant(root, run_id, narrowing)
    rows = _served(root, run_id, narrowing)
    measured = [*map(_measured, rows)]
    served = [each for each in measured if each.per_s == per_s]
    is_measured = any(each.p99_ms is not None or each.row["is_overloaded"] for each in served)
    every = (
        served
        if is_measured
        else [
            Candidate(
                *(model.row, model.acc1, per_s, _p99_ms(model.simulate(per_s))),
                is_simulated=True,
                timed=model.timed,
                refuting=_find_refuting(model.row, measured, limit_ms, per_s),
            )
            for model in _simulable(root, run_id, rows, narrowing)
        ]
    )
    there, compared = [each.row for each in served], [each.row for each in every]
    left_out = [] if is_measured else explain_left_out(root, run_id, cells, there, compared)
    if not every:
        if there:
            listed = "".join(f"\n  {reason}" for reason in left_out)
            asked = f"{format_narrowing(narrowing)} at {per_s:g}/s"
            raise UsageError(f"run {run_id} has no 99th percentile{asked}:{listed}")
        raise UsageError(_nothing_known(run_id, rows, narrowing, f" at {per_s:g}/s"))
    _check_dataset(run_id, every)
    within = [each for each in every if each.p99_ms is not None and each.p99_ms <= limit_ms]
    if not within:
        more = "".join(f"\n  not compared: {reason}" for reason in left_out)
        raise UsageError(_none_within(every, limit_ms, per_s) + more)
    best = max(within, key=lambda each: (each.acc1 or 0.0, -(each.p99_ms or 0.0)))
    bounded = _with_bound(root, run_id, best)
    return bounded, [bounded if each is best else each for each in every], left_out


def _check_limit(limit_ms: float) -> None:
    if not math.isfinite(limit_ms):
        raise UsageError(f"--max-p99-ms {limit_ms:g}: give milliseconds, a finite number")


def _check_dataset(run_id: str, every: Sequence[Candidate]) -> None:
    """Refuse to compare accuracies of different images."""
    datasets = dict.fromkeys(each.row["dataset"] for each in every)
    if len(datasets) > 1:
        listed = "\n".join(f"  --dataset {name}" for name in datasets)
        raise UsageError(
            f"run {run_id} has {len(datasets)} data sets, whose accuracies do not compare; choose"
            f" one of:\n{listed}"
        )


def pass_of(root: storage.Root, run_id: str, best: Candidate) -> Row:
    """Return the all-exit pass of a chosen model, as a row of `choosable`.

    Raises:
        UsageError: it is static, or there is no such pass.
    """
    own = _key(best.row)[:-2]
    found = next((cell for cell in _passes(root, run_id) if _key(_at(cell, ()))[:-2] == own), None)
    if found is None or not best.vector:
        raise UsageError(
            f"--write: {best.name} has no thresholds to write: it is static, or run {run_id} has no"
            " finished all-exit pass of it"
        )
    return found


def find_rates(
    root: storage.Root, run_id: str, limit_ms: float, narrowing: Mapping[str, str]
) -> list[RateLimit]:
    """Find how fast requests may arrive at each served model; of a run without, at any simulated.

    Raises:
        UsageError: nothing is known, or the limit is not finite.
    """
    _check_limit(limit_ms)
    read_meant(root, run_id, narrowing)
    rows = _served(root, run_id, narrowing)
    models = list(_simulable(root, run_id, rows, narrowing, only_served=bool(rows)))
    simulated = {_key(model.row): model for model in models}
    if not rows and not models:
        raise UsageError(_nothing_known(run_id, rows, narrowing))
    found = []
    measured = [*map(_measured, rows)]
    for key, group in groupby(measured, key=lambda each: _key(each.row)):
        cells = sorted(group, key=operator.attrgetter("per_s"))
        highest = None
        for cell in cells:
            if cell.p99_ms is None or cell.p99_ms > limit_ms:
                break
            highest = cell
        model = simulated.pop(key, None)
        rate = model.highest_rate(limit_ms) if model else None
        timed = model.timed if model else None
        exceeded = next((cell for cell in cells if cell.floor[0] > limit_ms), None)
        refuting = _find_refuting(cells[0].row, measured, limit_ms)
        found.append(
            RateLimit(cells[0].row, cells[0].acc1, highest, rate, timed, exceeded, refuting)
        )
    found += [
        RateLimit(model.row, model.acc1, None, model.highest_rate(limit_ms), model.timed)
        for model in simulated.values()
    ]
    return found


def _served(root: storage.Root, run_id: str, narrowing: Mapping[str, str]) -> list[Row]:
    """The serving cells that are meant; the rates of one model follow each other."""
    table = storage.named_query(root, "served_in", run_ids=[run_id], run_id=run_id)
    rows: list[Row] = table.to_pylist()
    places = {key: place for place, key in enumerate(dict.fromkeys(map(_key, rows)))}
    meant = _with_lent(root, run_id, [row for row in rows if is_meant(row, narrowing)])
    return sorted(meant, key=lambda row: places[_key(row)])


def _with_lent(root: storage.Root, run_id: str, rows: Sequence[Row]) -> list[Row]:
    """Give rows whose device borrows its accuracy that one, in the place of its sample's."""
    lent = {_key(row): row for row in _ladder(root, run_id) if row["accuracy_from"]}
    passes = {_key(_at(cell, ()))[:-2]: cell for cell in _passes(root, run_id)}
    found: list[Row] = []
    for row in rows:
        own = lent.get(_key(row))
        cell = passes.get(_key(row)[:-2])
        if own is None and cell is not None:
            own = read_bounds(root, run_id, cell, _vector(row))
        taken = ("acc1", "accuracy_from", "acc1_bound_points") if own else ()
        found.append({**row, **{name: own[name] for name in taken if own}})
    return found


def _with_bound(root: storage.Root, run_id: str, chosen: Candidate) -> Candidate:
    """Give a candidate whose accuracy is borrowed its bound; without a bound it has neither."""
    row = chosen.row
    if not row.get("accuracy_from") or "acc1_bound_points" in row:
        return chosen
    bounds = read_bounds(root, run_id, row, _vector(row)) or {}
    bounded = {**row, "acc1_bound_points": bounds.get("acc1_bound_points")}
    return replace(chosen, row=bounded, acc1=bounds.get("acc1"))


def _ladder(root: storage.Root, run_id: str) -> list[Row]:
    rows: list[Row] = storage.named_query(
        root, "measured_in", run_ids=[run_id], run_id=run_id
    ).to_pylist()
    return rows


def _passes(root: storage.Root, run_id: str) -> list[Row]:
    cells: list[Row] = storage.named_query(
        root, "choosable", run_ids=[run_id], run_id=run_id
    ).to_pylist()
    return cells


def _key(row: Row) -> tuple[object, ...]:
    thresholds = row["thresholds"]
    return (
        *(row[name] for name in ("model", *SETTING)),
        row["threshold"],
        tuple(thresholds) if thresholds else None,
    )


def _measured(row: Row) -> Candidate:
    p99_ms = row["p99_ms"] if row["is_valid"] is not False else None
    return Candidate(row, row["acc1"], row["arrivals_per_s"], p99_ms, is_simulated=False)


def _find_refuting(
    row: Row, measured: Sequence[Candidate], limit_ms: float, per_s: float = math.inf
) -> Candidate | None:
    """Return the cell at the lowest rate that shows a model to be above a limit at a rate.

    A request is answered no sooner at a higher rate, nor if no image exits earlier.
    """
    above = (
        each
        for each in measured
        if each.floor[0] > limit_ms
        and each.per_s <= per_s
        and _key(each.row)[:-2] == _key(row)[:-2]
        and all(map(operator.le, each.vector, _vector(row)))
    )
    return min(above, key=lambda each: (each.per_s, each.vector != _vector(row)), default=None)


def _p99_ms(found: SimulatedResponses) -> float | None:
    return found.percentiles_ms.get(P99)


@dataclass(frozen=True)
class _Simulable:
    """A model at one threshold whose times at each exit are known."""

    row: Row
    acc1: float | None
    mean_ms: float
    timed: int
    simulate: Callable[[float], SimulatedResponses]

    def highest_rate(self, limit_ms: float) -> float:
        """Return the highest rate within a limit, by bisection; 0 if there is none."""
        busy = 1000 / self.mean_ms
        low, high = _ONE_AT_A_TIME * busy, busy
        if not self._is_within(low, limit_ms):
            return 0.0
        for _ in range(_RATE_STEPS):
            middle = (low + high) / 2
            low, high = (middle, high) if self._is_within(middle, limit_ms) else (low, middle)
        return low

    def _is_within(self, per_s: float, limit_ms: float) -> bool:
        p99_ms = _p99_ms(self.simulate(per_s))
        return p99_ms is not None and p99_ms <= limit_ms


def _simulable(
    root: storage.Root,
    run_id: str,
    served: Sequence[Row],
    narrowing: Mapping[str, str],
    *,
    only_served: bool = False,
) -> Iterator[_Simulable]:
    """Yield the models whose times are known, at served thresholds and at others.

    Args:
        root: the results root.
        run_id: the run.
        served: its serving cells that are meant.
        narrowing: required values of some of NARROWING.
        only_served: leave out thresholds that were not served.
    """
    wanted = {_key(row) for row in served}
    for row in _ladder(root, run_id):
        is_static = row["threshold"] is None and not row["thresholds"]
        if not is_static or not is_meant(row, narrowing) or row["kind"] != "latency":
            continue
        if only_served and _key(row) not in wanted:
            continue
        times = read_service_times(root, run_id, row["cell_id"])
        if times and len(times.exit_blocks) == 1:
            exits = np.zeros(len(times.image_ids), np.int64)
            yield _make(row, row["acc1"], times, times.image_ids, exits)
    for cell in _passes(root, run_id):
        times = read_service_times(root, run_id, cell["cell_id"])
        if not times or not is_meant(cell, narrowing):
            continue
        answers = read_exit_answers(root, run_id, cell)
        ids = np.array(
            storage.named_query(
                root, "pass_images", run_ids=[run_id], run_id=run_id, cell_id=cell["source_id"]
            ).column("image_id"),
            np.int64,
        )
        place = _key(_at(cell, ()))[:-2]
        vectors = [_vector(row) for row in served if _key(row)[:-2] == place]
        if not only_served:
            points = read_points(root, run_id, cell, SIMULATED_POINTS)
            vectors += [(row["threshold"],) * answers.gates for row in points]
        for vector in dict.fromkeys(vectors):
            acc1 = answers.point(vector).accuracy_pct
            yield _make(_at(cell, vector), acc1, times, ids, answers.exits_of(vector))


def _at(cell: Row, vector: Vector) -> Row:
    """A row of `choosable` at thresholds, one per gate, as a row of `cells` has them."""
    return {**cell, "threshold": common_threshold(vector), "thresholds": list(vector) or None}


def _vector(row: Row) -> Vector:
    return tuple(row["thresholds"] or ())


def _make(
    row: Row,
    acc1: float | None,
    times: ServiceTimes,
    image_ids: Indices,
    exits: NDArray[np.integer],
) -> _Simulable:
    """Simulate on the images that were timed, which requests take in turn."""
    is_timed = np.isin(image_ids, times.image_ids)
    ids, exits = image_ids[is_timed], exits[is_timed]
    mean_ms = float(times.ms.mean(axis=(0, 1))[exits].mean())
    return _Simulable(row, acc1, mean_ms, times.timed, partial(simulate_rate, times, ids, exits))


def _nothing_known(
    run_id: str, rows: Sequence[Row], narrowing: Mapping[str, str], at: str = ""
) -> str:
    served = sorted({row["arrivals_per_s"] for row in rows})
    known = f"it was served at {', '.join(f'{rate:g}' for rate in served)}/s; " if served else ""
    return (
        f"run {run_id} has no response{format_narrowing(narrowing)}{at}: {known}"
        "`measure: [serving]` measures it, and it is simulated from exit costs at batch 1 and the"
        " answers of every exit (`measure: [accuracy, latency, exit_costs]`)"
    )


def _none_within(every: Sequence[Candidate], limit_ms: float, per_s: float) -> str:
    known = [each for each in every if each.p99_ms is not None]
    what = "simulated" if every[0].is_simulated else "measured"
    if not known and every[0].is_simulated:
        return (
            f"nothing is within {limit_ms:g} ms at {per_s:g}/s: all are overloaded in the"
            " simulation; choose a lower rate with --at"
        )
    if not known:
        return (
            f"no 99th percentile is known at {per_s:g}/s: all are overloaded, not valid, or have"
            " too few requests (`gfjobs summary --load` says which); serve fewer requests per"
            " second, or for longer"
        )
    best = min(known, key=lambda each: each.p99_ms or 0.0)
    return (
        f"nothing is within {limit_ms:g} ms at {per_s:g}/s: the lowest 99th percentile {what} is"
        f" {best.p99_ms:.4g} ms ({best.name} on {format_setting(best.row)}); allow more, or"
        " choose a lower rate with --at"
    )
