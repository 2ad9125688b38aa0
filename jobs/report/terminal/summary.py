"""The ladder of a run and its exit histograms, for the terminal. Figures come from SQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

import storage
from jobs.analysis.latency_intervals import (
    FEWEST_ROUNDS,
    MeanLatency,
    Means,
    make_key,
    mean_latencies,
)
from jobs.common.formatting import (
    EXIT_COLUMNS,
    PLACE,
    Row,
    find_axes,
    find_varying,
    format_accuracy,
    format_axes,
    format_blocks,
    format_constant,
    format_count,
    format_exit,
    format_fixed,
    format_model,
    format_speedup,
    format_threshold,
    format_variant,
    has_speedups,
    name_axis,
    name_lender,
)
from jobs.common.tables import INVALID, fitting_table, take_first, text_table
from jobs.common.text import format_paragraphs

BAR_WIDTH = 25
DRAWN_HISTOGRAMS = 10
"""Histograms shown in a terminal; each is a table."""

TEN_MS = 10
MEDIAN_IMAGES = 11
"""Fewest timings for a median, as in queries/ladder/exit_histogram.sql."""

_OF_LADDER = {"exits", "records"}
"""The tables that the ladder's rows are computed from."""

_OF_LOAD = {
    "responses": "arrivals_per_s, p99_ms from served",
    "throughput": "batch_size, images_per_s from throughputs",
}
"""What to ask of the rows of each table under load."""

_SPEEDUP = ("speed-\nup", "95 %")
_DROPPABLE = ("params", "acc@5", "mJ\nsaved", "blocks", "mJ", _SPEEDUP[1])
_ON_DEVICE = ("device", "host %")
_DROPPABLE_TIMES = ("img/s", "elapsed", "p90", "p99", *_ON_DEVICE)
"""Columns that a narrow terminal does not get, the least important first."""


def ladder(root: storage.Root, run_id: str, *, is_all: bool = False) -> str:
    """Formats the ladder of a run per data set and device, and why figures are missing."""
    rows = storage.named_query(root, "summary", run_ids=[run_id]).to_pylist()
    cells = storage.named_query(root, "status", run_ids=[run_id], run_id=run_id).to_pylist()
    skipped = _skipped(cells)
    if not rows:
        is_profiled = any(cell["kind"] == "profile" and cell["rows"] for cell in cells)
        hint = (
            f"see its profile with:\n  gfjobs summary {run_id} --profile\n" if is_profiled else ""
        )
        return f"the ladder is empty: {_why_empty(cells)}\n{hint}{format_paragraphs(skipped)}"
    means = mean_latencies(root, run_id)
    parts = []
    for _, grouped in groupby(rows, key=lambda row: [row[key] for key in PLACE]):
        group = list(grouped)
        parts += [_ladder_table(group, is_all=is_all), _latency_table(group, means, is_all=is_all)]
    said = format_paragraphs([*reasons(rows, means), *_at_full_depth(rows, cells), *skipped])
    return "\n".join(part for part in [*parts, said] if part)


def next_query(root: storage.Root, run_id: str) -> str | None:
    """Returns a first SQL query over the rows of a run; None if it has none to show."""
    cells = storage.named_query(root, "status", run_ids=[run_id], run_id=run_id).to_pylist()
    tables = {storage.KINDS[cell["kind"]].table for cell in cells if cell["rows"]}
    if not tables.isdisjoint(_OF_LADDER):
        return f"select model, acc1, forward_ms from ladder where run_id = '{run_id}'"  # noqa: S608 - a checked name
    if "exit_costs" in tables:
        source = "exit_means join cells using (run_id, cell_id)"
        return f"select model, exit_block, forward_ms from {source} where run_id = '{run_id}'"  # noqa: S608 - a checked name
    for table, columns in _OF_LOAD.items():
        if table in tables:
            return f"select model, threshold, {columns} where run_id = '{run_id}'"
    return None


def exit_histogram(root: storage.Root, run_id: str, *, is_all: bool = False) -> str:
    """Formats, per early-exit model, how many images exit at each exit, and its latency."""
    rows = storage.named_query(root, "exit_histogram", run_ids=[run_id], run_id=run_id).to_pylist()
    names, parts, is_short = find_varying(rows), [], False
    grouped = [list(group) for _, group in groupby(rows, key=lambda r: (r["cell_id"], r["node"]))]
    # A static model has one exit, and nothing was routed without a threshold.
    early = [exits for exits in grouped if len(exits) > 1 and format_threshold(exits[0]) != "–"]
    drawn, more = take_first(early, "cells with exits", is_all=is_all, most=DRAWN_HISTOGRAMS)
    for exits in drawn:
        cells = [
            (
                *format_exit(row["exit_block"], row["depth"]),
                row["images"],
                f"{row['share_pct']:.1f}",
                format_fixed(row["median_forward_ms"], 3),
                "█" * round(row["share_pct"] / 100 * BAR_WIDTH),
            )
            for row in exits
        ]
        setting = format_variant(exits[0], names)
        place = f"{exits[0]['dataset']}{setting and f' ({setting})'}"
        borrowed = name_lender(exits[0]).replace("accuracy ", "")
        title = f"{exits[0]['model']} at {format_threshold(exits[0])} on {place}: exits{borrowed}"
        is_short |= any(row["median_forward_ms"] is None for row in exits)
        columns = (*EXIT_COLUMNS, "images", "%", "median ms", "")
        parts.append(text_table(columns, cells, title))
    if more:
        parts.append(f"{more}\n")
    if is_short:
        parts.append(
            f"– median ms: not shown for fewer than {MEDIAN_IMAGES} good timings at an exit\n"
        )
    return "\n".join(parts)


