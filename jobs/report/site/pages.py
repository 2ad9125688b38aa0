"""Renders the pages of a site other than runs' reports, and the data that they load on demand."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import storage
from jobs.common.formatting import Row, format_setting, format_threshold
from jobs.report.figures.nights import nights_specs
from jobs.report.html.page import linked_page
from jobs.report.html.shell import VEGA, data_script, in_site, render
from jobs.report.read import Report
from jobs.report.site.overview import Concern, MissedNight, find_concerns, newest_figures
from jobs.report.site.series import RunOrder, SeriesGroup, history_data

TOP, BELOW = in_site(0), in_site(1)

_SHOWN_RUNS = 10
_PAIRED_BY = (
    *("model", "dataset", "device", "runtime", "precision", "threads", "batch_size"),
    *("threshold", "thresholds"),
)
"""What rows of two runs share that are shown side by side."""

_COMPARED = ("acc1", "mean_blocks", "forward_ms", "energy_mj")
_BORROWED = ("acc1", "mean_blocks")


@dataclass(frozen=True)
class SiteRows:
    """What the pages about many runs are made of.

    Attributes:
        name: of the results root.
        progress: rows of `run_progress`, newest first.
        groups: of all series.
        findings: verdicts that say something, by run.
        missed: nights that were not run.
    """

    name: str
    progress: Sequence[Row]
    groups: Sequence[SeriesGroup]
    findings: Mapping[str, Sequence[Row]]
    missed: Sequence[MissedNight]

    @cached_property
    def order(self) -> RunOrder:
        """Of all runs; one that came since the list was read is the newest."""
        places = {row["run_id"]: place for place, row in enumerate(reversed(self.progress))}
        return lambda run_id: places.get(run_id, len(places))


def shared_pages(rows: SiteRows, compared: Collection[tuple[str, str]]) -> dict[str, bytes]:
    """Renders the pages about many runs, by their path in the site.

    Args:
        rows: what they are made of.
        compared: the pairs of runs that have a page, the earlier first.
    """
    newest = list(newest_figures(rows.groups, rows.order))
    concerns: list[Concern] = list(find_concerns(rows.progress, rows.findings, newest, rows.missed))
    running = [row for row in rows.progress if row["status"] == "running"]
    runs = [
        {
            "run_id": row["run_id"],
            "name": row["name"],
            "submitted_at": row["submitted_at"] and row["submitted_at"].isoformat() + "Z",
        }
        for row in rows.progress
    ]
    groups = [
        {"name": group.name, "model": group.model, "setting": group.setting}
        for group in rows.groups
    ]
    files = {f"history/{each['name']}": f"data/history/{each['name']}.js" for each in groups}
    ladders = {f"ladder/{run['run_id']}": ladder_file(run["run_id"]) for run in runs}
    pages = {
        "index.html": render(
            "overview.html.j2",
            held=TOP,
            scripts=(),
            data={},
            rows=rows,
            newest=newest,
            has_energy=any(line.figures["energy_mj"] != "–" for line in newest),
            concerns=concerns,
            running=running,
            shown=rows.progress[:_SHOWN_RUNS],
        ),
        "runs.html": render("runs.html.j2", held=TOP, scripts=(), data={}, rows=rows),
        "history.html": render(
            "history.html.j2",
            held=TOP,
            scripts=(VEGA, "charts.js", "history.js"),
            data={"charts": nights_specs(), "groups": groups, "files": files, "runs": runs},
            rows=rows,
        ),
        "compare.html": render(
            "compare.html.j2",
            held=TOP,
            scripts=("compare.js",),
            data={"runs": runs, "files": ladders, "compared": sorted(compared)},
            rows=rows,
        ),
    }
    return {name: page.encode() for name, page in pages.items()}


def history_files(rows: SiteRows) -> dict[str, bytes]:
    """Returns the data of the history page: one file per model and setting, by its path."""
    return {
        f"data/history/{group.name}.js": data_script(
            f"history/{group.name}", history_data(group, rows.order, rows.findings)
        )
        for group in rows.groups
    }


def run_files(root: storage.Root, report: Report, ladder: Any) -> dict[str, bytes]:
    """Returns the page of a run, what it loads, and its ladder to compare, by their paths."""
    run_id = report.details.run_id
    page = linked_page(root, report, BELOW, ladder)
    return {
        f"runs/{run_id}.html": page.html.encode(),
        **page.files,
        ladder_file(run_id): data_script(f"ladder/{run_id}", _ladder_data(report)),
    }


def comparison_file(first: str, second: str) -> str:
    """Returns the path of the page that compares two runs."""
    return f"comparisons/{first}--{second}.html"


def ladder_file(run_id: str) -> str:
    """Returns the path of a run's ladder, as data to compare."""
    return f"data/ladders/{run_id}.js"


def _ladder_data(report: Report) -> list[dict[str, object]]:
    """Returns the rows that another run's may stand beside: what pairs them, and figures.

    A borrowed accuracy is left out: a difference would be one of other devices.
    """
    return [
        {
            "key": [row[name] for name in _PAIRED_BY],
            "model": row["model"],
            "setting": format_setting(row),
            "threshold": format_threshold(row),
            "is_valid": row["is_valid"] is not False,
            **{
                name: None if name in _BORROWED and row.get("accuracy_from") else row[name]
                for name in _COMPARED
            },
        }
        for row in report.ladder
    ]
