"""Hands a run's driver over to the cluster's head, and checks that the head sees all it needs.

This module does not use Ray itself: `jobs.cluster.ray.head_actor` makes the calls on the head.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import storage
from jobs.common.errors import UsageError
from jobs.common.yaml_document import Document
from jobs.plan.plan import Plan
from jobs.runs.head_driver import DriverProcess, describe_head_differences
from jobs.runs.resolved_inputs import resolve_inputs

if TYPE_CHECKING:
    from jobs.cluster.ray import HeadDriver

PASSED_ON = (storage.DATA_VARIABLE, "GFJOBS_POWER")
"""Environment variables of the submitter that the driver needs. Tokens and keys are not passed on:
the head has its own."""


def check_root_option(text: str) -> None:
    """Check that a results root is the same folder on every host.

    Raises:
        UsageError: it is relative.
    """
    if "://" not in text and not Path(text).expanduser().is_absolute():
        raise UsageError(
            f"--detach: the results root {text!r} is relative, and the driver runs on the"
            " cluster's head, where it would be another folder; give an absolute path that the"
            " head also sees, with --results or $GFJOBS_RESULTS"
        )


def environment() -> dict[str, str]:
    """The part of this process's environment that a driver on another host gets."""
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ}


@contextmanager
def open_head(
    address: str, root: storage.Root, document: Document, plan: Plan
) -> Iterator[HeadDriver]:
    """Connect to a cluster's head, and check that it sees all that a run needs; writes nothing.

    Args:
        address: address of the cluster.
        root: the results root.
        document: the grid.
        plan: made from the grid on this host.

    Raises:
        UsageError: the head does not see all of it, or sees something else.
        ClusterError: the head cannot be reached.
    """
    from jobs.cluster.ray import HeadService, on_head

    service = HeadService(describe_head_differences, DriverProcess)
    with on_head(address, environment(), Path.cwd(), service) as head:
        with storage.probe(root) as probe:
            submitted = resolve_inputs(plan.cells)
            wrong = head.describe_head_differences(
                str(root), probe, document, plan.grid.base, submitted
            )
        if wrong:
            raise UsageError(
                f"--detach: {head.node}, the cluster's head, cannot drive the run: {wrong}"
            )
        yield head
