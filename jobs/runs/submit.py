"""Runs a grid: `submit` creates a run, `resume` completes one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import storage
from jobs.common.clock import now
from jobs.common.errors import JobsError, RunInterruptedError, UsageError
from jobs.common.formatting import format_counted
from jobs.common.text import ShowText
from jobs.common.version import gfjobs_version, git_revision
from jobs.common.yaml_document import Document
from jobs.driver.cell_states import queued_rows
from jobs.driver.driver import Driver
from jobs.driver.inline_executor import InlineExecutor
from jobs.machine.power.discovery import VARIABLE, check_setting
from jobs.plan.plan import Plan, plan_document
from jobs.plan.sources import Sources
from jobs.plan.view import describe_skips
from jobs.runs.amend import amend, build_submission
from jobs.runs.cancel import mark_cancelled
from jobs.runs.interrupts import Interrupts
from jobs.runs.progress import Progress
from jobs.runs.saved_submission import read_grid_folders
from jobs.runs.target import Target

SPARE_NAMES = 100
"""Names to try; another submit may take one between the listing and the making of a run."""

Done = frozenset[tuple[str, int, int]]
"""Keys of committed tasks."""


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        run_id: the run.
        is_done: whether every cell is done, or skipped for a reason.
        is_handed_over: whether its driver is now on the cluster: the run has not ended.
        was_done: whether it was done before, so that a resume had nothing to do.
    """

    run_id: str
    is_done: bool
    is_handed_over: bool = False
    was_done: bool = False


def submit(
    grid: Path, root: storage.Root, target: Target, narrate: ShowText, run_id: str | None = None
) -> Ended:
    """Plan a grid, create a run from it, and run it.

    Args:
        grid: the YAML file.
        root: the results root.
        target: runs its tasks.
        narrate: shows messages to the user.
        run_id: name of the run; an existing run of that name and the same grid is resumed.

    Raises:
        BadInputError: the grid or the file of replayed power has problems; nothing has run and
            nothing was written.
        UsageError: the run's name is taken by another grid, no cluster is at the address, or
            $GFJOBS_POWER is not a valid setting.
    """
    document = Document.read(grid)
    base = document.path.absolute().parent
    return submit_document(document, base, root, target, narrate, run_id=run_id)


def submit_document(
    document: Document,
    base: Path,
    root: storage.Root,
    target: Target,
    narrate: ShowText,
    *,
    run_id: str | None = None,
    stem: str | None = None,
) -> Ended:
    """As `submit`, for a grid that need not be in a file; relative paths start at `base`.

    Without `run_id` a free name is chosen: `stem`, by default the grid's name and the time, with a
    number if that is taken.
    """
    if run_id is not None:
        storage.checked_name(run_id, "run")
        if run_id == "latest":
            raise UsageError("--run latest: this word means the newest run; choose another name")
    plan = plan_document(document, base, target.devices())
    storage.check_root(root)
    target.check()
    if "energy" in plan.grid.measure and not target.address:
        check_setting(os.environ.get(VARIABLE, ""))
    if not target.is_detached:
        return _submit(document, plan, root, target, narrate, run_id=run_id, stem=stem)
    from jobs.runs.detach import open_head

    assert target.address  # Target.check
    with open_head(target.address, root, document, plan) as head:
        ended = _submit(document, plan, root, target, narrate, run_id=run_id, stem=stem)
        if ended.is_handed_over:
            options = ["--address", head.address, "--wait", f"{target.wait_s:.0f}s"]
            options += ["--stall", f"{target.stall_s:.0f}s"]
            process, wrong = head.start(ended.run_id, str(root), options)
            if wrong:
                raise JobsError(
                    f"run {ended.run_id}: its driver, {process}, did not start: {wrong}"
                )
            narrate(f"run {ended.run_id} is driven on the cluster's head: {process}")
        return ended


