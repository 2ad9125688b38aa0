"""On a cluster's head: what it sees of a run, and a driver as a process of its own."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from socket import gethostname
from tempfile import gettempdir

import storage
from jobs.common.errors import BadInputError
from jobs.common.yaml_document import Document
from jobs.plan.plan import plan_document
from jobs.runs.resolved_inputs import (
    ResolvedInputs,
    compare_inputs,
    describe_differences,
    resolve_inputs,
)

START_S = 120.0
"""For a driver to take its run over: Python and its imports from a cold disk."""

LOOK_S = 0.2
FAILED = 1
DRIVER = (
    "from jobs.runs.head_driver import end_with; end_with({parent});"
    " from jobs.cli import main; main()"
)
TAIL_LINES = 12
_SIGNAL_AT_PARENTS_DEATH = 1  # PR_SET_PDEATHSIG of prctl(2)


def describe_head_differences(
    root: str, probe: str, document: Document, base: Path, submitted: ResolvedInputs
) -> str:
    """On the head: what it does not see as the submitter does; empty where nothing is.

    Args:
        root: the results root.
        probe: a file in it that the submitter made for this.
        document: the grid.
        base: where its paths start.
        submitted: what its names mean to the submitter.
    """
    try:
        if not storage.has_probe(root, probe):
            return (
                f"{root} is another folder there: give a results root that both see, such as a"
                " shared disk"
            )
        plan = plan_document(document, base, None)
    except BadInputError as err:
        return f"of the grid it says:\n{err}"
    except storage.StorageError as err:
        return str(err)
    differing = compare_inputs(submitted, resolve_inputs(plan.cells))
    if not differing:
        return ""
    return f"names mean something else there:\n{describe_differences(differing, 'here', 'there')}"


class DriverProcess:
    """On the head: a driver as a process of its own, which ends with this one.

    Args:
        run_id: the run that it goes on with.
        root: the results root.
        options: of `gfjobs resume`.
    """

    def __init__(self, run_id: str, root: str, options: Sequence[str]) -> None:
        self._run_id = run_id
        self._root = root
        # An object store takes no log: it stays on the head, as `watch` says.
        self.log = storage.log_of(root, run_id) or Path(gettempdir(), f"{run_id}.driver.log")
        # By its own Python, not by a `gfjobs` that happens to be on the path.
        command = [sys.executable, "-c", DRIVER.format(parent=os.getpid()), "resume", run_id]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--results", root, *options],
                env=_clean(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def started(self) -> str:
        """Wait until it has its run.

        Returns: what came of it, where it ended instead and the run is not done; else empty.
        """
        deadline_s = time.monotonic() + START_S
        while time.monotonic() < deadline_s:
            if (code := self._process.poll()) is not None:
                lines = self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
                return "\n".join([f"it ended with code {code}:", *lines]) if code else ""
            if storage.is_locked(self._root, self._run_id):
                return ""
            time.sleep(LOOK_S)
        return f"it has not begun within {START_S:.0f} s; its log: {self.log}"

    def where(self) -> str:
        """Which process it is."""
        return f"process {self._process.pid} on {gethostname()}"

    def wait(self) -> None:
        """Until it has ended."""
        self._process.wait()


def _clean(base: Mapping[str, str]) -> dict[str, str]:
    """The environment of a node, without what Ray tells its workers of themselves."""
    kept = ("RAY_AUTH_", "RAY_grpc_", "RAY_TLS_", "RAY_USE_TLS")
    return {
        name: value
        for name, value in base.items()
        if not name.startswith("RAY_") or name.startswith(kept)
    }


def end_with(parent: int) -> None:
    """In the driver: a raylet that is killed takes its driver with it.

    By the termination signal, on which a driver stops cleanly.
    """
    ctypes.CDLL(None).prctl(_SIGNAL_AT_PARENTS_DEATH, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it was killed before that
        sys.exit(FAILED)
