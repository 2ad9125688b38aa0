"""Throughput and responses of a run's models under load, as text. Figures come from SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import storage
from jobs.analysis.serving.gaps import (
    NO_ACCURACY,
    explain_few_times,
    explain_unsimulated,
)
from jobs.analysis.serving.left_out import name_reasons
from jobs.analysis.serving.served import ServedCell, has_load, read_served
from jobs.analysis.serving.simulation import PERCENTILES
from jobs.common.errors import UsageError
from jobs.common.formatting import (
    PLACE,
    Row,
    find_axes,
    find_varying,
    format_axes,
    format_constant,
    format_fixed,
    format_model,
    format_threshold,
    format_variant,
    name_axis,
)
from jobs.common.tables import INVALID, fitting_table
from jobs.common.text import format_paragraphs

T = TypeVar("T")

_NO_BATCH = ("runtime", "precision", "threads")
_TEN_MS = 10
_OVERLOAD = "overload"

_ENCODED = """
run_id text, cell_id text, kind text, status text, model text, dataset text, device text,
node text, runtime text, precision text, threads int, batch_size int, threshold float,
thresholds floats, rounds long, is_valid bool, note text, batches long, images long,
images_per_s double, forward_images_per_s double, is_best bool, arrivals_per_s double,
arrivals_s double, arrivals_seed long, requests long, answered long, is_overloaded bool,
answered_per_s double, busy_pct double, acc1 double, mean_blocks double, service_ms double,
wait_ms double, response_ms double, p50_ms double, p90_ms double, p99_ms double,
is_simulated_overloaded bool, simulated_busy_pct double, simulated_p50_ms double,
simulated_p90_ms double, simulated_p99_ms double, p50_error_pct double, p90_error_pct double,
p99_error_pct double, simulated_pause_ratio double
"""
"""Columns of a cell for other programs, with their types."""


def load(root: storage.Root, run_id: str, *, is_all: bool = False) -> str:
    """Formats the throughput and the responses of a run; empty if it measures neither."""
    if not has_load(root, run_id):
        return ""
    rates = _read_throughputs(root, run_id)
    served = read_served(root, run_id)
    parts = [_throughput_table(rows, is_all=is_all) for rows in _group(rates, _place)]
    for alike in _group(served, lambda cell: _place(cell.row)):
        parts.append(_responses_table(alike, is_all=is_all))
        if any(cell.simulated for cell in alike):
            parts.append(_simulation_table(alike, is_all=is_all))
    said = format_paragraphs(_reasons(rates, served))
    return "\n".join(part for part in [*parts, said] if part)


def encode_load(root: storage.Root, run_id: str, form: str) -> bytes:
    """Encode the same figures as `csv` or `json`: a row per cell, NULL where it has no such figure.

    Raises:
        UsageError: the run measures neither.
    """
    throughputs, served = _read_throughputs(root, run_id), read_served(root, run_id)
    if not throughputs and not served:
        raise UsageError(_why_nothing(run_id))
    rows = [
        *({"kind": "throughput", **row} for row in throughputs),
        *({"kind": "serving", **cell.figures()} for cell in served),
    ]
    names = [column.split()[0] for column in _ENCODED.split(",")]
    filled = [{name: row.get(name) for name in names} for row in rows]
    return storage.encode_rows(_ENCODED, filled, form)


def load_alone(root: storage.Root, run_id: str, *, is_all: bool = False) -> str:
    """Formats what `load` does.

    Raises:
        UsageError: the run measures neither throughput nor serving.
    """
    text = load(root, run_id, is_all=is_all)
    if not text:
        raise UsageError(_why_nothing(run_id))
    return text


def _why_nothing(run_id: str) -> str:
    return (
        f"run {run_id} measures no load; set measure: [accuracy, latency, exit_costs, throughput,"
        " serving] and serving: {arrivals: [10, 20, 40], seconds: 60} in its grid and submit it as"
        " a new run"
    )


def _read_throughputs(root: storage.Root, run_id: str) -> list[Row]:
    table = storage.named_query(root, "throughputs_in", run_ids=[run_id], run_id=run_id)
    rows: list[Row] = table.to_pylist()
    return rows


def _group(items: Iterable[T], key: Callable[[T], object]) -> Iterable[list[T]]:
    """Group items by a key, also those that do not follow each other; in the order of the first."""
    groups: dict[object, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups.values()


def _place(row: Row) -> tuple[object, ...]:
    return tuple(row[name] for name in PLACE)


def _throughput_table(rows: Sequence[Row], *, is_all: bool) -> str:
    """Images per second by batch size; the best of each model and threshold is marked."""
    axes = [name for name in find_axes(rows) if name in _NO_BATCH]
    columns = (
        *("model", *map(name_axis, axes), "t", "batch", "images/s", "forward\nimages/s", "best"),
    )
    cells = [
        (
            row["model"],
            *format_axes(row, axes),
            format_threshold(row),
            row["batch_size"],
            format_fixed(row["images_per_s"], 1),
            format_fixed(row["forward_images_per_s"], 1),
            INVALID if row["is_valid"] is False else "*" if row["is_best"] else "",
        )
        for row in rows
    ]
    title = f"{_title(rows[0], axes)}\nthroughput; forward: without loading"
    return fitting_table(columns, cells, "rows", title, droppable=(), is_all=is_all)


def _responses_table(cells: Sequence[ServedCell], *, is_all: bool) -> str:
    """Percentiles of the response by rate of arrivals."""
    rows = [cell.row for cell in cells]
    axes = [name for name in find_axes(rows) if name in _NO_BATCH]
    columns = (
        *("model", *map(name_axis, axes), "t", "acc@1", "/s", "requests", "busy %"),
        *("p50", "p90", "p99"),
    )
    lines = [
        (
            row["model"],
            *format_axes(row, axes),
            format_threshold(row),
            format_fixed(row["acc1"], 2),
            f"{row['arrivals_per_s']:g}",
            row["requests"],
            format_fixed(row["busy_pct"], 0),
            *(_percentiles(cell)),
        )
        for cell in cells
        for row in (cell.row,)
    ]
    title = f"{_title(rows[0], axes)}\nresponse in ms, waiting included; /s: arrivals per second"
    droppable = ("acc@1", "busy %")
    return fitting_table(columns, lines, "rows", title, droppable=droppable, is_all=is_all)


def _percentiles(cell: ServedCell) -> list[str]:
    """The measured percentiles; for an overloaded or invalid cell why there are none."""
    if not cell.is_valid:
        return [INVALID, "–", "–"]
    if cell.row["is_overloaded"]:
        return [_OVERLOAD, "–", "–"]
    return [_ms(cell.row[f"p{percentile}_ms"]) for percentile in PERCENTILES]


def _simulation_table(cells: Sequence[ServedCell], *, is_all: bool) -> str:
    """Simulated percentiles next to how far they are from the measured ones."""
    rows = [cell.row for cell in cells]
    axes = [name for name in find_axes(rows) if name in _NO_BATCH]
    pairs = [name for each in PERCENTILES for name in (f"p{each}", f"error\nof p{each}")]
    columns = ("model", *map(name_axis, axes), "t", "/s", "after\npause", *pairs)
    lines = [
        (
            cell.row["model"],
            *format_axes(cell.row, axes),
            format_threshold(cell.row),
            f"{cell.row['arrivals_per_s']:g}",
            _ratio(cell.simulated.pause_ratio),
            *(_simulated(cell)),
        )
        for cell in cells
        if cell.simulated
    ]
    title = (
        "simulated from exit costs, and the error against what was measured\n"
        "after pause: of an idle server, times what an exit costs"
    )
    droppable = ("after\npause",)
    return fitting_table(columns, lines, "rows", title, droppable=droppable, is_all=is_all)


def _ratio(ratio: float | None) -> str:
    return "–" if ratio is None else f"x{ratio:.2f}"


def _simulated(cell: ServedCell) -> list[str]:
    if cell.simulated and cell.simulated.is_overloaded:
        return [_OVERLOAD, *["–"] * (2 * len(PERCENTILES) - 1)]
    values = []
    for percentile in PERCENTILES:
        error = cell.error_pct(percentile)
        values.append(_ms(cell.simulated_ms(percentile)))
        values.append("–" if error is None else f"{error:+.1f} %")
    return values


def _title(row: Row, axes: Sequence[str]) -> str:
    return format_constant(row, [*axes, "batch_size"])


def _reasons(rates: Sequence[Row], served: Sequence[ServedCell]) -> list[str]:
    """Why figures are missing or doubtful: each reason once, with the cells that have it."""
    rows = [*rates, *(cell.row for cell in served)]
    varying = find_varying(rows)
    has_datasets = len({row["dataset"] for row in rows}) > 1

    def name(row: Row) -> str:
        place = f" on {row['dataset']}" if has_datasets else ""
        variant = format_variant(row, varying)
        return f"{_name(row)}{place}{variant and f' ({variant})'}"

    said = [(part, name(row)) for row in rows for part in (row["note"] or "").split("; ")]
    said += [(reason, name(cell.row)) for cell in served for reason in _gaps(cell)]
    few = explain_few_times(cell.timed for cell in served)
    return [f"– {reason}" for reason in [*name_reasons(said), *few]]


def _name(row: Row) -> str:
    """Name a cell by its model, threshold and load."""
    rate = row.get("arrivals_per_s")
    load_of = f"{rate:g}/s" if rate is not None else f"batch {row['batch_size']}"
    return f"{format_model(row['model'], format_threshold(row))}, {load_of}"


def _gaps(cell: ServedCell) -> Iterator[str]:
    """Yield what is missing of a cell that its note does not explain."""
    if cell.row["acc1"] is None:
        yield NO_ACCURACY
    if cell.simulated is None and cell.row["answered"]:
        yield explain_unsimulated(cell.row)
    elif cell.simulated and cell.simulated.pause_ratio is None:
        yield "after pause: not measured, so the simulation has no pauses"


def _ms(ms: float | None) -> str:
    return "–" if ms is None else format_fixed(ms, 3 if ms < _TEN_MS else 1)
