"""A driver that lives on the cluster: what its host must see, and how it is started there.

Nothing of Ray is known here: `jobs.cluster.ray.head_actor` carries the questions to the head.
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
"""What the driver needs of the environment of who submits. Tokens and keys are none of it: the head
has its own."""


def check_root_option(text: str) -> None:
    """Refuse a results root that means another folder on another host.

    Raises:
        UsageError: it is relative.
    """
    if "://" not in text and not Path(text).expanduser().is_absolute():
        raise UsageError(
            f"--detach: the results root {text!r} is relative, and the driver runs on the"
            " cluster's head, where it would be another folder; give an absolute path that the"
            " head sees too, with --results or $GFJOBS_RESULTS"
        )


def environment() -> dict[str, str]:
    """What a driver elsewhere gets of this process's environment."""
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ}


@contextmanager
def open_head(
    address: str, root: storage.Root, document: Document, plan: Plan
) -> Iterator[HeadDriver]:
    """The head of a cluster, which sees all that a run needs. Nothing has been written yet.

    Args:
        address: of the cluster.
        root: the results root.
        document: the grid.
        plan: made of it here.

    Raises:
        UsageError: the head does not see it, or sees something else.
        ClusterError: it cannot be asked.
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
            raise UsageError(f"--detach: {head.node}, the cluster's head, cannot drive it: {wrong}")
        yield head
