"""Models of a run whose response at a rate is neither measured nor simulated, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import storage
from jobs.analysis.serving.served import NO_STATIC_TIMES, NO_TIMES
from jobs.analysis.serving.service_times import read_service_times
from jobs.analysis.thresholds.choose import format_narrowing, list_choices
from jobs.common.errors import UsageError
from jobs.common.formatting import (
    SETTING,
    Row,
    format_model,
    format_setting,
    format_threshold,
    list_some,
)

NO_ANSWERS = "simulation: no all-exit pass is finished (measure: [accuracy])"

_OF_OTHERS = ("accuracy:", "p50 ", "p90 ")
"""How the parts of a cell's note begin that do not say why it has no 99th percentile."""


def name_reasons(reasons: Iterable[tuple[str, str]]) -> list[str]:
    """Return each reason once, with the names that it holds for; an empty reason is none."""
    about: dict[str, list[str]] = {}
    for reason, name in reasons:
        if reason:
            about.setdefault(reason, []).append(name)
    return [f"{reason} ({list_some(names, '; ')})" for reason, names in about.items()]


def explain_no_p99(row: Row) -> str:
    """Say why a served cell has no 99th percentile."""
    said = [part for part in (row["note"] or "").split("; ") if not part.startswith(_OF_OTHERS)]
    return "; ".join(said) or "not known"


def is_meant(row: Row, narrowing: Mapping[str, str]) -> bool:
    """Whether a row has the required values."""
    return all(str(row[name]) == value for name, value in narrowing.items())


def read_meant(root: storage.Root, run_id: str, narrowing: Mapping[str, str]) -> list[Row]:
    """Read the cells of all kinds that are meant; one without a node only if none alike has one.

    Raises:
        UsageError: there is none; it lists what can be asked for.
    """
    table = storage.named_query(root, "status", run_ids=[run_id], run_id=run_id)
    every: list[Row] = table.to_pylist()
    begun = {_of_model({**row, "node": None}) for row in every if row["node"] is not None}
    rows = [row for row in every if row["node"] is not None or _of_model(row) not in begun]
    meant = [row for row in rows if is_meant(row, narrowing)]
    if rows and not meant:
        raise UsageError(
            f"run {run_id} has nothing{format_narrowing(narrowing)}; choose one of:\n"
            f"{list_choices(rows, narrowing)}"
        )
    return meant


def explain_left_out(
    root: storage.Root,
    run_id: str,
    cells: Sequence[Row],
    served: Sequence[Row],
    compared: Iterable[Row],
) -> list[str]:
    """Say which models are not compared at a rate at which all is simulated, and why.

    Args:
        root: the results root.
        run_id: the run.
        cells: those of all kinds that are meant.
        served: those that were served at the rate.
        compared: rows of the models that are compared.
    """
    done = {_of_model(row) for row in compared}
    missing: dict[tuple[object, ...], list[Row]] = {}
    for row in cells:
        if _of_model(row) not in done:
            missing.setdefault(_of_model(row), []).append(row)
    passes = storage.named_query(root, "choosable", run_ids=[run_id], run_id=run_id).to_pylist()
    passed = {_of_model(cell) for cell in passes}
    is_one = len({format_setting(row) for row in cells}) == 1

    reasons = []
    for model, rows in missing.items():
        lacks = [*_find_lacks(root, run_id, rows, has_answers=model in passed)]
        there = [row for row in served if _of_model(row) == model]
        of_model = [(explain_no_p99(row), format_threshold(row)) for row in there]
        for why, threshold in of_model or [("not served at this rate", "–")]:
            name = format_model(rows[0]["model"], threshold)
            place = "" if is_one else f" on {format_setting(rows[0])}"
            reasons.append(("; ".join([why, *lacks]), f"{name}{place}"))
    return name_reasons(reasons)


def _find_lacks(
    root: storage.Root, run_id: str, rows: Sequence[Row], *, has_answers: bool
) -> Iterator[str]:
    """Say what the simulation of a model lacks."""
    if all(row["status"] == "skipped" for row in rows):
        yield from dict.fromkeys(f"skipped: {row['note']}" for row in rows)
        return
    has_gates = any(block + 1 != row["depth"] for row in rows for block in row["exit_blocks"] or ())
    if not read_service_times(root, run_id, rows[0]["cell_id"]):
        yield NO_TIMES if has_gates else NO_STATIC_TIMES
    if has_gates and not has_answers:
        yield NO_ANSWERS


def _of_model(row: Row) -> tuple[object, ...]:
    return tuple(row[name] for name in ("model", *SETTING))
