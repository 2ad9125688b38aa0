"""The page of a run: what its template and its scripts show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import storage
from jobs.analysis.regressions.judge import WORST_FIRST
from jobs.common.formatting import (
    SETTING,
    Row,
    format_exit,
    format_fixed,
    format_setting,
    format_threshold,
)
from jobs.report.figures.collect import collect_figures
from jobs.report.figures.frontier import explorer_figure
from jobs.report.figures.style import Figure
from jobs.report.html.explorer import pack_passes
from jobs.report.html.shell import ALONE, VEGA, Held, render
from jobs.report.html.thumbnails import Thumbnails, thumbnails
from jobs.report.ladder import (
    Ladder,
    collect_notes,
    collect_sources,
    describe_missing,
    make_ladder,
)
from jobs.report.read import AllExitPass, Report, Setting, select_setting, setting_key


@dataclass(frozen=True)
class PagePart:
    """One setting of the run: its charts, what is missing, and the ladder that begins with it.

    Attributes:
        title: data set, device, runtime.
        ladder: the ladder of its data set, device and node, if this is its first setting.
        sources: the sources of its energies.
        figures: by name.
        notes: why figures are missing or doubtful.
        missing: what the grid did not ask for, with the key that provides it.
        is_first_run: no earlier run has any of these settings.
    """

    title: str
    ladder: Ladder | None
    sources: Sequence[str]
    figures: dict[str, Figure]
    notes: Sequence[str]
    missing: Sequence[str]
    is_first_run: bool

    @property
    def frontiers(self) -> list[Figure]:
        """The charts of accuracy against cost."""
        return [each for name, each in self.figures.items() if name.startswith("accuracy-by-")]

    @property
    def nights(self) -> list[Figure]:
        """The charts of the history."""
        return [each for name, each in self.figures.items() if "-over-nights-" in name]

    @property
    def figures_by_exit(self) -> list[Figure]:
        """All other charts: by exit and gate."""
        apart = (*self.frontiers, *self.nights)
        return [each for each in self.figures.values() if each not in apart]


@dataclass(frozen=True)
class Album:
    """Images of one pass, by exit and by whether their prediction there is right.

    Attributes:
        title: model and setting.
        thresholds: the thresholds at which they exit, as text.
        exits: per exit its block and how many have run there, then groups of a heading and images.
        pictures: of the images, or why there are none.
    """

    title: str
    thresholds: str
    exits: Sequence[tuple[tuple[str, int], Sequence[tuple[str, Sequence[Row]]]]]
    pictures: Thumbnails


def html_page(root: storage.Root, report: Report, held: Held = ALONE) -> str:
    """Renders the report as one page of HTML."""
    passes, left_out = pack_passes(report.passes)
    by_id = {each.cell["cell_id"]: each for each in report.passes}
    for packed in passes:
        cell = by_id[packed["cell_id"]].cell
        packed["chart"] = explorer_figure(report, setting_key(cell), cell)
    parts = [_part(report, setting, number) for number, setting in enumerate(report.settings, 1)]
    return render(
        "report.html.j2",
        held=held,
        scripts=(VEGA, "charts.js", "explorer.js") if report.is_whole else (),
        data={
            "charts": {name: f.spec for part in parts for name, f in part.figures.items()},
            "passes": passes,
        },
        report=report,
        parts=parts,
        passes=passes,
        left_out=left_out,
        judged=[_judged(row) for row in sorted(report.judged, key=_severity)],
        albums=[_album(root, report, each) for each in report.passes],
    )


def _part(report: Report, setting: Setting, number: int) -> PagePart:
    history = select_setting(report.history, setting)
    return PagePart(
        title=format_setting(dict(zip(SETTING, setting, strict=True))),
        ladder=make_ladder(report, setting),
        sources=collect_sources(report, setting),
        figures=collect_figures(report, setting, number) if report.is_whole else {},
        notes=collect_notes(report, setting),
        missing=list(describe_missing(report, setting)) if report.is_whole else [],
        is_first_run=len({row["run_id"] for row in history}) <= 1,
    )


def _album(root: storage.Root, report: Report, each: AllExitPass) -> Album:
    cell, ids = each.cell, {row["image_id"] for row in each.images}
    exits = []
    for block, group in groupby(each.images, key=lambda row: int(row["exit_block"])):
        groups = [
            (_group_title(list(rows)), rows)
            for _, grouped in groupby(group, key=lambda row: (row["is_correct"], row["ease"]))
            for rows in (list(grouped),)
        ]
        exits.append((format_exit(block, cell["depth"]), groups))
    return Album(
        title=f"{cell['model']}, {format_setting(cell)}",
        thresholds=_thresholds(each),
        exits=exits,
        pictures=thumbnails(root, report.details, cell["dataset_sha256"], ids),
    )


def _thresholds(each: AllExitPass) -> str:
    """The thresholds as text: `0.5 for all gates`, or one per gate with the block it follows."""
    if len(set(each.thresholds)) == 1:
        return f"{each.thresholds[0]:g} for all gates"
    gates = zip(each.thresholds, each.cell["gates"], strict=True)
    return ", ".join(f"{threshold:g} after block {block}" for threshold, block in gates)


def _severity(row: Row) -> int:
    return WORST_FIRST.index(row["verdict"])


def _judged(row: Row) -> tuple[object, ...]:
    """Formats a row of the table `regressions` for the page; changes of accuracy are in points."""
    interval = None
    if row["low"] is not None and row["high"] is not None:
        interval = f"{row['low']:+.1f} to {row['high']:+.1f}"
    unit = "points" if row["metric"] == "accuracy" else "%"
    return (
        row["verdict"],
        row["model"],
        row["dataset"],
        format_threshold(row),
        row["metric"],
        format_fixed(row["value"], 3),
        format_fixed(row["expected"], 3),
        None if row["effect_pct"] is None else f"{row['effect_pct']:+.1f} {unit}",
        interval,
        row["note"],
    )


def _group_title(rows: Sequence[Row]) -> str:
    first = rows[0]
    answered = "right" if first["is_correct"] else "wrong"
    return f"{first['ease']} of {first['group_images']:,} {answered}"
