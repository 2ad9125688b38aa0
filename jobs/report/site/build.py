"""Makes a site: what changed is made anew, what did not is left alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
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
from jobs.report.read import complete_report
from jobs.report.site.folder import MadeOf, SiteFolder
from jobs.report.site.overview import MissedNight
from jobs.report.site.pages import (
    BELOW,
    SiteRows,
    comparison_file,
    history_files,
    ladder_file,
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
    *("analysis", "analysis/comparison", "analysis/thresholds", "statistics", "common"),
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
        build = _Build(root, site, say)
        progress = build.begin()
        made = build.make_runs(progress, whole_runs)
        build.make_comparisons(progress, made)
        build.make_shared_pages(progress, missed)
        site.save(build.made_of)
    return BuiltSite(site.written, len(made), len(progress))


class _Build:
    """What is made of the runs, one step after the other."""

    def __init__(self, root: storage.Root, site: SiteFolder, say: Say) -> None:
        self.root, self.site, self.say = root, site, say
        self.made_of = site.made_of()
        self._states: dict[str, str] = {}

    def begin(self) -> list[Row]:
        """Drop what is out of date and what is gone.

        Returns: the rows of `run_progress`.
        """
        version = _version()
        if self.made_of.version != version:
            self.site.write_all(site_assets())
            for pair in self.made_of.compared:
                self.site.remove(comparison_file(*pair))
            # The runs are still known, so that those that are gone are forgotten.
            self.made_of = MadeOf(version, runs=dict.fromkeys(self.made_of.runs, ""))
        digests = storage.run_digests(self.root)  # first: what is read later is no older
        progress = read_progress(self.root)
        self._states = {
            row["run_id"]: f"{row['status']} {digests.get(row['run_id'], '')}" for row in progress
        }
        for run_id in self.made_of.runs.keys() - self._states.keys():
            self._forget(run_id)
        return progress

    def make_runs(self, progress: Sequence[Row], whole_runs: int) -> Collection[str]:
        """Make the pages of the runs that changed, or are to have everything and have not.

        Returns: their names.
        """
        made_of = self.made_of
        ended = [row["run_id"] for row in progress if row["status"] not in ("running", DAMAGED)]
        wanted = set(ended[:whole_runs])
        changed = [
            row
            for row in progress
            if made_of.runs.get(row["run_id"]) != self._states[row["run_id"]]
            or (row["run_id"] in wanted and row["run_id"] not in made_of.whole)
        ]
        for number, (figures, ladder) in enumerate(read_figures(self.root, changed), 1):
            run_id, report = figures.details.run_id, figures
            is_damaged = figures.run["status"] == DAMAGED
            if run_id in wanted and not is_damaged:
                self.say(f"{run_id}: reading all of it")
                report = complete_report(self.root, figures)
            files = run_files(self.root, report, ladder)
            self.site.write_all(files)
            self.site.remove(f"data/runs/{run_id}/*", keep=files)
            self._forget_comparisons(run_id)
            made_of.runs[run_id] = self._states[run_id]
            (made_of.whole.add if run_id in wanted else made_of.whole.discard)(run_id)
            (made_of.damaged.add if is_damaged else made_of.damaged.discard)(run_id)
            if number % BATCH == 0:
                self.site.save(made_of)  # made again from here, if this is interrupted
                self.say(f"{number} of {len(changed)} runs")
        return {row["run_id"] for row in changed}

    def make_comparisons(self, progress: Sequence[Row], changed: Collection[str]) -> None:
        """Compare the runs that have everything with the ones before, where either changed."""
        for run_id in sorted(self.made_of.whole - self.made_of.damaged):
            before = _run_before(run_id, progress)
            if not before or not {before, run_id} & set(changed):
                continue
            self.say(f"{run_id}: comparing it with {before}")
            try:
                pair = read_pair(self.root, Side(before), Side(run_id))
                page = comparison_page(self.root, pair, BELOW)
            except (JobsError, storage.StorageError) as err:
                self.say(f"{run_id}: not compared with {before}: {err}")
                continue
            self.site.write(comparison_file(before, run_id), page.encode())
            self.made_of.compared.add((before, run_id))

    def make_shared_pages(self, progress: Sequence[Row], missed: Sequence[MissedNight]) -> None:
        """Make the pages about all runs, if a run or a missed night is another than before."""
        made_of = self.made_of
        shown = [sorted(made_of.runs.items()), sorted(made_of.compared), missed]
        shared = hashlib.sha256(json.dumps(shown, default=str).encode()).hexdigest()
        if made_of.shared == shared:
            return
        rows = SiteRows(
            name=str(self.root),
            progress=[
                {**row, "status": DAMAGED} if row["run_id"] in made_of.damaged else row
                for row in progress
            ],
            groups=group_series(read_series(self.root)),
            findings=read_findings(self.root),
            missed=missed,
        )
        self.site.write_all(history_files(rows))
        self.site.write_all(shared_pages(rows, made_of.compared))
        made_of.shared = shared

    def _forget(self, run_id: str) -> None:
        """Remove the pages of a run that is gone."""
        for pattern in (f"runs/{run_id}.html", ladder_file(run_id), f"data/runs/{run_id}/*"):
            self.site.remove(pattern)
        self._forget_comparisons(run_id)
        del self.made_of.runs[run_id]
        self.made_of.whole.discard(run_id)
        self.made_of.damaged.discard(run_id)

    def _forget_comparisons(self, run_id: str) -> None:
        """Remove the pages that compare a run that changed or is gone."""
        for pair in [each for each in self.made_of.compared if run_id in each]:
            self.site.remove(comparison_file(*pair))
            self.made_of.compared.discard(pair)


def _run_before(run_id: str, progress: Sequence[Row]) -> str | None:
    """Returns the run of the same name that ended before this one, if there is any."""
    place = next(i for i, row in enumerate(progress) if row["run_id"] == run_id)
    before = (
        row["run_id"]
        for row in progress[place + 1 :]
        if row["name"] == progress[place]["name"] and row["status"] in _COMPARABLE
    )
    return next(before, None)


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
