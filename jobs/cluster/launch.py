"""How Ray is started on a node: the command, its environment, and what a small board can bear."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from platform import python_version

import psutil

from jobs.cluster.cluster_state import DEVICE_PREFIX, TIMING
from jobs.cluster.identity import Identity
from jobs.cluster.labels import Facts
from jobs.cluster.token import MODE
from jobs.common.version import gfjobs_version
from jobs.machine.devices import CUDA
from jobs.machine.power.discovery import find_sources
from jobs.machine.registration import VARIABLE

DEFAULT_PORT = 6379
GIB = 2**30

STORE_SHARE = 0.1
STORE_BYTES = (100 * 2**20, 2 * GIB)
"""Of the object store, least and most: some shards of images; it is taken from the same memory as
the GPU's on a Jetson. Ray itself would take 30 %."""

WORKER_BYTES = {CUDA: 2 * GIB}
"""What a worker process may need on a GPU, with torch and its libraries; elsewhere OTHER_BYTES."""

OTHER_BYTES = GIB

# A node whose link is cut is declared dead after about 15 s, not after a minute.
_LIVELINESS = {
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_timeout_ms": "4000",
    "RAY_health_check_failure_threshold": "4",
}
# Without keepalive a driver waits for ever for a task that ended while its node was cut off. Said
# by the head to all that join, drivers too: a server that does not know of it takes so many pings
# for an attack, and a driver that pinged a plain `ray start` lost every task of more than 20 s.
_KEEPALIVE = {"grpc_client_keepalive_time_ms": 5000, "grpc_client_keepalive_timeout_ms": 3000}
# What a node is doing, `gfjobs nodes` learns from the head's history of tasks. It would be of the
# last 100,000, of 4 KiB each; those that have ended go first, so few will do.
_SHORT_HISTORY = {"task_events_max_num_task_in_gcs": 200}
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_memory_monitor_refresh_ms": "1000",  # its default of 250 is felt on a board
}
# Which GPU a task uses is ours to say: NVML, torch and registration count alike.
_GPUS = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1",
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
}


@dataclass(frozen=True)
class Launch:
    """A node to start.

    Attributes:
        name: of the node, unlike that of any other.
        host: the address that it listens on and that others reach it by.
        head: HOST:PORT of the cluster's head; None: it is the head.
        port: of the head, where it is one.
        identity: what the machine is.
        autoscaling_config: of `ray up`, where that starts the other nodes.
    """

    name: str
    host: str
    head: str | None
    port: int
    identity: Identity
    autoscaling_config: str | None = None

    @property
    def address(self) -> str:
        """Of the cluster's head."""
        return self.head or f"{self.host}:{self.port}"

    def command(self) -> list[str]:
        """`ray start`, by this Python."""
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
            f"--node-ip-address={self.host}",
            f"--num-cpus={worker_count(self.identity.kind, memory_bytes)}",
            # Ray does not see a Jetson's GPU.
            f"--num-gpus={sum(resources.values()) if self.identity.kind == CUDA else 0}",
            f"--object-store-memory={store_bytes(memory_bytes)}",
            f"--resources={json.dumps({TIMING: 1} | resources)}",
            f"--labels={','.join(f'{key}={value}' for key, value in facts.items())}",
        ]

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """For Ray and for the workers that it starts; what `base` sets of Ray's own holds."""
        ours = _LIVELINESS | _QUIET | _GPUS
        fixed = {
            VARIABLE: self.identity.registration(self.name).text(),
            MODE: "token",
        }
        if self.autoscaling_config:
            # The newer one, which `ray up` asks for, starts no node of the provider `local`.
            fixed |= {"RAY_enable_autoscaler_v2": "0"}
        environment = ours | dict(base) | fixed
        environment.pop("RAY_BACKEND_LOG_LEVEL", None)  # a node's logs are whole
        return environment

    def facts(self, memory_bytes: int) -> Facts:
        """What the node says of itself."""
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
    """The size of the object store."""
    least, most = STORE_BYTES
    return int(min(max(memory_bytes * STORE_SHARE, least), most))


def worker_count(kind: str, memory_bytes: int, processors: int | None = None) -> int:
    """How many worker processes a machine bears: a 4 GB board has six processors, but no more
    memory than for one.
    """
    each = WORKER_BYTES.get(kind, OTHER_BYTES)
    return max(1, min(processors or os.cpu_count() or 1, memory_bytes // each))


def find_installed(package: str) -> str | None:
    """The version of a package here; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
