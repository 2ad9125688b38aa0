"""The ladder as text, and in words what is missing beside it: for the page and for Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jobs.analysis.latency_intervals import Means, key_of
from jobs.common.formatting import Row, count, energy_sources, fixed, threshold_of
from jobs.report.read import Report, Setting, of_setting, setting_key
from jobs.report.terminal.summary import is_invalid, reasons

_DIGITS = 3  # of milliseconds

LADDER = (
    "model",
    "params",
    "t",
    "acc@1",
    "acc@5",
    "blocks",
    "ms",
    "95 %",
    "p50",
    "p90",
    "p99",
    "mJ",
    "mJ saved",
)
"""The columns of `ladder_rows`."""


def ladder_rows(rows: Sequence[Row], means: Means) -> Iterator[tuple[str, ...]]:
    """Rows of the ladder as text, in the order of LADDER."""
    for row in rows:
        mean = means.get(key_of(row))
        invalid = is_invalid(row)
        saving = row["energy_saving_pct"]
        yield (
            str(row["model"]),
            count(row["params"]),
            threshold_of(row),
            fixed(row["acc1"], 2),
            fixed(row["acc5"], 2),
            fixed(row["mean_blocks"], 2),
            fixed(row["forward_ms"], _DIGITS),
            "INVALID" if invalid else f"±{mean.margin_ms(_DIGITS):.{_DIGITS}f}" if mean else "–",
            *(fixed(None if invalid else row[f"p{p}_ms"], _DIGITS) for p in (50, 90, 99)),
            fixed(None if invalid else row["energy_mj"], 2),
            "–" if invalid or saving is None else f"{saving:.1f} %",
        )


def notes_of(report: Report, setting: Setting) -> list[str]:
    """Why figures of a setting are missing, or what speaks against them; each reason once."""
    notes = [*reasons(of_setting(report.ladder, setting), report.means)]
    notes += [
        f"composed latency of {row['model']}: {row['forward_ms_note']}"
        for row in of_setting(report.curve, setting)
        if row["forward_ms_note"]
    ]
    for each in report.passes:
        if setting_key(each.cell) == setting and each.cell["exit_energy_mj_note"]:
            note = each.cell["exit_energy_mj_note"]
            notes.append(f"composed energy of {each.cell['model']}: {note}")
    return [note.removeprefix("– ") for note in dict.fromkeys(notes)]


def sources_of(report: Report, setting: Setting) -> list[str]:
    """What measured the energies of a setting: the ladder's, and those by exit."""
    cells = [each.cell for each in report.passes if setting_key(each.cell) == setting]
    by_exit = [{"energy_source": cell["exit_energy_source"]} for cell in cells]
    return energy_sources([*of_setting(report.ladder, setting), *by_exit])


def missing(report: Report, setting: Setting) -> Iterator[str]:
    """What a setting has no figures of, with the grid key that gives them."""
    ladder = of_setting(report.ladder, setting)
    if not of_setting(report.curve, setting):
        yield (
            "no all-exit pass: no frontier, no explorer, no images by exit, no calibration;"
            " `measure: [accuracy]` makes one"
        )
    if all(row["forward_ms"] is None for row in ladder):
        yield "nothing was timed: no latency; `measure: [latency]` times what is in `thresholds`"
    if all(row["power_w"] is None for row in ladder):
        yield "no energy; `measure: [latency, energy]` reads power where a node can"
