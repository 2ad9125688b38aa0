"""The start of Ray on a node: command, environment, and limits for small boards."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from platform import python_version

import psutil

from jobs.cluster.address import LOOPBACK
from jobs.cluster.cluster_state import DEVICE_PREFIX, TIMING
from jobs.cluster.identity import Identity
from jobs.cluster.labels import Facts
from jobs.cluster.node_state import RAY_FOLDER, ray_folder
from jobs.cluster.ports import port_options
from jobs.cluster.token import MODE
from jobs.common.version import gfjobs_version
from jobs.machine.devices import CUDA
from jobs.machine.power.discovery import find_sources
from jobs.machine.registration import VARIABLE

DEFAULT_PORT = 6379
GIB = 2**30

STORE_SHARE = 0.1
STORE_BYTES = (100 * 2**20, 2 * GIB)
"""Minimum and maximum size of the object store: enough for some shards of images. On a Jetson it
uses the same memory as the GPU. Ray's default would be 30 % of memory."""

WORKER_BYTES = {CUDA: 2 * GIB}
"""Memory that a GPU worker process may need, with torch and its libraries; else OTHER_BYTES."""

OTHER_BYTES = GIB

# Declares a node whose link is cut dead after about 15 s instead of a minute.
_LIVELINESS = {
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_timeout_ms": "4000",
    "RAY_health_check_failure_threshold": "4",
}
# Without keepalive a driver waits for ever for a task that ended while its node was cut off. The
# head sends these settings to all that join, drivers too: a server without them treats so many
# pings as an attack. A driver that pinged a plain `ray start` lost every task of more than 20 s.
_KEEPALIVE = {"grpc_client_keepalive_time_ms": 5000, "grpc_client_keepalive_timeout_ms": 3000}
# `gfjobs nodes` reads what each node is doing from the head's history of tasks. By default it keeps
# the last 100,000, of 4 KiB each. Ended tasks are removed first, so a short history is enough.
_SHORT_HISTORY = {"task_events_max_num_task_in_gcs": 200}
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_memory_monitor_refresh_ms": "1000",  # the default of 250 slows a board down
}
# Ray replaces 127.0.0.1 by an address that others reach, and then listens on all addresses, unless
# it is told that this system is not for clusters: `_loopback_kept` of jobs/cluster/ray.
_LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
# gfjobs chooses the GPU of a task, so NVML, torch and registration must number GPUs alike.
_GPUS = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1",
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
}


@dataclass(frozen=True)
class Launch:
    """A node to start.

    Attributes:
        name: of the node, unique in the cluster.
        host: the address on which it listens and other nodes reach it.
        head: HOST:PORT of the cluster's head; None: it is the head.
        port: of the head; used if this node is the head.
        identity: the devices of the machine.
        autoscaling_config: of `ray up`, if that starts the other nodes.
    """

    name: str
    host: str
    head: str | None
    port: int
    identity: Identity
    autoscaling_config: str | None = None

    @property
    def address(self) -> str:
        """HOST:PORT of the cluster's head."""
        return self.head or f"{self.host}:{self.port}"

    def command(self) -> list[str]:
        """Return the command `ray start`, run by this Python.

        Raises:
            JobsError: no ports are free.
        """
        memory_bytes = psutil.virtual_memory().total
        devices = self.identity.devices
        resources = {DEVICE_PREFIX + slug: len(numbers) for slug, numbers in devices.items()}
        facts = self.facts(memory_bytes).labels()
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--disable-usage-stats"]
        if self.head is None:
            command += ["--head", f"--port={self.port}", "--include-dashboard=false"]
            command.append(f"--system-config={json.dumps(_KEEPALIVE | _SHORT_HISTORY)}")
        else:
            command += [f"--address={self.head}"]
        if self.autoscaling_config:
            command += [f"--autoscaling-config={self.autoscaling_config}"]
        return [
            *command,
            *port_options(),
            f"--node-ip-address={self.host}",
            f"--num-cpus={worker_count(self.identity.kind, memory_bytes)}",
            # Ray does not detect a Jetson's GPU.
            f"--num-gpus={sum(resources.values()) if self.identity.kind == CUDA else 0}",
            f"--object-store-memory={store_bytes(memory_bytes)}",
            f"--resources={json.dumps({TIMING: 1} | resources)}",
            f"--labels={','.join(f'{key}={value}' for key, value in facts.items())}",
        ]

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of Ray and its workers; `base` overrides our defaults for Ray."""
        ours = _LIVELINESS | _QUIET | _GPUS
        fixed = {
            VARIABLE: self.identity.registration(self.name).text(),
            MODE: "token",
        }
        if self.host == LOOPBACK:
            fixed |= _LOOPBACK_ONLY
        if self.autoscaling_config:
            # Version 2, which `ray up` requests, starts no node of the provider `local`.
            fixed |= {"RAY_enable_autoscaler_v2": "0"}
        environment = {RAY_FOLDER: str(ray_folder())} | ours | dict(base) | fixed
        environment.pop("RAY_BACKEND_LOG_LEVEL", None)  # keep a node's full logs
        return environment

    def facts(self, memory_bytes: int) -> Facts:
        """Return the facts that the node publishes as labels."""
        return Facts(
            device=next(iter(self.identity.devices)),
            node=self.name,
            gfjobs=gfjobs_version(),
            python=python_version(),
            ray=find_installed("ray"),
            torch=find_installed("torch"),
            accelerator=self.identity.accelerator,
            memory_mib=str(memory_bytes // 2**20),
            l4t=self.identity.l4t,
            power=(find_sources(self.identity.kind).name or "").split(":")[0] or None,
        )


def store_bytes(memory_bytes: int) -> int:
    """Return the size of the object store for a machine's memory."""
    least, most = STORE_BYTES
    return int(min(max(memory_bytes * STORE_SHARE, least), most))


def worker_count(kind: str, memory_bytes: int, processors: int | None = None) -> int:
    """Return how many worker processes a machine can run: a 4 GB board has six processors, but
    memory for only one.
    """
    each = WORKER_BYTES.get(kind, OTHER_BYTES)
    return max(1, min(processors or os.cpu_count() or 1, memory_bytes // each))


def find_installed(package: str) -> str | None:
    """Return the installed version of a package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