def _submit(
    document: Document,
    plan: Plan,
    root: storage.Root,
    target: Target,
    narrate: ShowText,
    *,
    run_id: str | None,
    stem: str | None,
) -> Ended:
    """Create a run from a plan, or extend the run of that name."""
    runs = storage.list_runs(root) if storage.has_results(root) else ()
    if run_id and run_id in {run.run_id for run in runs}:
        with storage.RunStore.open(root, run_id) as store:
            return _Session(store, document, plan, target, narrate).extend()
    run = storage.RunRow(
        run_id=run_id or "",
        name=plan.grid.name,
        grid=document.text,
        baseline=plan.grid.baseline,
        submitted_at=_after_all(runs, narrate),
        gfjobs_version=gfjobs_version(),
        git_revision=git_revision(),
    )
    names = [run_id] if run_id else _free_names(stem or _dated_stem(plan), runs)
    with _create(root, run, names, document, plan) as store:
        session = _Session(store, document, plan, target, narrate)
        session.save_inputs(store.submission)
        return session.execute()


def resume(root: storage.Root, run_id: str, target: Target, narrate: ShowText) -> Ended:
    """Run the missing tasks of a run; a finished run is left unchanged.

    Raises:
        BadInputError: its checkpoints or data sets are gone.
        DamagedError: a file of the run is damaged.
        UsageError: its checkpoints or data sets have changed; it does not record where its grid
            is; or timed cells to be resumed here
            began on another machine.
    """
    with storage.RunStore.open(root, run_id) as store:
        if store.run.status == "done":
            narrate(f"run {run_id} is done: nothing is missing")
            return Ended(run_id, is_done=True, was_done=True)
        target.check()
        path, base = read_grid_folders(run_id, store.submission)
        document = Document(path, store.submission.get("grid", store.run.grid or ""))
        plan = plan_document(document, base, target.devices())
        return _Session(store, document, plan, target, narrate).extend()


@dataclass(frozen=True)
class _Session:
    """One driver's work on one run, whose lease it holds.

    Attributes:
        store: the run.
        document: its grid, as it is now.
        plan: made from the document.
        target: runs the tasks.
        narrate: shows messages to the user.
    """

    store: storage.RunStore
    document: Document
    plan: Plan
    target: Target
    narrate: ShowText

    def extend(self) -> Ended:
        """Amend the run to its grid, which may have grown, and run the missing tasks.

        The submission is saved first: if this process is killed in between, a resume completes the
        rest from the grid in `submission`.
        """
        store, run_id = self.store, self.store.run.run_id
        amended = amend(store, self.document, self.plan)
        self.target.check_machine(store, amended.plan)
        session = replace(self, plan=amended.plan)
        if store.submission != amended.submission:
            session.save_inputs(amended.submission)
        if store.cells != amended.rows:
            store.save_cells(amended.rows)
        run = replace(store.run, grid=self.document.text, baseline=self.plan.grid.baseline)
        if store.run != run:
            store.save_run(run)
        for line in amended.says():
            self.narrate(f"run {run_id}: {line}")
        is_same = not amended.is_judged_again
        if run.status == "done" and is_same and not session.missing(session.committed()):
            if session.plan.runnable:
                self.narrate(f"run {run_id} is done: nothing is missing")
            for line in describe_skips(session.plan):
                self.narrate(line)
            return Ended(run_id, is_done=True)
        return session.execute()

    def save_inputs(self, submission: Mapping[str, str]) -> None:
        """Save the submission, and before it what it names.

        That is the paths, labels and class names of all data sets, and a grid that is in no file.
        """
        for dataset in self.plan.grid.datasets:
            self.store.save_images(dataset.images.sha256, dataset.images.images_table())
        if not self.document.is_file:
            submission = {**submission, "grid_path": self.store.keep_grid(self.document.text)}
        if self.store.submission != submission:
            self.store.save_submission(submission)

    def committed(self) -> Done:
        """Keys of the committed tasks."""
        return frozenset(entry.key for entry in self.store.entries())

    def missing(self, done: Done) -> int:
        """The number of tasks still to do."""
        return sum(key not in done for cell in self.plan.runnable for key, _ in cell.task_keys())

    def execute(self) -> Ended:
        """Run the missing tasks, merge the run's files, and record how it ended."""
        store, run_id = self.store, self.store.run.run_id
        done = self.committed()
        missing = self.missing(done)
        if missing:
            verb = "resuming" if done else "running"
            cells = format_counted(len(self.plan.runnable), "cell", "cells")
            self.narrate(
                f"{verb} {run_id}: {cells}, {format_counted(missing, 'task', 'tasks')} to go"
            )
        for line in describe_skips(self.plan):
            self.narrate(line)
        store.forget_cancel()  # a request may have come after the driver before had ended
        store.save_run(replace(store.run, status="running", finished_at=None))
        if self.target.is_detached:
            store.save_submission({**store.submission, "detached": self.target.address or ""})
            return Ended(run_id, is_done=False, is_handed_over=True)
        interrupts = Interrupts(store.is_cancel_asked)
        try:
            is_done = self._drive(done, interrupts, is_needed=bool(missing))
        except KeyboardInterrupt as err:
            if interrupts.is_cancelled:
                mark_cancelled(store)
            raise RunInterruptedError(run_id, is_cancelled=interrupts.is_cancelled) from err
        status: storage.RunStatus = "done" if is_done else "failed"
        store.save_run(replace(store.run, status=status, finished_at=now()))
        return Ended(run_id, is_done)

    def _drive(self, done: Done, interrupts: Interrupts, *, is_needed: bool) -> bool:
        """Drive the run on an executor, which is stopped in any case, and merge the run's files."""
        plan = self.plan
        if is_needed and self.target.starting:
            self.narrate(self.target.starting)
        executor = self.target.executor(plan) if is_needed else InlineExecutor(Sources.of(plan))
        # Take the signals only after the executor starts: Ray takes them over when it starts.
        with interrupts, Progress(plan, done) as progress, ExitStack() as running:
            running.callback(executor.close)
            driver = Driver(self.store, plan, executor, progress, wait_s=self.target.wait_s)
            try:
                is_done = driver.run()
            except KeyboardInterrupt:
                driver.save()
                raise
            with ThreadPoolExecutor(1) as pool:  # Ray takes a moment to end
                merging = pool.submit(self.store.merge)
                running.close()
            merging.result()
            return is_done


