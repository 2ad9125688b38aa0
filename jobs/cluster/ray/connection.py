"""Connections to Ray: an embedded one, a running cluster, or queries of a head without joining."""

from __future__ import annotations

import json
import logging
import os
import secrets
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import Any

import ray
import ray._raylet
from ray._private import ray_constants, services
from ray._private.services import canonicalize_bootstrap_address
from ray.core.generated import common_pb2, gcs_pb2
from ray.exceptions import AuthenticationError, RayError

from jobs.cluster.address import CLIENT_SCHEME, LOOPBACK
from jobs.cluster.cluster_state import TIMING, ClusterError, ClusterView, NodeView
from jobs.cluster.labels import Facts
from jobs.cluster.token import MODE, VALUE, find_token, token_advice

EMBEDDED_STORE_BYTES = 512 * 2**20
TIMEOUT_S = 5.0
_NEEDED = ("gcs_server", "raylet")
"""Processes of an embedded Ray; when one has ended, Ray soon ends this process without a word."""
_HELPERS = ("start_api_server", "start_log_monitor", "start_monitor")
"""Methods of Ray's node that start the dashboard's process, which without a dashboard only reports
usage; the one that brings the workers' output here, which is switched off; and the autoscaler."""

_START_S = 30.0
_START_LOOK_S = 0.02
_QUICK_CONNECTS = {
    "raylet_client_connect_timeout_milliseconds": 20,
    "raylet_client_num_connect_attempts": 500,
}
"""Settings of an embedded Ray, whose first attempt to connect to its own object store mostly comes
too early: it tries again after 20 ms instead of a second, for 10 s as ever."""

_STDERR = 2
_TOKEN_BYTES = 32

# Ray has no type annotations for these.
_raylet: Any = ray._raylet  # noqa: SLF001 - the only way to query a head without joining
_worker: Any = ray._private.worker  # noqa: SLF001 - the only way to the processes of an embedded Ray
_services: Any = services
_node: Any = ray._private.node  # noqa: SLF001 - the only way to choose what an embedded Ray starts
_common: Any = common_pb2
_gcs: Any = gcs_pb2
_RUNNING, _FINISHED, _FAILED = (
    _common.TaskStatus.Value(name) for name in ("RUNNING", "FINISHED", "FAILED")
)


_connected = ExitStack()
"""What `leave` undoes."""


def start_here() -> None:
    """Start an embedded Ray that listens on loopback alone; `leave` ends it.

    Other users of this machine reach it, so it has a token like any cluster: that of this machine,
    or else a random one that only this process knows.
    """
    if not find_token() and os.environ.setdefault(MODE, "token") == "token":
        os.environ[VALUE] = secrets.token_hex(_TOKEN_BYTES)
        _raylet.Config.initialize("")  # Ray read its environment when it was imported
    _connected.enter_context(_native_stderr_off())
    with _loopback_kept(), _without_helpers(), _short_looks():
        ray.init(
            address="local",  # None would join whatever Ray was last started on this machine
            resources={TIMING: 1},
            object_store_memory=EMBEDDED_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _system_config=_QUICK_CONNECTS,
        )


@contextmanager
def _short_looks() -> Iterator[None]:
    """Make Ray notice at once that its node has started: by itself it looks once a second."""
    get_node = _services.get_node

    def wait_and_get(gcs_address: str, node_id: str) -> Any:
        client, due_s = _raylet.GcsClient(address=gcs_address), time.monotonic() + _START_S
        while time.monotonic() < due_s:
            with suppress(RayError, RuntimeError):
                found = client.get_all_node_info(timeout=TIMEOUT_S).values()
                if any(node.node_id.hex() == node_id for node in found):
                    break
            time.sleep(_START_LOOK_S)
        return get_node(gcs_address, node_id)

    _services.get_node = wait_and_get
    try:
        yield
    finally:
        _services.get_node = get_node


