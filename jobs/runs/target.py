"""The target of a run's tasks: this process, a Ray of our own, or a running cluster."""

from __future__ import annotations

from dataclasses import dataclass

import storage
from jobs.cluster.address import CLIENT_SCHEME, check_address
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
    """Where a run's tasks go.

    Attributes:
        address: of a Ray cluster that runs already; None: a Ray of our own on this machine.
        is_inline: in this process, without Ray.
        wait_s: how long cells wait for a device that no node of the cluster has.
        stall_s: how long a task may finish nothing before it counts as lost; not in this process.
        is_detached: the driver too goes to the cluster, and lives there.
    """

    address: str | None = None
    is_inline: bool = False
    wait_s: float = WAIT_S
    stall_s: float = STALL_S
    is_detached: bool = False

    def devices(self) -> tuple[str, ...] | None:
        """The names that a grid may use there; None where nodes may yet join with any."""
        return None if self.address else local_devices()

    def check(self) -> None:
        """See that tasks can go there.

        Raises:
            UsageError: both are asked for, or nothing answers at the address, or it is a client
                server's, or there is none for a driver to go to.
        """
        if self.is_detached and not self.address:
            raise UsageError(
                "--detach hands the driver to a cluster that runs already: give --address, such as"
                " that of `gfjobs node start --head` on this machine"
            )
        if self.address and self.is_inline:
            raise UsageError("--inline runs in this process, --address on a cluster: choose one")
        if self.address and self.address.startswith(CLIENT_SCHEME):
            raise UsageError(
                f"--address {self.address}: a run asks the head itself, not a Ray Client server:"
                " give HOST:PORT, such as that of `gfjobs node start --head`"
            )
        if self.address:
            check_address(self.address)

    def check_machine(self, store: storage.RunStore, plan: Plan) -> None:
        """Refuse to go on here with timed cells that another machine has begun.

        On a cluster the placement sees to that: it knows whether the machine may come back.

        Raises:
            UsageError: there are some.
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
                f" node {host}, and this is {node_name()}: rounds of two machines must not mix. Go"
                f" on where that node is, with `gfjobs resume {run_id} --address HOST:PORT`, or"
                " submit the grid as a new run"
            )

    def executor(self, plan: Plan) -> Executor:
        """Start what runs a plan's tasks there.

        Raises:
            JobsError: the cluster cannot be reached, or no node of it takes part.
        """
        sources = Sources.of(plan)
        if self.is_inline:
            return InlineExecutor(sources)
        from jobs.cluster.ray import RayExecutor

        return RayExecutor(sources, self.address, stall_s=self.stall_s)