def _create(
    root: storage.Root,
    run: storage.RunRow,
    names: Sequence[str],
    document: Document,
    plan: Plan,
) -> storage.RunStore:
    """Create a run under the first of these names that is free.

    Raises: RunExistsError, RunLockedError: none is, as far as the last one tells.
    """
    for number, name in enumerate(names, 1):
        rows = queued_rows(plan, name)
        try:
            return storage.RunStore.create(
                root, replace(run, run_id=name), rows, build_submission(document, plan)
            )
        except (storage.RunExistsError, storage.RunLockedError):
            # Another submit took it since the runs were listed.
            if number == len(names):
                raise
    raise AssertionError("at least one name is given")


def _dated_stem(plan: Plan) -> str:
    """The grid's name and the time."""
    return f"{plan.grid.name}-{now():%Y%m%d-%H%M%S}"


def _free_names(stem: str, runs: Sequence[storage.RunRow]) -> list[str]:
    """The stem, then the stem with numbers, without names that are taken; some to spare."""
    taken = {run.run_id for run in runs}
    names = [stem, *(f"{stem}-{number}" for number in range(2, len(taken) + SPARE_NAMES))]
    return [name for name in names if name not in taken]


def _after_all(runs: Sequence[storage.RunRow], narrate: ShowText) -> datetime:
    """The time now, or just after the newest run: nights and `latest` depend on this order.

    A clock may be set back between two runs, and a board without a battery starts in the past.
    """
    moment = now()
    submitted = [(run.submitted_at, run.run_id) for run in runs if run.submitted_at]
    newest_at, newest = max(submitted, default=(None, ""))
    if newest_at is None or newest_at < moment:
        return moment
    narrate(
        f"the clock went back: it is {moment:%Y-%m-%d %H:%M:%S} UTC, and run {newest} was submitted"
        f" at {newest_at:%Y-%m-%d %H:%M:%S}. This run is recorded as submitted right after it, so"
        " that runs stay in order; check which of the two times is wrong (`timedatectl`)"
    )
    return newest_at + timedelta(microseconds=1)
