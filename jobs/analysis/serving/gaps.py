"""Why figures under load are missing or doubtful: each reason once, with what it holds for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from jobs.analysis.serving.left_out import explain_no_p99, name_reasons
from jobs.analysis.serving.limit import P99_SAMPLES, Candidate, RateLimit
from jobs.analysis.serving.served import NO_STATIC_TIMES, NO_TIMES
from jobs.common.formatting import Row

NO_ACCURACY = "acc@1: not known without a finished all-exit pass (measure: [accuracy])"


def explain_unsimulated(row: Row) -> str:
    """Say what a simulation of a model lacks."""
    return NO_STATIC_TIMES if row["threshold"] is None and not row["thresholds"] else NO_TIMES


def explain_few_times(timed: Iterable[int | None]) -> list[str]:
    """Say if simulations draw from fewer times than a 99th percentile needs."""
    fewest = min((number for number in timed if number is not None), default=P99_SAMPLES)
    if fewest >= P99_SAMPLES:
        return []
    said = (
        f"simulated from {fewest:,} times of each exit: rare slow ones may be missing, a p99 needs"
        f" {P99_SAMPLES}; time more images or rounds"
    )
    return [said]


def explain_rates(found: Sequence[RateLimit]) -> list[str]:
    """Say why models have no accuracy, no measured or no simulated rate."""
    return name_reasons((reason, each.name) for each in found for reason in _gaps_of_rate(each))


def explain_refuted(every: Sequence[Candidate]) -> list[str]:
    """Say which measured cells refute simulated ones."""
    refuted = ((each, cell) for each in every if (cell := each.refuting))
    doubt = "do not rely on the simulated p99 at {:g}/s, since {} was measured of {} at {:g}/s"
    return name_reasons(
        (doubt.format(each.per_s, cell.floor[1], cell.name, cell.per_s), each.name)
        for each, cell in refuted
    )


def explain_candidates(every: Sequence[Candidate]) -> list[str]:
    """Say why models have no accuracy or no 99th percentile."""
    return name_reasons((reason, each.name) for each in every for reason in _gaps_of(each))


def _gaps_of_rate(each: RateLimit) -> Iterator[str]:
    if each.acc1 is None:
        yield NO_ACCURACY
    if each.measured is None:
        yield f"no rate as measured: {_explain_no_rate(each)}"
    if each.simulated_per_s is None:
        yield explain_unsimulated(each.row)
    elif not each.simulated_per_s:
        yield "no rate as simulated: a single request at a time is above the limit"


def _explain_no_rate(each: RateLimit) -> str:
    lowest = each.row.get("arrivals_per_s")
    if lowest is None:
        return "it was not served (measure: [serving])"
    cell = each.exceeded
    if cell and cell.per_s == lowest and not cell.row["is_overloaded"]:
        return f"{cell.floor[1]} at {lowest:g}/s, its lowest rate, is above the limit"
    return f"{explain_no_p99(each.row)}, at {lowest:g}/s"


def _gaps_of(each: Candidate) -> Iterator[str]:
    if each.acc1 is None:
        yield NO_ACCURACY
    if each.p99_ms is None:
        why = "overloaded in the simulation" if each.is_simulated else explain_no_p99(each.row)
        yield f"no p99: {why}"
