"""Running a grid: submit makes a run, resume goes on with one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

import storage
from jobs.address import check_address
from jobs.device import local_devices
from jobs.document import Document
from jobs.driver import Driver
from jobs.errors import RunInterruptedError, UsageError
from jobs.executor import Executor, InlineExecutor, Sources
from jobs.grid import read_grid
from jobs.ledger import now, queued_rows
from jobs.placement import WAIT_S
from jobs.plan import Plan, make_plan
from jobs.plan_view import skips
from jobs.power.choose import VARIABLE, check_setting
from jobs.progress import Progress
from jobs.provenance import gfjobs_version, git_revision

Narrator = Callable[[str], None]


@dataclass(frozen=True)
class Where:
    """Where a run's tasks go.

    Attributes:
        address: of a Ray cluster that runs already; None: a Ray of our own on this machine.
        is_inline: in this process, without Ray.
        wait_s: how long cells wait for a device that no node of the cluster has.
    """

    address: str | None = None
    is_inline: bool = False
    wait_s: float = WAIT_S

    def devices(self) -> tuple[str, ...] | None:
        """The names that a grid may use there; None where nodes may yet join with any."""
        return None if self.address else local_devices()

    def check(self) -> None:
        """See that tasks can go there.

        Raises:
            UsageError: both are asked for, or nothing answers at the address.
        """
        if self.address and self.is_inline:
            raise UsageError("--inline runs in this process, --address on a cluster: choose one")
        if self.address:
            check_address(self.address)


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        run_id: which run.
        is_done: every cell is done, or skipped for a reason.
    """

    run_id: str
    is_done: bool


def submit(
    grid: Path, root: storage.Root, where: Where, narrate: Narrator, run_id: str | None = None
) -> Ended:
    """Plan a grid, make a run of it, and run it.

    Args:
        grid: the YAML file.
        root: the results root.
        where: where its tasks go.
        narrate: told in words what happens.
        run_id: what to call the run; a run of that name and the same grid is resumed.

    Raises:
        BadInputError: the grid has problems, or the file of replayed power; nothing has run and
            nothing was written.
        UsageError: the run's name is taken by another grid, no cluster is at the address, or
            $GFJOBS_POWER is no setting.
    """
    document = Document.read(grid)
    return submit_document(document, document.path.absolute().parent, root, where, narrate, run_id)


def submit_document(  # noqa: PLR0917 - as `submit`
    document: Document,
    base: Path,
    root: storage.Root,
    where: Where,
    narrate: Narrator,
    run_id: str | None = None,
) -> Ended:
    """Do as `submit` with a grid that is not a file, or no longer; relative paths start at base."""
    if run_id is not None:
        storage.checked_name(run_id, "run")
        if run_id == "latest":
            raise UsageError("--run latest: this word means the newest run; choose another name")
    plan = plan_document(document, base, where.devices())
    storage.check_root(root)
    where.check()
    if "energy" in plan.grid.measure and not where.address:
        check_setting(os.environ.get(VARIABLE, ""))
    if run_id and run_id in {run.run_id for run in _runs(root)}:
        with storage.RunStore.open(root, run_id) as store:
            _check_same(store, plan)
            if store.run.grid != document.text:
                store.save_run(replace(store.run, grid=document.text, baseline=plan.grid.baseline))
            return _execute(store, plan, where, narrate)
    run = storage.RunRow(
        run_id=run_id or _new_run_id(root, plan),
        name=plan.grid.name,
        grid=document.text,
        baseline=plan.grid.baseline,
        submitted_at=now(),
        gfjobs_version=gfjobs_version(),
        git_revision=git_revision(),
    )
    submission = {"grid_path": str(document.path.absolute()), "base": str(plan.grid.base)}
    with storage.RunStore.create(root, run, queued_rows(plan, run.run_id), submission) as store:
        for dataset in plan.grid.datasets:
            store.save_images(dataset.images.sha256, dataset.images.images_table())
        return _execute(store, plan, where, narrate)


def resume(root: storage.Root, run_id: str, where: Where, narrate: Narrator) -> Ended:
    """Run what is missing of a run; a finished run is left alone.

    Raises:
        BadInputError: its checkpoints or data sets are gone.
        UsageError: they are there, but are not what they were.
    """
    with storage.RunStore.open(root, run_id) as store:
        if store.run.status == "done":
            narrate(f"run {run_id} is done: nothing is missing")
            return Ended(run_id, is_done=True)
        where.check()
        path = Path(store.submission["grid_path"])
        document = Document(path, store.run.grid or "")
        plan = plan_document(document, Path(store.submission["base"]), where.devices())
        _check_same(store, plan)
        return _execute(store, plan, where, narrate)


