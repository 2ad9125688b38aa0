"""Start and stop of this machine's node, with all checks that come before Ray starts."""

from __future__ import annotations

import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from platform import python_version

import psutil

from jobs.cluster.address import LOOPBACK, check_address, split_address
from jobs.cluster.cluster_state import ClusterError, ClusterView
from jobs.cluster.identity import Identity, identify
from jobs.cluster.launch import DEFAULT_PORT, Launch, find_installed
from jobs.cluster.node_state import RUNNING, WAITING, NodeState, log_file, read_state
from jobs.cluster.ports import PORTS
from jobs.cluster.supervisor import START_TIMEOUT_S, Supervisor, say
from jobs.cluster.token import DEFAULT_FILE, HOW_TO_MAKE, find_token
from jobs.cluster.versions import Versions, find_clashes
from jobs.common.errors import JobsError, UsageError
from jobs.common.text import ShowText
from jobs.common.version import gfjobs_version
from jobs.machine.power.discovery import VARIABLE as POWER
from jobs.machine.power.discovery import check_setting

STOP_S = 40.0
SHOWN_LINES = 12
"""Last lines of the log to show if a node does not start."""

_DASHBOARD_PORT = 8265
"""Ray refuses a head on it, even if it starts no dashboard."""

_SOMEWHERE = "192.0.2.1"  # reserved for documentation: nothing is sent there


@dataclass(frozen=True)
class Wanted:
    """Options for a node to start; `host`, `device` and `name` are detected if None.

    Attributes:
        head: HOST:PORT of the cluster's head; None: this node becomes the head.
        host: the address by which others reach this machine; loopback: a head for it alone.
        port: of the head.
        device: slug for all devices of this machine.
        name: of the node.
        autoscaling_config: of `ray up`.
    """

    head: str | None
    host: str | None
    port: int
    device: str | None
    name: str | None
    autoscaling_config: str | None = None


def prepare(wanted: Wanted) -> Launch:
    """Run all checks that are possible before Ray starts, and return the node to start.

    Raises:
        UsageError: a node runs here already, the device's name, the host or $GFJOBS_POWER is
            wrong, there is no token, no head answers, or the port of a new head is taken.
        BadInputError: the power replay file has problems.
        ClusterError: the head has another token or other versions, or another node has the name.
    """
    if running := read_state():
        raise UsageError(
            f"node {running.name} already runs here (process {running.pid}); stop it first:"
            " gfjobs node stop"
        )
    identity = identify()
    identity = identity if wanted.device is None else identity.renamed(wanted.device)
    if wanted.head is not None:
        check_address(wanted.head)
    host = wanted.host or own_address(wanted.head)
    check_setting(os.environ.get(POWER, ""))
    if find_token() is None:
        # Not on loopback either: other users of the machine reach that.
        raise UsageError(
            "a node without a token would run any code that it is sent, by anyone who reaches its"
            f" ports. Make a token once, on the head:\n  {HOW_TO_MAKE}\nand copy ~/{DEFAULT_FILE}"
            " to every other node"
        )
    host = node_address(host, wanted.head)
    launch = Launch(
        name=wanted.name or platform.node(),
        host=host,
        head=wanted.head,
        port=wanted.port,
        identity=identity,
        autoscaling_config=wanted.autoscaling_config,
    )
    if wanted.head is not None:
        from jobs.cluster.ray import view_cluster

        check_joining(launch, view_cluster(wanted.head))
    elif wanted.port in PORTS or wanted.port == _DASHBOARD_PORT:
        raise UsageError(
            f"--port {wanted.port} is one of those that a node's other processes have"
            f" ({PORTS.start} to {PORTS.stop - 1}, {_DASHBOARD_PORT}); choose another, such as"
            f" {DEFAULT_PORT}"
        )
    elif is_taken(host, wanted.port):
        raise UsageError(
            f"a program already listens at {launch.address}; choose another --port, or stop it"
        )
    return launch


def check_joining(launch: Launch, head: ClusterView) -> None:
    """Check that a node can join a cluster.

    Raises:
        ClusterError: versions differ, or another machine has its name.
    """
    found = find_clashes(
        here_versions(),
        Versions(head.python, head.ray, head.gfjobs),
        is_jetson=launch.identity.is_jetson,
    )
    if found:
        lines = "".join(f"\n  {clash.text}: {clash.remedy}" for clash in found)
        raise ClusterError(f"this machine cannot join the cluster at {head.address}:{lines}")
    others = [n for n in head.nodes if n.name == launch.name and n.address != launch.host]
    if others:
        raise ClusterError(
            f"the cluster already has a node {launch.name!r}, at {others[0].address}; rows identify"
            " machines by name: choose another with --name"
        )