def _at_full_depth(rows: Sequence[Row], cells: Sequence[Row]) -> list[str]:
    """Which models with exits are shown at full depth, since nothing was routed."""
    unrouted = {
        cell["cell_id"]
        for cell in cells
        if cell["kind"] == "exits"
        and any(block < cell["depth"] - 1 for block in cell["exit_blocks"])
    }
    models = dict.fromkeys(row["model"] for row in rows if row["cell_id"] in unrouted)
    if not models:
        return []
    is_timed = any(cell["kind"] == "latency" for cell in cells)
    why = "there" if is_timed else "(`measure` has no latency)"
    said = (
        f"– {', '.join(models)}: at full depth, since no image was routed {why}; `gfjobs curve`"
        " shows the accuracy at every threshold"
    )
    return [said]


def _skipped(cells: Sequence[Row]) -> list[str]:
    """The reasons for skipped cells, with their number of cells."""
    counts = Counter(cell["note"] for cell in cells if cell["status"] == "skipped")
    return [
        f"– {number} {'cell is' if number == 1 else 'cells are'} skipped: {reason}"
        for reason, number in counts.items()
    ]


def _why_empty(cells: Sequence[Row]) -> str:
    if cells and all(cell["status"] == "skipped" for cell in cells):
        return "every cell is skipped"
    if all(storage.KINDS[cell["kind"]].table not in _OF_LADDER for cell in cells):
        return "its grid measures neither accuracy nor latency"
    return "no accuracy or latency yet"


def _ladder_table(rows: Sequence[Row], *, is_all: bool) -> str:
    """Accuracy, blocks, latency and energy of each model, in each way that it was run."""
    axes, is_compared = find_axes(rows), has_speedups(rows)
    columns = (
        "model",
        *map(name_axis, axes),
        *("params", "t", "acc@1", "acc@5", "blocks", "ms"),
        *(_SPEEDUP if is_compared else ()),
        *("mJ", "mJ\nsaved"),
    )
    cells = []
    for row in rows:
        forward_ms, *energy = _worth(row)
        cells.append(
            (
                row["model"],
                *format_axes(row, axes),
                format_count(row["params"]),
                format_threshold(row),
                format_accuracy(row),
                format_fixed(row["acc5"], 2),
                format_blocks(row),
                forward_ms,
                *(format_speedup(row) if is_compared else ()),
                *energy,
            )
        )
    title = format_constant(rows[0], axes)
    is_wide = axes or any(row.get("accuracy_from") for row in rows)
    droppable = _DROPPABLE if is_wide else ()
    return fitting_table(columns, cells, "rows", title, droppable=droppable, is_all=is_all)


def _worth(row: Row) -> tuple[str, str, str]:
    """Latency, energy and saving; for an invalid row, only the latency, and INVALID."""
    forward_ms, saving_pct = format_fixed(row["forward_ms"], 2), row["energy_saving_pct"]
    if is_invalid(row):  # of a failed cell without any time, the note says why
        return forward_ms, "–" if row["forward_ms"] is None else INVALID, "–"
    saving = format_fixed(saving_pct, 1) + ("" if saving_pct is None else " %")
    return forward_ms, format_fixed(row["energy_mj"], 2), saving


def _latency_table(rows: Sequence[Row], means: Means, *, is_all: bool) -> str:
    """The forward latency: mean and percentiles, the time including loading, and the device's."""
    timed = [row for row in rows if row["forward_ms"] is not None]
    if not timed:
        return ""
    axes = find_axes(rows)
    is_by_device = any(row["device_ms"] is not None for row in timed)
    columns = (
        "model",
        *map(name_axis, axes),
        *("t", "mean", "95 %", "p50", "p90", "p99", "elapsed", "img/s"),
        *(_ON_DEVICE if is_by_device else ()),
    )
    cells = [
        (
            row["model"],
            *format_axes(row, axes),
            format_threshold(row),
            _ms(row["forward_ms"]),
            *_spread(row, means),
            *(_by_device(row) if is_by_device else ()),
        )
        for row in timed
    ]
    title = "forward latency per image in ms; elapsed: with loading"
    if is_by_device:
        title += "; device: by its own clock; host %: of the mean, outside that"
    droppable = _DROPPABLE_TIMES if axes or is_by_device else ()
    return fitting_table(columns, cells, "rows", title, droppable=droppable, is_all=is_all)