def plan_document(document: Document, base: Path, devices: Sequence[str] | None) -> Plan:
    """Read, check and plan a grid.

    Args:
        document: the file.
        base: the folder that relative paths start from.
        devices: the names that `devices` may use; None: any that a node could have.

    Raises:
        BadInputError: the grid has problems, or nothing is left of it.
    """
    plan = make_plan(read_grid(document, devices, base))
    if not plan.cells:
        root = document.root()
        root.problem("`exclude` leaves nothing to run", "a grid of at least one combination")
        document.check()
    return plan


def _execute(store: storage.RunStore, plan: Plan, where: Where, narrate: Narrator) -> Ended:
    """Run what is missing, merge, and write down how it ended."""
    run_id = store.run.run_id
    done = frozenset(entry.key for entry in store.entries())
    missing = sum(key not in done for cell in plan.runnable for key, _ in cell.task_keys())
    if missing:
        verb = "resuming" if done else "running"
        narrate(f"{verb} {run_id}: {len(plan.runnable)} cells, {missing} tasks to go")
    for line in skips(plan):
        narrate(line)
    store.save_run(replace(store.run, status="running", finished_at=None))
    try:
        is_done = _drive(store, plan, done, where)
    except KeyboardInterrupt as err:
        raise RunInterruptedError(run_id) from err
    store.merge()
    store.save_run(replace(store.run, status="done" if is_done else "failed", finished_at=now()))
    return Ended(run_id, is_done)


def _drive(
    store: storage.RunStore, plan: Plan, done: frozenset[tuple[str, int, int]], where: Where
) -> bool:
    """Start an executor, drive the run on it, and stop it whatever happens."""
    is_missing = any(key not in done for cell in plan.runnable for key, _ in cell.task_keys())
    executor = _executor(plan, where) if is_missing else InlineExecutor(Sources.of(plan))
    # Signals after the executor: Ray takes them over when it starts.
    with _interruptible(), Progress(plan, done) as progress:
        try:
            driver = Driver(
                store, plan, executor, progress.update, narrator=progress, wait_s=where.wait_s
            )
            try:
                return driver.run()
            except KeyboardInterrupt:
                driver.save()
                raise
        finally:
            executor.close()


def _executor(plan: Plan, where: Where) -> Executor:
    sources = Sources.of(plan)
    if where.is_inline:
        return InlineExecutor(sources)
    from jobs.fanout import RayExecutor

    return RayExecutor(sources, where.address)


def _check_same(store: storage.RunStore, plan: Plan) -> None:
    """Refuse to mix results of what has changed since the run was made."""
    then = {row.cell_id: row for row in store.cells}
    today = {cell.cell_id: cell for cell in plan.cells}
    if then.keys() == today.keys():
        fewer = [row for row in store.cells if (row.rounds or 0) > today[row.cell_id].rounds]
        if fewer:
            raise UsageError(
                f"run {store.run.run_id} has {fewer[0].rounds} rounds, the grid asks for"
                f" {today[fewer[0].cell_id].rounds}: rounds can be added, not taken away; submit"
                " it as a new run"
            )
        return
    checkpoints = {row.model: row.checkpoint_sha256 for row in store.cells}
    contents = {row.dataset: row.dataset_sha256 for row in store.cells}
    changed = _changes("checkpoint", checkpoints, {m.name: m.sha256 for m in plan.grid.models})
    changed += _changes(
        "data set", contents, {data.label: data.images.sha256 for data in plan.grid.datasets}
    )
    gone, new = len(then.keys() - today.keys()), len(today.keys() - then.keys())
    changed = changed or [f"{gone} of its cells are no longer in the plan, {new} are new"]
    raise UsageError(
        f"run {store.run.run_id} was made of something else: {'; '.join(changed)}. Results of"
        " both must not mix: submit the grid as a new run (another --run, or none)"
    )


def _changes(
    what: str, then: Mapping[str | None, str | None], today: Mapping[str | None, str]
) -> list[str]:
    return [
        f"{what} {name} had sha256 {str(sha256)[:12]}, now {today[name][:12]}"
        for name, sha256 in then.items()
        if name in today and today[name] != sha256
    ]


def _new_run_id(root: storage.Root, plan: Plan) -> str:
    """The grid's name and the time; a number where that is taken."""
    taken = {run.run_id for run in _runs(root)}
    stem = f"{plan.grid.name}-{now():%Y%m%d-%H%M%S}"
    names = [stem, *(f"{stem}-{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)


def _runs(root: storage.Root) -> tuple[storage.RunRow, ...]:
    return storage.list_runs(root) if storage.has_results(root) else ()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C and a termination signal end a run alike: nothing lost, no process left.

    Only the first one interrupts: a second one must not cut the clean-up short.
    """
    signals = (signal.SIGINT, signal.SIGTERM)

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = [signal.signal(number, interrupt) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
