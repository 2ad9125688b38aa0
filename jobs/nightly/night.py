"""Runs one night: measures, judges, and records the outcome. After a kill it can be resumed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import gfnet
import storage
from jobs.analysis.regressions.judge import judge
from jobs.analysis.regressions.remeasure import make_remeasure
from jobs.analysis.regressions.view import describe_judgements
from jobs.common.errors import BadInputError, JobsError, RunInterruptedError, UsageError
from jobs.common.text import ShowText
from jobs.common.yaml_document import Document
from jobs.nightly.ledger import Ledger
from jobs.nightly.missed import missed_nights
from jobs.nightly.outcomes import QUIET, find_outcome
from jobs.nightly.records import Night, NightOutcome, State
from jobs.nightly.schedule import Schedule, read_schedule
from jobs.report.site.overview import MissedNight
from jobs.runs.submit import resume, submit

LEASE_S, LEASE_POLL_S = 90.0, 5.0
"""How long to wait for the lease of a run to expire, and how often to check: on an object store the
lease of a killed process lasts a minute longer than the process."""

_ERRORS = (JobsError, storage.StorageError, gfnet.CheckpointError)


def run_night(
    ledger: Ledger, night: Night, narrate: ShowText, clock: Callable[[], datetime]
) -> Night:
    """Run a night, or what is missing of it, to its end; the caller holds the ledger's night lock.

    All intermediate state is under the results root: the run under the night's name, re-measured
    runs, the rows of the verdict. So a night that was killed is resumed by calling this again.

    Raises:
        RunInterruptedError: it was stopped from outside; the night has not ended.
    """
    try:
        schedule = read_schedule(Document(Path(night.path), night.text), night.results)
    except BadInputError as err:
        outcome = NightOutcome("invalid", f"its schedule cannot be read: {err}", is_news=True)
        return ledger.end(night, outcome, clock(), is_to_tell=False)
    outcome = _outcome(night, schedule, narrate)
    if schedule.site:
        missed = missed_nights(ledger, schedule.results, clock())
        outcome = _with_site(schedule, outcome, missed, narrate)
    notify = schedule.notify
    is_to_tell = notify is not None and (outcome.is_news or notify.is_always)
    return ledger.end(night, outcome, clock(), is_to_tell=is_to_tell)


def _outcome(night: Night, schedule: Schedule, narrate: ShowText) -> NightOutcome:
    """Measure, judge and report a night; returns how it ended."""
    assert night.run_id is not None  # only missed nights have none
    try:
        is_done = _measure(night.run_id, schedule, narrate)
        outcome = _judged(night.run_id, schedule, narrate, is_done=is_done)
    except BadInputError as err:
        return NightOutcome("invalid", f"the grid cannot be run: {err}", is_news=True)
    except RunInterruptedError as err:
        if not err.is_cancelled:
            raise
        return NightOutcome("failed", f"run {err.run_id} was cancelled", is_news=True)
    except _ERRORS as err:
        return NightOutcome("failed", str(err), is_news=True)
    if schedule.report is None:
        return outcome
    return _reported(night.run_id, schedule, outcome)


def _measure(run_id: str, schedule: Schedule, narrate: ShowText) -> bool:
    """Run the grid, or resume its run; returns whether all cells are done.

    Raises:
        RunInterruptedError: the run was stopped, or was cancelled now or before.
    """
    root = schedule.results
    deadline_s = time.monotonic() + LEASE_S
    while storage.has_results(root) and storage.is_locked(root, run_id):
        if time.monotonic() > deadline_s:
            break  # another process does write it; the error of `resume` names it
        time.sleep(LEASE_POLL_S)
    known = storage.list_runs(root) if storage.has_results(root) else ()
    status = next((run.status for run in known if run.run_id == run_id), None)
    if status is None:
        return submit(schedule.grid, root, schedule.target, narrate, run_id).is_done
    if status == "cancelled":
        raise RunInterruptedError(run_id, is_cancelled=True)
    if status == "failed":  # the run has ended: its failed cells are not retried
        return False
    return resume(root, run_id, schedule.target, narrate).is_done


def _judged(run_id: str, schedule: Schedule, narrate: ShowText, *, is_done: bool) -> NightOutcome:
    """Judge a night's run; returns how the night ended."""
    root = schedule.results
    cells = storage.read_cells(root, run_id)
    failed = sum(cell.status == "failed" for cell in cells)
    failure = f"{failed} of {len(cells)} cells failed: see `gfjobs status {run_id}`"
    committed = storage.named_query(root, "committed", run_ids=[run_id]).to_pylist()
    if not sum(row["images"] for row in committed):
        if is_done:
            return NightOutcome("empty", "no cell produced a row", is_news=True)
        return NightOutcome("failed", failure, is_news=True)
    remeasure = make_remeasure(root, schedule.target, narrate)
    try:
        verdict = judge(root, run_id, schedule.settings, remeasure)
    except UsageError as err:  # nothing to judge, or no such baseline
        if is_done:
            return NightOutcome("invalid", str(err), is_news=True)
        return NightOutcome("failed", f"{failure}; {err}", is_news=True)
    text = describe_judgements(verdict)
    found = find_outcome(verdict)
    if is_done:
        return NightOutcome(found.state, found.note, text, is_news=found.is_news)
    # A regression that is news is reported as one even if cells failed.
    is_told = found.state == "regression" and found.is_news
    state: State = "regression" if is_told else "failed"
    return NightOutcome(state, f"{failure}; {found.note}", text, is_news=True)


def _reported(run_id: str, schedule: Schedule, outcome: NightOutcome) -> NightOutcome:
    """Write the report page; a night whose requested page is missing is not `done`."""
    from jobs.report.read import read_report
    from jobs.report.write import check_extra, check_places, write_page

    assert schedule.report is not None  # the caller has checked
    path = Path(os.path.normpath(schedule.report)) / f"{run_id}.html"
    try:
        check_extra("a report")
        check_places(None, schedule.report)
        write_page(schedule.results, read_report(schedule.results, run_id), path)
    except _ERRORS as err:
        state: State = "failed" if outcome.state in QUIET else outcome.state
        note = f"{outcome.note}; no report: {err}"
        return replace(outcome, state=state, note=note, is_news=True)
    return replace(outcome, report=str(path))


def _with_site(
    schedule: Schedule,
    outcome: NightOutcome,
    missed: Sequence[MissedNight],
    narrate: ShowText,
) -> NightOutcome:
    """Make the site of all runs; the night stays what it is if that fails, and it is told."""
    root, folder = schedule.results, schedule.site
    assert folder is not None  # whoever calls has looked
    from jobs.report.write import check_extra

    try:
        check_extra("a site")
        from jobs.report.site.build import build_site  # needs the extra

        if storage.has_results(root):
            build_site(root, Path(os.path.normpath(folder)), missed=missed, say=narrate)
    except Exception as err:  # noqa: BLE001 - of a page; what the night has found must be told
        why = str(err) if isinstance(err, _ERRORS) else repr(err)
        note = f"{outcome.note}; no site: {why}" if outcome.note else f"no site: {why}"
        return replace(outcome, note=note, is_news=True)
    return outcome
