"""The target that runs a run's tasks: this process, a local Ray, or a running cluster."""

from __future__ import annotations

from dataclasses import dataclass

import storage
from jobs.cluster.address import CLIENT_SCHEME, check_address
from jobs.cluster.node_state import ray_folder
from jobs.common.errors import UsageError
from jobs.driver.block_affinity import find_affinities
from jobs.driver.executor import Executor
from jobs.driver.fault_policy import WAIT_S
from jobs.driver.inline_executor import InlineExecutor
from jobs.driver.watchdog import STALL_S
from jobs.machine.devices import local_devices
from jobs.machine.registration import node_name
from jobs.plan.order import make_blocks
from jobs.plan.plan import Plan
from jobs.plan.sources import Sources


@dataclass(frozen=True)
class Target:
    """Where a run's tasks run.

    Attributes:
        address: address of a running Ray cluster; None: start Ray on this machine.
        is_inline: run in this process, without Ray.
        wait_s: how long cells wait for a device that no node of the cluster has.
        stall_s: how long a task may complete no batch before it counts as lost; not used inline.
        is_detached: run the driver on the cluster too.
    """

    address: str | None = None
    is_inline: bool = False
    wait_s: float = WAIT_S
    stall_s: float = STALL_S
    is_detached: bool = False

    def devices(self) -> tuple[str, ...] | None:
        """Device names that a grid may use; None on a cluster, where nodes with any may join."""
        return None if self.address else local_devices()

    def check(self) -> None:
        """Check that tasks can run there.

        Raises:
            UsageError: both an address and inline are asked for, or nothing answers at the address,
                or it is that of a Ray Client server, or detached is asked for without an address;
                or no folder is short enough for Ray's sockets.
        """
        if self.is_detached and not self.address:
            raise UsageError(
                "--detach hands the driver to a running cluster: give --address, such as that of"
                " `gfjobs node start --head` on this machine"
            )
        if self.address and self.is_inline:
            raise UsageError("--inline runs in this process, --address on a cluster: choose one")
        if self.address and self.address.startswith(CLIENT_SCHEME):
            raise UsageError(
                f"--address {self.address}: a run connects to the head, not to a Ray Client server:"
                " give HOST:PORT, such as that of `gfjobs node start --head`"
            )
        if self.address:
            check_address(self.address)
        elif not self.is_inline:
            ray_folder()

    def check_machine(self, store: storage.RunStore, plan: Plan) -> None:
        """Check that no timed cells to be resumed here began on another machine.

        On a cluster the placement handles this: it knows whether that machine may join again.

        Raises:
            UsageError: there are such cells.
        """
        if self.address:
            return
        run_id, entries = store.run.run_id, store.entries()
        done = frozenset(entry.key for entry in entries)
        for block, host in find_affinities(make_blocks(plan, by_device=True), entries).items():
            if host == node_name() or not any(block.tasks(run_id, done)):
                continue
            raise UsageError(
                f"run {run_id}: timed cells of device {block.device} on {block.dataset} began on"
                f" node {host}, and this is {node_name()}: rounds of two machines must not mix."
                f" Resume it on a cluster with that node (`gfjobs resume {run_id} --address"
                " HOST:PORT`), or submit the grid as a new run"
            )

    @property
    def starting(self) -> str | None:
        """What takes seconds before the first task runs, for the user; None if nothing does."""
        if self.is_inline:
            return None
        return f"connecting to Ray at {self.address}" if self.address else "starting Ray"

    def executor(self, plan: Plan) -> Executor:
        """Start an executor for a plan's tasks.

        Raises:
            JobsError: the cluster cannot be reached, or none of its nodes takes part.
        """
        sources = Sources.of(plan)
        if self.is_inline:
            return InlineExecutor(sources)
        from jobs.cluster.ray import RayExecutor

        return RayExecutor(sources, self.address, stall_s=self.stall_s)
