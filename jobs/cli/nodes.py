"""Commands about the nodes of a cluster."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from jobs.cli.base import FAILED, main, narrate, program, show
from jobs.common.errors import UsageError

DEFAULT_PORT = 6379  # Ray's; also in `launch`, which loads psutil


@main.group()
def node() -> None:
    """Start or stop this machine's node of a Ray cluster.

    \b
    Example:
      gfjobs node start --head
      gfjobs node stop
    """


@node.command()
@click.option("--head", "is_head", is_flag=True, help="Start the head of a cluster.")
@click.option("--address", help="HOST:PORT of the head of the cluster to join.")
@click.option("--device", help="Name of this machine's devices in grids; default: detected.")
@click.option("--name", help="Name of this machine in results; default: its host name.")
@click.option("--host", help="Address by which others reach this machine; 127.0.0.1: only itself.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="Port of the head.",
)
@click.option("--autoscaling-config", help="With --head: the file that `ray up` copies here.")
@click.option("--block", is_flag=True, help="Stay in the foreground, as systemd needs it.")
def start(
    *,
    is_head: bool,
    address: str | None,
    device: str | None,
    name: str | None,
    host: str | None,
    port: int,
    autoscaling_config: str | None,
    block: bool,
) -> None:
    """Start Ray here, as a cluster's head or as one of its nodes.

    It is restarted whenever it ends, until `gfjobs node stop`.

    \b
    Example:
      gfjobs node start --head
      gfjobs node start --address 10.0.0.1:6379
    """
    from jobs.cluster import node_service
    from jobs.cluster.address import LOOPBACK

    if is_head == bool(address):
        raise UsageError("give either --head, or --address HOST:PORT of the head to join")
    wanted = node_service.Wanted(address, host, port, device, name, autoscaling_config)
    launch = node_service.prepare(wanted)
    if block:
        node_service.stay(launch)
        return
    state = node_service.start(launch, narrate)
    narrate(f"node {state.name} runs; the cluster is at {state.address}")
    if launch.host == LOOPBACK:
        narrate(f"only this machine reaches it: {program()} submit GRID --address {state.address}")
        return
    narrate(f"to join it elsewhere: {program()} node start --address {state.address}")
    narrate("Ray listens on all addresses of this machine: see docs/security.md")


@node.command()
def stop() -> None:
    """Stop this machine's node and all its processes.

    \b
    Example:
      gfjobs node stop
    """
    from jobs.cluster.node_service import stop as stop_node

    narrate(f"node {stop_node()} has stopped")


@main.command()
@click.option("--address", help="HOST:PORT of the head; default: this machine's cluster.")
def nodes(address: str | None) -> None:
    """List the registered nodes, and what they are doing.

    \b
    Example:
      gfjobs nodes --address 10.0.0.1:6379
    """
    from jobs.cluster.node_service import cluster_address
    from jobs.cluster.nodes_table import nodes_tables
    from jobs.cluster.ray import view_cluster

    show(nodes_tables(view_cluster(cluster_address(address))))


def _accept(json_file: Path | None, runtimes: tuple[str, ...], *, is_cpu: bool) -> None:
    """Show the acceptance of this machine's GPU, and exit with 1 if it has none."""
    from jobs.acceptance.accept import accept
    from jobs.acceptance.view import acceptance_table, save_json

    if json_file and not json_file.parent.is_dir():  # minutes of checks would be lost
        raise UsageError(
            f"--json {json_file}: there is no folder {json_file.parent}; create it first"
        )
    acceptance = accept(narrate, is_cpu=is_cpu, runtimes=runtimes)
    for line in acceptance_table(acceptance):
        show(f"{line}\n")
    if json_file:
        save_json(acceptance, json_file)
        narrate(f"written as JSON: {json_file}")
    if not acceptance.is_accepted:
        sys.exit(FAILED)


@main.command()
@click.option("--address", help="Also check the cluster whose head is at HOST:PORT.")
@click.option(
    "--cluster",
    "launcher_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also check a file for `ray up`.",
)
@click.option("--gpu", "is_gpu", is_flag=True, help="Prove the installation on this machine's GPU.")
@click.option("--cpu", "is_cpu", is_flag=True, help="With --gpu: rehearse on the processor.")
@click.option(
    "--runtime",
    "runtimes",
    multiple=True,
    metavar="NAME",
    help="With --gpu: an engine to check; may be repeated. Default: all; with --cpu not compile.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="With --gpu: also write the checks as JSON.",
)
def doctor(
    address: str | None,
    launcher_file: Path | None,
    *,
    is_gpu: bool,
    is_cpu: bool,
    runtimes: tuple[str, ...],
    json_file: Path | None,
) -> None:
    """Check this machine, or all nodes of a cluster with --address.

    With --gpu it measures instead, for up to 8 minutes: answers, exits, clocks and energy of this
    machine's GPU, each with what is expected. The exit code is 1 if a check fails, 2 without a GPU.

    \b
    Example:
      gfjobs doctor
      gfjobs doctor --address 10.0.0.1:6379
      gfjobs doctor --cluster cluster.yaml
      gfjobs doctor --gpu --json accepted.json
    """
    if is_gpu:
        if address or launcher_file:
            raise UsageError("--gpu checks this machine alone: leave --address and --cluster out")
        _accept(json_file, runtimes, is_cpu=is_cpu)
        return
    if is_cpu or runtimes or json_file:
        raise UsageError("--cpu, --runtime and --json belong to --gpu: give that too")
    from jobs.cluster.cluster_doctor import check_cluster, check_launcher_file
    from jobs.cluster.doctor import Here, check_here, checks_table, has_failed

    here = Here.look()
    checks = list(check_here(here))
    if launcher_file:
        checks += check_launcher_file(launcher_file)
    if address:
        from jobs.cluster.ray import ask_hardware, view_cluster

        checks += check_cluster(address, here.identity, view_cluster, ask_hardware)
    for line in checks_table(checks):
        show(f"{line}\n")
    if has_failed(checks):
        sys.exit(FAILED)
