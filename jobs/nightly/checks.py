"""Checks what a schedule names when it is added, so that problems do not show first at night."""

from __future__ import annotations

import shutil
from pathlib import Path

import storage
from jobs.common.errors import BadInputError, InputProblem, UsageError
from jobs.common.yaml_document import Document
from jobs.nightly.schedule import Notify, Reader, Schedule
from jobs.plan.plan import plan_document

_A_RUN = "a finished run of the same grid"


def check_schedule(document: Document, results: storage.Root) -> Schedule:
    """Read a schedule, and check that everything it names exists.

    Args:
        document: the file, by its absolute path.
        results: the results root, if the file names none.

    Raises:
        BadInputError: every problem of the file, and those of its grid.
        StorageError: no run can be written under the given results root.
    """
    reader = Reader(document)
    schedule = reader.read(results)
    if schedule.results != results:  # the file names it
        _look_at_results(reader, schedule)
    if schedule.notify:
        _look_at_command(reader, schedule.notify)
    if schedule.report:
        _look_at_report(reader, schedule.report)
    if schedule.site:
        _look_at_site(reader, schedule.site)
    if schedule.settings.baseline:
        _look_at_baseline(reader, schedule)
    problems = _look_at_grid(reader, schedule) if "grid" in reader.entries else ()
    if problems:
        raise BadInputError([*document.problems, *problems])
    document.check()
    if schedule.results == results:
        storage.check_root(schedule.results)
    return schedule


def _look_at_results(reader: Reader, schedule: Schedule) -> None:
    try:
        storage.check_root(schedule.results)
    except storage.StorageError as err:
        why = getattr(err.__cause__, "strerror", None)  # leaves out the advice to use an option
        found = f"{schedule.results} cannot be written: {why}" if why else str(err)
        reader.entries["results"].problem(found, "a folder, or s3://bucket/prefix")


def _look_at_command(reader: Reader, notify: Notify) -> None:
    if shutil.which(notify.program(reader.base)) is None:
        reader.notify["command"].items()[0].problem(
            f"there is no program {notify.command[0]!r}",
            "a program on the PATH, or the path of one, from the schedule's folder",
        )


def _look_at_report(reader: Reader, folder: Path) -> None:
    from jobs.report.write import check_extra, check_places

    try:
        check_extra("a report")
        check_places(None, folder)
    except UsageError as err:
        reader.entries["report"].problem(str(err), "a folder for one page per night")


def _look_at_site(reader: Reader, folder: Path) -> None:
    from jobs.report.write import check_extra

    try:
        check_extra("a site")
        from jobs.report.site.folder import SiteFolder  # its package needs the extra

        SiteFolder(folder).check()
    except UsageError as err:
        reader.entries["site"].problem(str(err), "a new or empty folder, or one of a site")


def _look_at_baseline(reader: Reader, schedule: Schedule) -> None:
    value = reader.judge["baseline"]
    try:
        found = storage.find_run(schedule.results, schedule.settings.baseline or "")
    except storage.StorageError as err:
        value.problem(str(err), _A_RUN)
        return
    if found.status not in ("done", "failed"):
        value.problem(f"run {found.run_id} is {found.status}", _A_RUN)


def _look_at_grid(reader: Reader, schedule: Schedule) -> tuple[InputProblem, ...]:
    """Check the grid; returns the problems of its own file."""
    try:
        document = Document.read(schedule.grid)
        plan = plan_document(document, document.path.parent, schedule.target.devices())
    except BadInputError as err:
        return err.problems
    if "control" in reader.judge:
        reader.judge["control"].choice([model.name for model in plan.grid.models], "model")
    return ()
