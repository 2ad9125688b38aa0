"""Runs on a cluster's head: checks what the head sees of a run, and starts a driver process."""

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

import storage
from jobs.cluster.node_state import runtime_folder
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
"""Time for a driver to take over its run: Python and its imports from a cold disk."""

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
    """On the head: describe what it sees differently from the submitter; empty if nothing.

    Args:
        root: the results root.
        probe: a file in it that the submitter created for this check.
        document: the grid.
        base: the folder that its relative paths start from.
        submitted: its inputs as the submitter resolves them.
    """
    try:
        if not storage.has_probe(root, probe):
            return (
                f"{root} is another folder there: give a results root that both see, such as a"
                " shared disk"
            )
        plan = plan_document(document, base, None)
    except BadInputError as err:
        return f"the grid has problems there:\n{err}"
    except storage.StorageError as err:
        return str(err)
    differing = compare_inputs(submitted, resolve_inputs(plan.cells))
    if not differing:
        return ""
    return (
        f"names resolve to something else there:\n"
        f"{describe_differences(differing, 'here', 'there')}"
    )


class DriverProcess:
    """On the head: starts a driver in a process of its own, which ends with this process.

    Args:
        run_id: the run that it resumes.
        root: the results root.
        options: options of `gfjobs resume`.
    """

    def __init__(self, run_id: str, root: str, options: Sequence[str]) -> None:
        self._run_id = run_id
        self._root = root
        # An object store cannot hold a log: it stays on the head, as `watch` says.
        self.log = storage.log_of(root, run_id) or runtime_folder() / f"{run_id}.driver.log"
        # This process's Python, not a `gfjobs` that happens to be on the path.
        command = [sys.executable, "-c", DRIVER.format(parent=os.getpid()), "resume", run_id]
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
        with open(os.open(self.log, flags, 0o600), "ab") as log:  # noqa: PTH123 - no link is followed
            self._process = subprocess.Popen(
                [*command, "--results", root, *options],
                env=_clean(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def started(self) -> str:
        """Wait until the driver has taken over its run.

        Returns: why it has not, if it ended with an error or did not begin in time; else empty.
        """
        deadline_s = time.monotonic() + START_S
        while time.monotonic() < deadline_s:
            if (code := self._process.poll()) is not None:
                lines = self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
                return "\n".join([f"it ended with code {code}:", *lines]) if code else ""
            if storage.is_locked(self._root, self._run_id):
                return ""
            time.sleep(LOOK_S)
        return f"it has not taken over the run within {START_S:.0f} s; its log: {self.log}"

    def where(self) -> str:
        """The driver's process id and host, as text."""
        return f"process {self._process.pid} on {gethostname()}"

    def wait(self) -> None:
        """Wait until the driver has ended."""
        self._process.wait()


def _clean(base: Mapping[str, str]) -> dict[str, str]:
    """The environment of a node, without the variables that Ray sets for its workers."""
    kept = ("RAY_AUTH_", "RAY_grpc_", "RAY_TLS_", "RAY_USE_TLS")
    return {
        name: value
        for name, value in base.items()
        if not name.startswith("RAY_") or name.startswith(kept)
    }


def end_with(parent: int) -> None:
    """In the driver: make it stop when its parent process is killed.

    The kernel then sends the termination signal, on which a driver stops cleanly.
    """
    ctypes.CDLL(None).prctl(_SIGNAL_AT_PARENTS_DEATH, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # the parent was killed before this call
        sys.exit(FAILED)
