"""Tasks and trainings on nodes of a Ray cluster. The only package that imports Ray."""

import os

from jobs.cluster.node_state import RAY_FOLDER, ray_folder
from jobs.cluster.token import MODE, find_token

# Set before Ray is imported, since Ray reads them then.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage data is sent
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # silences a warning of 2.5x
os.environ.setdefault(RAY_FOLDER, str(ray_folder()))  # Ray's own is open to all users
if find_token():
    os.environ.setdefault(MODE, "token")  # Ray would do so too, but with a warning on stderr

from jobs.cluster.ray.connection import view_cluster
from jobs.cluster.ray.executor import RayExecutor
from jobs.cluster.ray.head_actor import HeadDriver, HeadService, on_head
from jobs.cluster.ray.node_queries import ask_hardware
from jobs.cluster.ray.training import train_on_node

__all__ = [
    "HeadDriver",
    "HeadService",
    "RayExecutor",
    "ask_hardware",
    "on_head",
    "train_on_node",
    "view_cluster",
]