@contextmanager
def _without_helpers() -> Iterator[None]:
    """Make Ray start only what runs tasks.

    The others are Python processes of nearly a second of a processor each, and Ray waits until one
    of them answers: a third of the time until the first task.
    """
    kept = {name: getattr(_node.Node, name) for name in _HELPERS if hasattr(_node.Node, name)}
    for name in kept:
        setattr(_node.Node, name, lambda *_, **__: None)
    try:
        yield
    finally:
        for name, start in kept.items():
            setattr(_node.Node, name, start)


@contextmanager
def _loopback_kept() -> Iterator[None]:
    """Make Ray take 127.0.0.1 as it is.

    Otherwise it replaces it by an address that other machines reach, and a Ray with such an address
    listens on all addresses of a machine. This setting of Ray is for systems whose firewall asks
    the user about each open port.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def check_embedded() -> None:
    """Check that the processes of the embedded Ray run.

    Raises:
        ClusterError: one has ended.
    """
    node = _worker._global_node  # noqa: SLF001
    if ended := sorted({kind for kind, _ in node.dead_processes()}.intersection(_NEEDED)):
        raise ClusterError(
            f"the Ray of this run has ended: its {' and '.join(ended)} was killed, or lacked memory"
            f" or space on the disk; its logs: {node.get_logs_dir_path()}. Committed rows are kept:"
            " `gfjobs resume` runs what is missing"
        )


def leave() -> None:
    """Leave a cluster, or end the embedded Ray."""
    ray.shutdown()
    _connected.close()


@contextmanager
def _native_stderr_off() -> Iterator[None]:
    """Keep off stderr what Ray's C++ writes there, which its log of this driver has too.

    What Python writes stays: `sys.stderr` gets its own copy of the stream.
    """
    stream, own = sys.stderr, None
    with suppress(OSError, ValueError, AttributeError):  # it may be closed, or no file
        if stream.fileno() == _STDERR:
            own = os.fdopen(
                os.dup(_STDERR), "w", buffering=1, encoding=stream.encoding, errors=stream.errors
            )
            stream.flush()
            sys.stderr = own
    try:
        kept = os.dup(_STDERR)
    except OSError:  # closed
        yield
        return
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), _STDERR)
    try:
        yield
    finally:
        os.dup2(kept, _STDERR)
        os.close(kept)
        if sys.stderr is own:  # rich may have replaced it, and will put it back: it is not closed
            sys.stderr = stream


def join(address: str) -> Head | None:
    """Join a running cluster; `leave` leaves it.

    Returns: its head; None if the address is that of a Ray Client server (`ray://`).

    Raises:
        ClusterError: it has another token, or cannot be joined.
    """
    _hush()
    # Query the head first: for a wrong token Ray only reports "Failed to connect", after 20 s.
    head = None if address.startswith(CLIENT_SCHEME) else Head(address)
    _connected.enter_context(_native_stderr_off())
    try:
        with _loopback_kept() if head and head.is_on_loopback() else nullcontext():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as err:
        _connected.close()
        raise ClusterError(
            f"joining the Ray cluster at {address!r} failed: {err}. Check it with `gfjobs doctor"
            f" --address {address}`: this machine must be a node of it, with the same Ray and"
            " Python versions"
        ) from err
    return head


def _hush() -> None:
    """Keep Ray's log of cluster problems off stderr: those that matter are raised.

    Not for an embedded Ray, which has no such problems, and would log that its level was set.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "error")


def view_cluster(address: str) -> ClusterView:
    """Return a cluster's versions, nodes and running tasks, without joining it.

    Raises:
        ClusterError: as Head.
    """
    _hush()
    return Head(address).view()