def _spread(row: Row, means: Means) -> tuple[str, ...]:
    """The columns after the mean; for an invalid row, only INVALID."""
    if is_invalid(row):
        return INVALID, "–", "–", "–", "–", "–"
    names = ("p50_ms", "p90_ms", "p99_ms", "elapsed_ms")
    margin = _margin(row["forward_ms"], means.get(make_key(row)))
    return margin, *(_ms(row[name]) for name in names), format_fixed(row["fps"], 0)


def _by_device(row: Row) -> tuple[str, str]:
    """The time by the device's clock, and the share of the mean that is not in it."""
    if is_invalid(row):
        return "–", "–"
    return _ms(row["device_ms"]), format_fixed(row["host_share_pct"], 1)


def _margin(forward_ms: float, mean: MeanLatency | None) -> str:
    """The half-width of the mean's interval, with as many decimals as the mean."""
    return format_margin(mean, _digits(forward_ms))


def format_margin(mean: MeanLatency | None, digits: int) -> str:
    """Formats the half-width of a mean's interval, or a dash if there is none worth showing."""
    margin_ms = mean.margin_ms(digits) if mean else None
    return "–" if margin_ms is None else f"±{format_fixed(margin_ms, digits)}"


def _ms(ms: float | None) -> str:
    return "–" if ms is None else format_fixed(ms, _digits(ms))


def _digits(ms: float) -> int:
    """Decimals of milliseconds: a table of slow models must fit 80 columns too."""
    return 3 if ms < TEN_MS else 2


def is_invalid(row: Row) -> bool:
    """Whether a row is known to be invalid; false if that is not known yet."""
    return row["is_valid"] is False


def reasons(rows: Sequence[Row], means: Means | None) -> Iterator[str]:
    """Yields why figures are missing or uncertain: each reason once, with the rows that have it.

    Nothing is said of intervals if `means` is None: they were not computed.
    """
    about: dict[str, list[Row]] = {}
    for row in rows:
        own = (
            *(row["note"] or "").split("; "),
            describe_known(row),
            _about_interval(row, means),
            _about_speedup(row),
        )
        for reason in filter(None, own):
            about.setdefault(reason, []).append(row)
    for reason, named in about.items():
        names = ", ".join(_name_rows(named, rows))
        yield f"– {reason}" + (f" ({names})" if names else "")


def _name_rows(named: Sequence[Row], rows: Sequence[Row]) -> Iterator[str]:
    """Yields names for some rows of a ladder, as short as they can be; none for all rows.

    A threshold is named if other rows of its model are not, a data set if there are several.
    """
    ids = {id(row) for row in named}
    if all(id(row) in ids for row in rows):
        return
    datasets = dict.fromkeys(row["dataset"] for row in rows)
    for dataset in datasets:
        alike = [row for row in rows if row["dataset"] == dataset]
        ours = [row for row in alike if id(row) in ids]
        suffix = f" on {dataset}" if len(datasets) > 1 else ""
        if len(ours) == len(alike):
            yield f"all{suffix}"
            continue
        models: dict[str, None] = {}
        for row in ours:
            is_whole = all(id(each) in ids for each in alike if each["model"] == row["model"])
            threshold = "–" if is_whole else format_threshold(row)
            models[format_model(row["model"], threshold)] = None
        yield from (f"{name}{suffix}" for name in models)


def describe_known(cell: Row) -> str | None:
    """Say after how many rounds the figures of a cell were known; None if they were not, or any.

    The note of a cell says how well they are known after the most rounds. A baseline's ratio to
    itself, which reaches 0, was always known.
    """
    until_pct, reached_pct = cell["until_pct"], cell["reached_pct"]
    if until_pct is None or reached_pct is None or reached_pct > until_pct:
        return None
    if cell["until_of"] == "ratio" and reached_pct == 0:
        return None
    of = "each ratio to the baseline" if cell["until_of"] == "ratio" else "each mean"
    return (
        f"until {until_pct:g} % of {of}: known after {cell['rounds']} of at most"
        f" {cell['max_rounds']} rounds"
    )


def _about_speedup(row: Row) -> str | None:
    """Why a shown mean has no speed-up."""
    return None if row["forward_ms"] is None or is_invalid(row) else row["speedup_note"]


def _about_interval(row: Row, means: Means | None) -> str | None:
    """Why a shown mean has no interval."""
    if means is None or row["forward_ms"] is None or is_invalid(row):
        return None
    mean = means.get(make_key(row))
    if mean is None:
        return "95 %: too few samples for an interval"
    if mean.interval_ms is None:
        rounds = f"{mean.rounds} round{'s' if mean.rounds > 1 else ''}"
        return f"95 %: {rounds}: no interval worth showing, from {FEWEST_ROUNDS} on"
    return None
