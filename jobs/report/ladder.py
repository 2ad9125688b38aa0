"""The ladder as text, with notes on missing figures: for the page and for Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jobs.analysis.curve import explain_borrowed
from jobs.analysis.latency_intervals import Means, make_key
from jobs.analysis.thresholds.exit_rules import explain_no_rules
from jobs.common.formatting import (
    PLACE,
    SETTING,
    Row,
    energy_sources,
    find_axes,
    format_accuracy,
    format_axes,
    format_blocks,
    format_constant,
    format_count,
    format_fixed,
    format_setting,
    format_speedup,
    format_threshold,
    has_speedups,
    name_axis,
)
from jobs.report.read import Report, Setting, select_setting, setting_key
from jobs.report.terminal.summary import format_margin, is_invalid, reasons

_DIGITS = 3  # of milliseconds


def ladder_columns(rows: Sequence[Row]) -> tuple[str, ...]:
    """Returns the names of the columns of `ladder_rows`.

    What a ladder is read for stands first, since a phone shows the first.
    """
    return (
        "model",
        *map(name_axis, find_axes(rows)),
        *("t", "acc@1", "ms", "95 %"),
        *(("speed-up", "speed-up, 95 %") if has_speedups(rows) else ()),
        *("mJ", "mJ saved", "blocks", "p50", "p90", "p99", "acc@5", "params"),
    )


def ladder_rows(rows: Sequence[Row], means: Means | None) -> Iterator[tuple[str, ...]]:
    """Formats the rows of one ladder: those of a data set, device and node."""
    axes, is_compared = find_axes(rows), has_speedups(rows)
    for row in rows:
        mean = means.get(make_key(row)) if means else None
        invalid = is_invalid(row)
        saving = row["energy_saving_pct"]
        yield (
            str(row["model"]),
            *format_axes(row, axes),
            format_threshold(row),
            format_accuracy(row),
            format_fixed(row["forward_ms"], _DIGITS),
            "INVALID" if invalid else format_margin(mean, _DIGITS),
            *(format_speedup(row) if is_compared else ()),
            format_fixed(None if invalid else row["energy_mj"], 2),
            "–" if invalid or saving is None else f"{saving:.1f} %",
            format_blocks(row),
            *(format_fixed(None if invalid else row[f"p{p}_ms"], _DIGITS) for p in (50, 90, 99)),
            format_fixed(row["acc5"], 2),
            format_count(row["params"]),
        )


@dataclass(frozen=True)
class Ladder:
    """The ladder of a data set, device and node, as text.

    Attributes:
        title: where it ran, and what is the same in all rows; that of the setting, if it is one.
        columns: their names; what varies among the rows is a column.
        rows: in the order of the grid.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def make_ladder(report: Report, setting: Setting) -> Ladder | None:
    """Returns the ladder that a setting's heading begins: of all settings of its place.

    None for the other settings of the place, and if there is no row.
    """
    of_setting = dict(zip(SETTING, setting, strict=True))
    place = {name: of_setting[name] for name in PLACE}
    rows = [row for row in report.ladder if place == {name: row[name] for name in PLACE}]
    settings = list(dict.fromkeys(map(setting_key, rows)))
    if setting not in settings[:1]:
        return None
    several = len(settings) > 1
    title = format_constant(rows[0], find_axes(rows)) if several else format_setting(of_setting)
    return Ladder(title, ladder_columns(rows), list(ladder_rows(rows, report.means)))


def collect_notes(report: Report, setting: Setting) -> list[str]:
    """Returns why figures of a setting are missing or doubtful; each reason once."""
    notes = [*reasons(select_setting(report.ladder, setting), report.means)]
    notes += [
        f"composed latency of {row['model']}: {row['forward_ms_note']}"
        for row in select_setting(report.curve, setting)
        if row["forward_ms_note"]
    ]
    notes += explain_borrowed(select_setting(report.curve, setting))
    for cell in (each.cell for each in report.passes if setting_key(each.cell) == setting):
        if reason := explain_no_rules(cell):
            notes.append(reason)
        if note := cell["exit_energy_mj_note"]:
            notes.append(f"composed energy of {cell['model']}: {note}")
    return [note.removeprefix("– ") for note in dict.fromkeys(notes)]


def collect_sources(report: Report, setting: Setting) -> list[str]:
    """Returns the sources of a setting's energies: the ladder's, and those by exit."""
    cells = [each.cell for each in report.passes if setting_key(each.cell) == setting]
    by_exit = [{"energy_source": cell["exit_energy_source"]} for cell in cells]
    return energy_sources([*select_setting(report.ladder, setting), *by_exit])


def describe_missing(report: Report, setting: Setting) -> Iterator[str]:
    """Yields what a setting has no figures for, with the grid key that provides them."""
    ladder = select_setting(report.ladder, setting)
    if report.is_whole and not select_setting(report.curve, setting):
        yield (
            "no all-exit pass: no frontier, no explorer, no images by exit, no calibration;"
            " `measure: [accuracy]` makes one"
        )
    if all(row["forward_ms"] is None for row in ladder):
        yield "nothing was timed: no latency; `measure: [latency]` times the grid's `thresholds`"
    if all(row["power_w"] is None for row in ladder):
        yield "no energy; `measure: [latency, energy]` reads power on nodes that can"