class Head:
    """The head of a cluster, queried without joining it.

    Args:
        address: HOST:PORT, or `auto` for the cluster of this machine.

    Raises:
        ClusterError: it does not answer as a head of Ray, or has another token.
    """

    def __init__(self, address: str) -> None:
        try:
            with _loopback_kept():
                found = canonicalize_bootstrap_address(address)
            self._client: Any = _raylet.GcsClient(address=found) if found else None
        except AuthenticationError as err:
            raise ClusterError(
                f"the cluster at {address} has another token: {token_advice()}"
            ) from err
        except (RayError, ConnectionError, RuntimeError, ValueError) as err:
            raise ClusterError(
                f"no Ray cluster answers at {address}: {err}. Start its head with `gfjobs node"
                " start --head`, or check the address"
            ) from err
        if found is None:
            raise ClusterError(f"{address}: this machine runs no node of a cluster; give HOST:PORT")
        self.address: str = found

    def is_on_loopback(self) -> bool:
        """Return whether the head listens on loopback alone.

        Raises:
            ClusterError: the head no longer answers.
        """
        return any(node.is_head and node.address == LOOPBACK for node in self.nodes())

    def nodes(self) -> list[NodeView]:
        """Return the nodes that are alive; if two have one name and address, the later one.

        Raises:
            ClusterError: the head no longer answers.
        """
        return self._nodes({}, {})

    def view(self) -> ClusterView:
        """Return versions, nodes, and what the nodes are doing.

        Raises:
            ClusterError: the head no longer answers.
        """
        with _answering(self.address):
            text = self._client.internal_kv_get(
                b"CLUSTER_METADATA", namespace=b"cluster", timeout=TIMEOUT_S
            )
        versions = json.loads(text or b"{}")
        nodes = self._nodes(*_state_of(self.address))
        return ClusterView(
            address=self.address,
            ray=versions.get("ray_version", "unknown"),
            python=versions.get("python_version", "unknown"),
            nodes=tuple(sorted(nodes, key=lambda node: (not node.is_head, node.name))),
        )

    def _nodes(
        self, available: dict[str, dict[str, float]], tasks: dict[str, list[str]]
    ) -> list[NodeView]:
        with _answering(self.address):
            found = self._client.get_all_node_info(timeout=TIMEOUT_S).values()
        alive = [node for node in found if node.state == _gcs.GcsNodeInfo.ALIVE]
        alive.sort(key=lambda node: node.start_time_ms)
        views = [_node_view(node, available, tasks) for node in alive]
        # A node that rejoined before its death was noticed is listed twice.
        return list({(view.name, view.address): view for view in views}.values())


@contextmanager
def _answering(address: str) -> Iterator[None]:
    try:
        yield
    except (RayError, RuntimeError) as err:
        raise ClusterError(f"the head at {address} stopped answering: {err}") from err


def _node_view(
    node: Any, available: dict[str, dict[str, float]], tasks: dict[str, list[str]]
) -> NodeView:
    node_id = node.node_id.hex()
    return NodeView(
        node_id=node_id,
        host=node.node_manager_hostname,
        address=node.node_manager_address,
        is_head=node.is_head_node,
        started_ms=node.start_time_ms,
        facts=Facts.read(node.labels),
        resources=dict(node.resources_total),
        available=available.get(node_id, {}),
        ports={
            "node manager": node.node_manager_port,
            "object manager": node.object_manager_port,
        },
        tasks=tuple(sorted(tasks.get(node_id, ()))),
    )


def _state_of(address: str) -> tuple[dict[str, dict[str, float]], dict[str, list[str]]]:
    """Return, by node, the resources unused now and the names of the running tasks."""
    options = _raylet.GcsClientOptions.create(
        address, None, allow_cluster_id_nil=True, fetch_cluster_id_if_nil=False
    )
    state = _raylet.GlobalStateAccessor(options)
    if not state.connect():
        raise ClusterError(f"the head at {address} stopped answering")
    available = {}
    for message in state.get_all_available_resources():
        node = _gcs.AvailableResources.FromString(message)
        available[node.node_id.hex()] = dict(node.resources_available)
    tasks: dict[str, list[str]] = defaultdict(list)
    for message in state.get_task_events():
        event = _gcs.TaskEvents.FromString(message)
        states = event.state_updates.state_ts_ns
        is_running = _RUNNING in states and not {_FINISHED, _FAILED} & set(states)
        if is_running and event.task_info.type == _common.TaskType.NORMAL_TASK:
            tasks[event.state_updates.node_id.hex()].append(event.task_info.name)
    return available, tasks
