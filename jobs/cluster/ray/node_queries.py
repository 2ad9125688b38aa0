"""Hardware checks on the nodes of a cluster, by one small task per node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jobs.cluster.cluster_state import TIMING, NodeView
from jobs.cluster.doctor import Check, Here, check_hardware
from jobs.cluster.ray.connection import join, leave
from jobs.cluster.ray.nodes import TIMING_SHARE
from jobs.cluster.ray.object_store import Reference

PATIENCE_S = 30.0
"""Longest wait: on a board a worker starts and loads torch. A node that is timing stays silent."""


def ask_hardware(address: str, nodes: Sequence[NodeView]) -> Mapping[str, Sequence[Check]]:
    """Make nodes run the hardware checks that only they can run.

    Args:
        address: of the cluster's head; this machine is one of its nodes.
        nodes: the nodes to check, all started by `gfjobs node start`.

    Returns: their checks by node id, without nodes that are timing or did not answer.

    Raises:
        ClusterError: the cluster cannot be joined.
    """
    if not nodes:
        return {}
    join(address)
    try:
        task: Any = ray.remote(max_retries=0)(_check)
        asked = {
            task.options(
                name="doctor",
                num_cpus=0,
                resources={TIMING: TIMING_SHARE},  # not during a timed task
                scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False),
            ).remote(): node.node_id
            for node in nodes
        }
        ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=PATIENCE_S)
        answers = {asked[reference]: _answer(reference) for reference in ready}
        return {node_id: checks for node_id, checks in answers.items() if checks}
    finally:
        leave()


def _answer(reference: Reference) -> list[Check]:
    try:
        checks: list[Check] = ray.get(reference)
    except RayError:  # it has left the cluster, or its gfjobs lacks this check
        return []
    return checks


def _check() -> list[Check]:
    """Run the checks, on the node."""
    return list(check_hardware(Here.look()))