def here_versions() -> Versions:
    """Return the versions in this environment."""
    return Versions(python_version(), find_installed("ray"), gfjobs_version())


def start(launch: Launch, narrate: ShowText) -> NodeState:
    """Start a node's supervisor in the background, and wait until the node has joined.

    Raises:
        JobsError: it does not start; the message has the last lines of the log.
    """
    log = log_file()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, json.dumps(asdict(launch))],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    narrate(f"starting node {launch.name} ({', '.join(launch.identity.devices)}); log: {log}")
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline_s:
        state = read_state()
        if state and state.phase == RUNNING:
            return state
        if state and state.phase == WAITING:
            break
        time.sleep(0.1)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.wait()
    lines = log.read_text(errors="replace").splitlines()[-SHOWN_LINES:]
    raise JobsError(f"node {launch.name} did not start; the end of {log}:\n" + "\n".join(lines))


def stay(launch: Launch) -> None:
    """Run a node's supervisor in this process until it ends."""
    Supervisor(launch, say).run()


def stop() -> str:
    """Stop the node of this machine, and wait until its processes have ended.

    Returns: its name.

    Raises:
        UsageError: no node runs here.
        JobsError: it does not end in time.
    """
    state = read_state()
    process = state.process() if state else None
    if state is None or process is None:
        raise UsageError("no node runs here; start one with gfjobs node start")
    process.terminate()
    try:
        process.wait(STOP_S)
    except psutil.TimeoutExpired as err:
        raise JobsError(
            f"node {state.name} (process {state.pid}) does not end; see its log: {log_file()}"
        ) from err
    return state.name


def cluster_address(given: str | None) -> str:
    """Return the address of the head that a command is for.

    It is the given one, else $RAY_ADDRESS, else the head of this machine's node.

    Raises:
        UsageError: there is no such address, or no head answers there.
    """
    state = read_state()
    named = os.environ.get("RAY_ADDRESS")
    address = given or named or (state.address if state else None)
    if address is None:
        raise UsageError("this machine is not a node of a cluster; give --address HOST:PORT")
    check_address(address, "--address" if given or not named else "$RAY_ADDRESS")
    return address


def own_address(head: str | None) -> str:
    """Return the address by which other nodes reach this machine: the one on the route to the head.

    Raises:
        UsageError: this machine has no such address.
    """
    target = split_address(head)[0] if head else _SOMEWHERE
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))  # sends nothing: UDP only looks up the route
            return str(probe.getsockname()[0])
    except OSError as err:
        raise UsageError(
            f"this machine has no address on a route to {target} ({err.strerror}); give the one"
            " by which the other nodes reach it: --host ADDRESS"
        ) from err


def node_address(host: str, head: str | None) -> str:
    """Return the IPv4 address of a node on this machine, for the name or address of a host.

    Args:
        host: as asked for.
        head: HOST:PORT of the head to join; None: it becomes the head.

    Raises:
        UsageError: it is not an address of this machine, or not one at which a node is reached.
    """
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
            address = str(probe.getsockname()[0])
    except OSError as err:
        raise UsageError(
            f"--host {host} is not an address of this machine ({err.strerror}); give the one by"
            " which the other nodes reach it, or omit --host"
        ) from err
    found = ip_address(address)
    if found.is_unspecified or (found.is_loopback and address != LOOPBACK):
        raise UsageError(
            f"--host {host} ({address}) is no address at which other nodes reach this machine; give"
            f" one, or {LOOPBACK} for a head that only this machine reaches, or omit --host"
        )
    if found.is_loopback and head is not None:
        raise UsageError(
            f"a node at {address}, which no other machine reaches, cannot join the head at {head}:"
            " give the address by which the head reaches it. A head at that address runs the cells"
            " of this machine itself"
        )
    return address


def is_taken(host: str, port: int) -> bool:
    """Return whether something listens at this address and port."""
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True


def _main() -> None:
    """Run in the background; the only argument is the launch as JSON."""
    fields = json.loads(sys.argv[1])
    identity = fields.pop("identity")
    devices = {slug: tuple(numbers) for slug, numbers in identity.pop("devices").items()}
    os.chdir("/")  # so that the present folder can be removed
    stay(Launch(identity=Identity(devices=devices, **identity), **fields))


if __name__ == "__main__":
    _main()
