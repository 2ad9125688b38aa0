"""A driver on a cluster's head, kept by an actor that outlives the process that made it.

Ray Jobs does the same through an HTTP server that needs ray[default] on both sides and about ten
more processes on the head; our heads run without it. An actor needs nothing beyond the cluster.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jobs.cluster.cluster_state import ClusterError
from jobs.cluster.ray.connection import join, leave
from jobs.common.yaml_document import Document

NAMESPACE = "gfjobs"
TIMEOUT_S = 180.0
"""Longest wait for the head: it starts a worker, imports gfjobs and reads the grid's files."""


ResolvedInputs = dict[str, dict[str, Any]]
"""As in `jobs.runs.resolved_inputs`."""


class StartedDriver(Protocol):
    """A driver that was started on the head."""

    def started(self) -> str:
        """Wait until it has its run; return what went wrong, empty if nothing did."""

    def where(self) -> str:
        """Return a description of its process."""

    def wait(self) -> None:
        """Wait until it has ended."""


@dataclass(frozen=True)
class HeadService:
    """Functions to run on the head, passed in by the caller: this package does not know runs.

    Attributes:
        describe_head_differences: takes a results root, a probe in it, a grid, its base and its
            resolved inputs; returns what the head sees differently from the submitter.
        start: takes a run id, a results root and options of `gfjobs resume`.
    """

    describe_head_differences: Callable[[str, str, Document, Path, ResolvedInputs], str]
    start: Callable[[str, str, Sequence[str]], StartedDriver]


class HeadDriver:
    """The submitter's handle of the actor. Made by `on_head`."""

    def __init__(self, actor: Any, node: str, address: str) -> None:
        self._actor = actor
        self.node = node
        self.address = address
        self._is_started = False

    def describe_head_differences(
        self, root: str, probe: str, document: Document, base: Path, submitted: ResolvedInputs
    ) -> str:
        """Run that of `HeadService` on the head."""
        asked = self._actor.describe_head_differences.remote(root, probe, document, base, submitted)
        return str(_answer(asked))

    def start(self, run_id: str, root: str, options: Sequence[str]) -> tuple[str, str]:
        """Start a driver on the head, and wait until it has its run.

        Returns: a description of its process, and what went wrong; empty if nothing did.
        """
        where, wrong = _answer(self._actor.start.remote(run_id, root, options))
        self._is_started = True
        return where, wrong

    def close(self) -> None:
        """End the actor if it has started no driver."""
        if not self._is_started:
            ray.kill(self._actor)


@contextmanager
def on_head(
    address: str, variables: Mapping[str, str], folder: Path, service: HeadService
) -> Iterator[HeadDriver]:
    """Join a cluster, and create an actor on its head that can start a driver.

    Args:
        address: of the cluster.
        variables: added to the environment on the head.
        folder: working folder on the head, if it exists there: relative paths may start from it.
        service: functions that the actor runs.

    Raises:
        ClusterError: the cluster cannot be joined, or its head does not answer.
    """
    head = join(address)
    try:
        assert head is not None  # Target.check
        (node,) = [view for view in head.nodes() if view.is_head]
        affinity = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
        keeper: Any = ray.remote(_Keeper)
        options = {
            "num_cpus": 0,  # it only waits; its driver computes no cells
            "lifetime": "detached",
            "namespace": NAMESPACE,
            "name": f"driver-{uuid.uuid4().hex}",
            "scheduling_strategy": affinity,
        }
        actor = keeper.options(**options).remote(dict(variables), folder, service)
        driver = HeadDriver(actor, node.name, head.address)
        try:
            yield driver
        finally:
            driver.close()
    finally:
        leave()


def _answer(reference: Any) -> Any:
    try:
        return ray.get(reference, timeout=TIMEOUT_S)
    except RayError as err:
        raise ClusterError(f"the request to the cluster's head failed: {err}") from err


class _Keeper:
    """The actor, in a worker process on the head. Ends with its driver, or if none is started."""

    def __init__(self, variables: Mapping[str, str], folder: Path, service: HeadService) -> None:
        self._service = service
        os.environ.update(variables)
        with suppress(OSError):
            os.chdir(folder)
        self._myself = ray.get_runtime_context().current_actor
        self._giving_up = threading.Timer(2 * TIMEOUT_S, ray.kill, [self._myself])
        self._giving_up.daemon = True
        self._giving_up.start()

    def describe_head_differences(
        self, root: str, probe: str, document: Document, base: Path, submitted: ResolvedInputs
    ) -> str:
        """Run that of `HeadService`."""
        return self._service.describe_head_differences(root, probe, document, base, submitted)

    def start(self, run_id: str, root: str, options: Sequence[str]) -> tuple[str, str]:
        """Start the driver; return a description of its process, and what went wrong."""
        self._giving_up.cancel()
        driver = self._service.start(run_id, root, options)
        wrong = driver.started()
        threading.Thread(target=self._end_with, args=[driver], daemon=True).start()
        return driver.where(), wrong

    def _end_with(self, driver: StartedDriver) -> None:
        driver.wait()
        ray.kill(self._myself)
