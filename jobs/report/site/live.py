"""Follows the runs under a results root, and has the site rebuilt when something changed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import storage
from jobs.common.clock import now
from jobs.common.formatting import format_duration
from jobs.common.text import ShowText, escape_controls
from jobs.runs.time_left import left_of_cells_s, may_end_sooner
from jobs.runs.watch import LOOK_S, RunCounts, count_progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

REBUILD_S = 5.0
"""Least time between two rebuilds; after a long one it is longer."""

RECHECK_S = 60.0
"""Time after which the site is rebuilt anyhow, unless a run is running: verdicts may be new."""

_LIST_REST = 20
"""The list of runs is read again after at least so many times what that took: 5 % of the time."""

_REST = 4
"""A rebuild is followed by at least so many times what it took: runs need the processor, too."""

_END_S = 10.0
"""How long a rebuild is waited for at the end."""

RunState = tuple[object, ...]
"""Status, times, and how many cells have ended: if it changes, pages of the run do."""


@dataclass(frozen=True)
class RunProgress:
    """How far a running run is.

    Attributes:
        left_s: seconds left; None if that cannot be told.
        is_at_most: rounds may end before, since their figures are known.
    """

    run_id: str
    counts: RunCounts
    left_s: float | None
    is_at_most: bool = False

    def shown(self) -> dict[str, Any]:
        """The progress as a page shows it."""
        counts = self.counts
        text = f"{counts.ended} of {counts.cells} cells, {counts.committed:,} of {counts.asked:,}"
        about = "at most" if self.is_at_most else "about"
        left = "" if self.left_s is None else f", {about} {format_duration(self.left_s)} left"
        return {"run": self.run_id, **asdict(counts), "text": f"{text} images{left}"}


@dataclass(frozen=True)
class RootState:
    """The runs under a root at one moment.

    Attributes:
        runs: each run's state, by its name, newest first.
        running: the progress of those that are running.
        error: why the root could not be read; None if it could.
    """

    runs: Mapping[str, RunState] = field(default_factory=dict)
    running: Sequence[RunProgress] = ()
    error: str | None = None


def read_root_state(root: storage.Root) -> RootState:
    """Read the state of a root, from small files alone; problems of single runs are left out.

    Raises:
        StorageError: the root cannot be read.
    """
    if not storage.has_results(root):
        return RootState()
    return _state_of(root, storage.list_runs(root))


def refresh_running(root: storage.Root, known: RootState) -> RootState:
    """Read again the runs that were running, alone; a list of many runs takes long to read.

    Raises:
        StorageError: the root cannot be read, or one of the runs was removed.
    """
    newer = _state_of(root, [storage.find_run(root, each.run_id) for each in known.running])
    return RootState({**known.runs, **newer.runs}, newer.running)


def _state_of(root: storage.Root, listed: Sequence[storage.RunRow]) -> RootState:
    runs: dict[str, RunState] = {}
    running = []
    for run in listed:
        ended = 0
        if run.status == "running":
            try:
                rows = storage.read_cells(root, run.run_id)
            except storage.StorageError:
                rows = ()  # removed, or damaged: the pages say so
            counts = count_progress(rows)
            ended = counts.ended
            left_s, is_at_most = left_of_cells_s(rows, now()), may_end_sooner(rows)
            running.append(RunProgress(run.run_id, counts, left_s, is_at_most))
        runs[run.run_id] = (run.status, run.submitted_at, run.finished_at, ended)
    return RootState(runs, tuple(running))


class Follower:
    """Looks at a root every two seconds, and rebuilds the site if runs changed.

    A context manager: at its end nothing is read or built any more. Looking and building have a
    thread each, so that progress is told while the site is built; there is never a second build.
    While a run goes on, its pages are rebuilt when one of its cells has ended.

    Args:
        root: the results root.
        rebuild: makes the site; it calls what it is given now and then, which raises at the end.
        narrate: shows the user that a rebuild failed.
        built: the state before the site was made.
        look: reads the state.
        clock: seconds.
    """

    def __init__(
        self,
        root: storage.Root,
        rebuild: Callable[[ShowText], object],
        narrate: ShowText,
        *,
        built: RootState,
        look: Callable[[storage.Root], RootState] = read_root_state,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root, self._rebuild, self._narrate = root, rebuild, narrate
        self._look, self._clock = look, clock
        self.state = built
        self.version = 1
        self.error: str | None = None
        self._built_of = built.runs
        self._rested_s = clock() + REBUILD_S
        self._listed_s = 0.0  # when the list is to be read next
        self._is_over = threading.Event()
        self._builder: threading.Thread | None = None
        self._looker = threading.Thread(target=self._follow, name="site-look", daemon=True)

    def __enter__(self) -> Self:
        """Begin to look."""
        self._rested_s = self._clock() + REBUILD_S
        self._looker.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop looking, and end a rebuild."""
        self._is_over.set()
        self._looker.join(_END_S)
        if self._builder:
            self._builder.join(_END_S)

    def look(self) -> None:
        """Read the state, and begin a rebuild if one is due."""
        began_s = self._clock()
        try:
            if began_s >= self._listed_s:
                self.state = self._look(self._root)
                ended_s = self._clock()
                self._listed_s = ended_s + _LIST_REST * (ended_s - began_s)
            else:
                self.state = refresh_running(self._root, self.state)
        except storage.RunNotFoundError:
            self._listed_s = began_s  # one was removed: the next look lists them
            return
        except storage.StorageError as err:  # as while a network file system is away
            self.state = RootState(self.state.runs, error=escape_controls(str(err)))
            return
        is_building = self._builder is not None and self._builder.is_alive()
        # In this order: at the end, a build may have ended only just now.
        if is_building or self._is_over.is_set() or not self._is_due():
            return
        self._builder = threading.Thread(
            target=self._build, args=(self.state.runs,), name="site-build", daemon=True
        )
        self._builder.start()

    def _is_due(self) -> bool:
        """Whether the site is to be rebuilt now: at once at a run's end, else after a rest."""
        running = {each.run_id for each in self.state.running}
        if running != _running_in(self._built_of):
            return True
        if self.state.runs != self._built_of:
            return self._clock() >= self._rested_s
        return not running and self._clock() >= self._rested_s + RECHECK_S

    def _follow(self) -> None:
        while not self._is_over.wait(LOOK_S):
            self.look()

    def _build(self, runs: Mapping[str, RunState]) -> None:
        began_s = self._clock()
        try:
            self._rebuild(self._stop_if_over)
        except _OverError:
            return
        except Exception as err:  # noqa: BLE001 - the old site remains, and is still served
            self._fail(str(err) or repr(err))
        else:
            self.error = None
            self.version += 1
        self._built_of = runs
        ended_s = self._clock()
        self._rested_s = ended_s + max(REBUILD_S, _REST * (ended_s - began_s))

    def _fail(self, why: str) -> None:
        """Say why a rebuild failed; the next change is the next try."""
        why = escape_controls(why)
        if why != self.error:
            self._narrate(f"the site could not be rebuilt, the earlier pages remain: {why}")
        self.error = why

    def _stop_if_over(self, _text: str) -> None:
        if self._is_over.is_set():
            raise _OverError


class _OverError(BaseException):
    """The server ends during a rebuild."""


def _running_in(runs: Mapping[str, RunState]) -> set[str]:
    return {run_id for run_id, state in runs.items() if state[0] == "running"}
