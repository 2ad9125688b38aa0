"""The ladder as text, with notes on missing figures: for the page and for Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jobs.analysis.latency_intervals import Means, make_key
from jobs.common.formatting import Row, energy_sources, format_count, format_fixed, format_threshold
from jobs.report.read import Report, Setting, select_setting, setting_key
from jobs.report.terminal.summary import is_invalid, reasons

_DIGITS = 3  # of milliseconds

LADDER = (
    "model",
    "t",
    "acc@1",
    "ms",
    "95 %",
    "mJ",
    "mJ saved",
    "blocks",
    "p50",
    "p90",
    "p99",
    "acc@5",
    "params",
)
"""The columns of `ladder_rows`: what a ladder is read for first, since a phone shows the first."""


def ladder_rows(rows: Sequence[Row], means: Means) -> Iterator[tuple[str, ...]]:
    """Formats rows of the ladder, in the order of LADDER."""
    for row in rows:
        mean = means.get(make_key(row))
        invalid = is_invalid(row)
        saving = row["energy_saving_pct"]
        yield (
            str(row["model"]),
            format_threshold(row),
            format_fixed(row["acc1"], 2),
            format_fixed(row["forward_ms"], _DIGITS),
            "INVALID" if invalid else f"±{mean.margin_ms(_DIGITS):.{_DIGITS}f}" if mean else "–",
            format_fixed(None if invalid else row["energy_mj"], 2),
            "–" if invalid or saving is None else f"{saving:.1f} %",
            format_fixed(row["mean_blocks"], 2),
            *(format_fixed(None if invalid else row[f"p{p}_ms"], _DIGITS) for p in (50, 90, 99)),
            format_fixed(row["acc5"], 2),
            format_count(row["params"]),
        )


def collect_notes(report: Report, setting: Setting) -> list[str]:
    """Returns why figures of a setting are missing or doubtful; each reason once."""
    notes = [*reasons(select_setting(report.ladder, setting), report.means)]
    notes += [
        f"composed latency of {row['model']}: {row['forward_ms_note']}"
        for row in select_setting(report.curve, setting)
        if row["forward_ms_note"]
    ]
    for each in report.passes:
        if setting_key(each.cell) == setting and each.cell["exit_energy_mj_note"]:
            note = each.cell["exit_energy_mj_note"]
            notes.append(f"composed energy of {each.cell['model']}: {note}")
    return [note.removeprefix("– ") for note in dict.fromkeys(notes)]


def collect_sources(report: Report, setting: Setting) -> list[str]:
    """Returns the sources of a setting's energies: the ladder's, and those by exit."""
    cells = [each.cell for each in report.passes if setting_key(each.cell) == setting]
    by_exit = [{"energy_source": cell["exit_energy_source"]} for cell in cells]
    return energy_sources([*select_setting(report.ladder, setting), *by_exit])


def describe_missing(report: Report, setting: Setting) -> Iterator[str]:
    """Yields what a setting has no figures for, with the grid key that provides them."""
    ladder = select_setting(report.ladder, setting)
    if not select_setting(report.curve, setting):
        yield (
            "no all-exit pass: no frontier, no explorer, no images by exit, no calibration;"
            " `measure: [accuracy]` makes one"
        )
    if all(row["forward_ms"] is None for row in ladder):
        yield "nothing was timed: no latency; `measure: [latency]` times the grid's `thresholds`"
    if all(row["power_w"] is None for row in ladder):
        yield "no energy; `measure: [latency, energy]` reads power on nodes that can"
