"""Makes a site: what changed is made anew, what did not is left alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import NamedTuple

import storage
from jobs.analysis.comparison.run_data import Side
from jobs.common.errors import JobsError
from jobs.common.formatting import Row
from jobs.report.html.comparison import comparison_page
from jobs.report.html.shell import site_assets
from jobs.report.pair import read_pair
from jobs.report.read import read_report
from jobs.report.site.folder import MadeOf, SiteFolder
from jobs.report.site.overview import MissedNight
from jobs.report.site.pages import (
    BELOW,
    SiteRows,
    comparison_file,
    history_files,
    run_files,
    shared_pages,
)
from jobs.report.site.read import (
    BATCH,
    DAMAGED,
    read_figures,
    read_findings,
    read_progress,
    read_series,
)
from jobs.report.site.series import group_series

WHOLE_RUNS = 1
"""How many of the newest runs get everything, unless told otherwise."""

_DRAWING = ("altair", "vl-convert-python", "jinja2")
_COMPARABLE = ("done", "failed")
_MADE_BY = (
    *("analysis", "analysis/comparison", "analysis/statistics", "analysis/thresholds", "common"),
    *("report", "report/figures", "report/html", "report/html/templates", "report/site"),
)

Say = Callable[[str], None]


class BuiltSite(NamedTuple):
    """What making a site did: files written, runs whose pages were made, runs in all."""

    written: int
    made: int
    runs: int


def build_site(
    root: storage.Root,
    folder: Path,
    *,
    whole_runs: int = WHOLE_RUNS,
    missed: Sequence[MissedNight] = (),
    say: Say = lambda _line: None,
) -> BuiltSite:
    """Make the site of a results root, or what has changed of it.

    Args:
        root: the results root.
        folder: of the site; new, empty, or a site.
        whole_runs: how many of the newest runs that have ended get everything that a report has;
            the others get their figures. Such a run is also compared with the one before it. A run
            keeps what it has while it does not change.
        missed: nights that were not run.
        say: told of progress.

    Raises:
        UsageError: the folder cannot be written, or another process writes it.
        StorageError: the root cannot be read.
    """
    site = SiteFolder(folder)
    with site.locked():
        version = _version()
        made_of = site.made_of()
        if made_of.version != version:
            site.write_all(site_assets())
            made_of = MadeOf(version=version)
        digests = storage.run_digests(root)  # first: what is read later is no older
        progress = read_progress(root)
        states = {
            row["run_id"]: f"{row['status']} {digests.get(row['run_id'], '')}" for row in progress
        }
        for run_id in made_of.runs.keys() - states.keys():
            _forget(site, made_of, run_id)
        ended = [row["run_id"] for row in progress if row["status"] not in ("running", DAMAGED)]
        wanted = set(ended[:whole_runs])
        changed = [
            row
            for row in progress
            if made_of.runs.get(row["run_id"]) != states[row["run_id"]]
            or (row["run_id"] in wanted and row["run_id"] not in made_of.whole)
        ]
        for number, (figures, ladder) in enumerate(read_figures(root, changed), 1):
            run_id, report = figures.details.run_id, figures
            is_damaged = figures.run["status"] == DAMAGED
            if run_id in wanted and not is_damaged:
                say(f"{run_id}: reading all of it")
                report = read_report(root, run_id)
            files = run_files(root, report, ladder)
            site.write_all(files)
            site.remove(f"data/runs/{run_id}/*", keep=files)
            _forget_comparisons(site, made_of, run_id)
            before = _run_before(run_id, progress)
            if report.is_whole and before:
                say(f"{run_id}: comparing it with {before}")
                _compare(root, site, made_of, (before, run_id))
            made_of.runs[run_id] = states[run_id]
            (made_of.whole.add if run_id in wanted else made_of.whole.discard)(run_id)
            (made_of.damaged.add if is_damaged else made_of.damaged.discard)(run_id)
            if number % BATCH == 0:
                site.save(made_of)  # made again from here, if this is interrupted
                say(f"{number} of {len(changed)} runs")
        rows = SiteRows(
            name=str(root),
            progress=[
                {**row, "status": DAMAGED} if row["run_id"] in made_of.damaged else row
                for row in progress
            ],
            groups=group_series(read_series(root)),
            findings=read_findings(root),
            missed=missed,
        )
        site.write_all(history_files(rows))
        site.write_all(shared_pages(rows, made_of.compared))
        site.save(made_of)
    return BuiltSite(site.written, len(changed), len(progress))


def _run_before(run_id: str, progress: Sequence[Row]) -> str | None:
    """Returns the run of the same name that ended before this one, if there is any."""
    place = next(i for i, row in enumerate(progress) if row["run_id"] == run_id)
    before = (
        row["run_id"]
        for row in progress[place + 1 :]
        if row["name"] == progress[place]["name"] and row["status"] in _COMPARABLE
    )
    return next(before, None)


def _compare(root: storage.Root, site: SiteFolder, made_of: MadeOf, pair: tuple[str, str]) -> None:
    """Makes the page that compares two runs, if they have anything in common."""
    try:
        page = comparison_page(root, read_pair(root, Side(pair[0]), Side(pair[1])), BELOW)
    except (JobsError, storage.StorageError):
        return  # they have nothing in common, or the earlier one is damaged
    site.write(comparison_file(*pair), page.encode())
    made_of.compared.add(pair)


def _forget_comparisons(site: SiteFolder, made_of: MadeOf, run_id: str) -> None:
    """Removes the pages that compare a run that changed or is gone."""
    for pair in [each for each in made_of.compared if run_id in each]:
        site.remove(comparison_file(*pair))
        made_of.compared.discard(pair)


def _forget(site: SiteFolder, made_of: MadeOf, run_id: str) -> None:
    """Removes the pages of a run that is gone."""
    for pattern in (f"runs/{run_id}.*", f"data/ladders/{run_id}.js", f"data/runs/{run_id}/*"):
        site.remove(pattern)
    _forget_comparisons(site, made_of, run_id)
    del made_of.runs[run_id]
    made_of.whole.discard(run_id)
    made_of.damaged.discard(run_id)


def _version() -> str:
    """A digest of what makes pages: code that draws and renders, templates, packages."""
    digest = hashlib.sha256()
    for name in _DRAWING:
        digest.update(f"{name} {metadata.version(name)}\n".encode())
    for folder in _MADE_BY:
        files = (each for each in resources.files("jobs").joinpath(folder).iterdir())
        for each in sorted(files, key=lambda file: file.name):
            if each.is_file():
                digest.update(each.name.encode() + each.read_bytes())
    return digest.hexdigest()
