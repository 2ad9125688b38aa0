"""How Ray is started: the command, its environment, and what small boards bear."""

from __future__ import annotations

import json

import pytest

from jobs.cluster.identity import Identity
from jobs.cluster.labels import Facts
from jobs.cluster.launch import GIB, Launch, store_bytes, worker_count
from jobs.machine.registration import VARIABLE, Registration

NANO = Identity("cuda", {"jetson-orin-nano": (0,)}, "NVIDIA Jetson Orin Nano", "36.4.3")
GPUS = Identity("cuda", {"rtx-4090": (0, 2), "h100": (1,)}, "NVIDIA GeForce RTX 4090")


def launch(identity: Identity, **changes: object) -> Launch:
    """A node of a cluster."""
    fields = {
        "name": "board",
        "host": "10.0.0.21",
        "head": "10.0.0.1:6379",
        "port": 6379,
        "identity": identity,
    }
    return Launch(**(fields | changes))


def options(made: Launch) -> dict[str, str]:
    """Options of `ray start`, by name."""
    words = made.command()[made.command().index("start") + 1 :]
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def test_a_jetson_is_given_the_gpu_that_ray_does_not_see() -> None:
    """With its device as a resource and a label, beside the one for timing."""
    given = options(launch(NANO))
    assert given["--num-gpus"] == "1"
    assert json.loads(given["--resources"]) == {"timing": 1, "device:jetson-orin-nano": 1}
    assert "gfjobs.io/device=jetson-orin-nano" in given["--labels"].split(",")
    assert "gfjobs.io/l4t=36.4.3" in given["--labels"].split(",")
    assert given["--address"] == "10.0.0.1:6379"
    assert "--head" not in given


def test_several_gpus_are_counted_and_a_head_says_so() -> None:
    """Each name is a resource of its own."""
    made = launch(GPUS, head=None, port=7000)
    given = options(made)
    assert json.loads(given["--resources"]) == {"timing": 1, "device:rtx-4090": 2, "device:h100": 1}
    assert given["--num-gpus"] == "3"
    assert given["--port"] == "7000"
    # A driver's pings are the head's to allow: on others they cost every long task its worker.
    assert json.loads(given["--system-config"]) == {
        "grpc_client_keepalive_time_ms": 5000,
        "grpc_client_keepalive_timeout_ms": 3000,
        "task_events_max_num_task_in_gcs": 200,  # of 4 KiB each
    }
    assert "--system-config" not in options(launch(GPUS))
    assert not [name for name in made.environment({}) if name.startswith("RAY_grpc")]
    assert made.address == "10.0.0.21:7000"
    assert options(launch(Identity("cpu", {"cpu": (0,)})))["--num-gpus"] == "0"


def test_the_environment_of_a_node() -> None:
    """Workers learn its names; the token is asked for; the user's own settings of Ray hold."""
    base = {"RAY_health_check_period_ms": "9", "RAY_enable_autoscaler_v2": "1", "PATH": "/bin"}
    given = launch(NANO).environment(base)
    assert Registration.read(given[VARIABLE]) == NANO.registration("board")
    assert given["RAY_AUTH_MODE"] == "token"
    assert given["RAY_health_check_period_ms"] == "9"
    assert given["RAY_enable_autoscaler_v2"] == "1"
    assert given["PATH"] == "/bin"
    assert launch(NANO).environment({"RAY_AUTH_MODE": "disabled"})["RAY_AUTH_MODE"] == "token"
    up = launch(NANO, head=None, autoscaling_config="/c.yaml")
    assert up.environment(base)["RAY_enable_autoscaler_v2"] == "0"
    assert options(up)["--autoscaling-config"] == "/c.yaml"


@pytest.mark.parametrize(
    ("memory_gib", "kind", "workers", "store_mib"),
    [(3.7, "cuda", 1, 379), (7.4, "cuda", 3, 758), (62, "cuda", 6, 2048), (1, "cpu", 1, 102)],
)
def test_small_boards_get_few_workers(
    memory_gib: float, kind: str, workers: int, store_mib: int
) -> None:
    """Six processors, but a worker with torch on a GPU takes 2 GiB."""
    memory_bytes = int(memory_gib * GIB)
    assert worker_count(kind, memory_bytes, processors=6) == workers
    assert round(store_bytes(memory_bytes) / 2**20) == pytest.approx(store_mib, abs=1)


def test_labels_are_read_back_and_allowed_by_ray() -> None:
    """Whatever a maker calls its hardware; labels of others are passed over."""
    from ray._private.label_utils import validate_node_label_syntax

    facts = Facts("rtx-4090", "bench", "0.1.0", "3.11.7", "2.60.0", "2.7.0+cu128", "A (b) c" * 20)
    labels = facts.labels()
    validate_node_label_syntax(labels)
    read = Facts.read(labels | {"ray.io/node-id": "x"})
    assert (read.device, read.node, read.torch) == ("rtx-4090", "bench", "2.7.0_cu128")
    assert Facts.read({}) == Facts()
