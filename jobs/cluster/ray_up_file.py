"""Checks of a file for `ray up`: all that gfjobs needs in it, with all problems at once.

Ray checks its own schema too, but reports one problem at a time, and does not check the token or
`gfjobs node start`.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from jobs.common.yaml_document import Document, Value

# From ray-schema.json of Ray 2.60, without node types: the provider `local` has only one.
KEYS = (
    "cluster_name",
    "max_workers",
    "upscaling_speed",
    "idle_timeout_minutes",
    "provider",
    "auth",
    "docker",
    "file_mounts",
    "cluster_synced_files",
    "file_mounts_sync_continuously",
    "rsync_exclude",
    "rsync_filter",
    "metadata",
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
    "no_restart",
)
REQUIRED = (
    "cluster_name",
    "provider",
    "auth",
    "file_mounts",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)
_SSH = ("ssh_user", "ssh_private_key", "ssh_public_key", "ssh_proxy_command")
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?:\.(?!-)[A-Za-z0-9-]{1,63})*\.?")
_LIKE_AN_ADDRESS = re.compile(r"[0-9.]+")
_TOKEN = ".ray/auth_token"  # noqa: S105 - a file's name
_MANY = 1_000_000_000


@dataclass(frozen=True)
class LauncherFile:
    """The machines in a file for `ray up`.

    Attributes:
        head: address of the head.
        workers: addresses of the other nodes.
    """

    head: str
    workers: tuple[str, ...]


def read_launcher_file(text: str, path: Path = Path("cluster.yaml")) -> LauncherFile:
    """Read a file for `ray up` with the provider `local`.

    Args:
        text: its content.
        path: its name in problems.

    Raises:
        BadInputError: it has problems; lists all of them, each with its line and key.
    """
    document = Document(path, text)
    entries = document.root().mapping(KEYS, REQUIRED)
    if "cluster_name" in entries:
        entries["cluster_name"].text()
    for name in ("max_workers", "idle_timeout_minutes"):
        if name in entries:
            entries[name].whole(0, _MANY)
    read = _machines(entries["provider"]) if "provider" in entries else LauncherFile("", ())
    if "auth" in entries:
        for value in entries["auth"].mapping(_SSH, ("ssh_user",)).values():
            value.text()
    if "file_mounts" in entries:
        _check_token(entries["file_mounts"])
    if "head_start_ray_commands" in entries:
        # Without --autoscaling-config the head has no list of the boards, and starts none of them.
        needed = ("gfjobs node start", "--head", "--autoscaling-config")
        _check_commands(entries["head_start_ray_commands"], needed)
    if "worker_start_ray_commands" in entries:
        needed = ("gfjobs node start", "--address", "$RAY_HEAD_IP")
        _check_commands(entries["worker_start_ray_commands"], needed)
    document.check()
    return read


def _machines(provider: Value) -> LauncherFile:
    names = ("type", "head_ip", "worker_ips")
    fields = provider.mapping(names, names)
    if "type" in fields:
        fields["type"].choice(("local",), "provider")
    head = _machine(fields["head_ip"]) if "head_ip" in fields else ""
    workers: list[str] = []
    for value in fields["worker_ips"].items() if "worker_ips" in fields else ():
        worker = _machine(value)
        if worker and worker in (head, *workers):
            value.problem(f"{worker!r} is listed twice", "each machine once, the head as head_ip")
        workers.append(worker)
    return LauncherFile(head, tuple(workers))


def _machine(value: Value) -> str:
    """Return the address of a machine: an IP address, or a host name, which is not looked up."""
    text = value.text()
    if _HOST_NAME.fullmatch(text) and not _LIKE_AN_ADDRESS.fullmatch(text):
        return text
    try:
        ipaddress.ip_address(text)
    except ValueError:
        if text:
            value.problem(
                f"{text!r} is no address", "an IP address, such as 10.0.0.21; or a host name"
            )
    return text


def _check_token(mounts: Value) -> None:
    """Check that the token is copied: no node starts without one."""
    node = mounts.node
    if not isinstance(node, yaml.MappingNode):
        mounts.problem(mounts.shown, f"a mapping, such as ~/{_TOKEN}: ~/{_TOKEN}")
        return
    targets = [str(key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    if not any(target.endswith(_TOKEN) for target in targets):
        mounts.problem("the token is missing", f"~/{_TOKEN}: ~/{_TOKEN}, or no node will start")


def _check_commands(commands: Value, needed: tuple[str, ...]) -> None:
    """Check that one of the commands starts a node by gfjobs."""
    texts = [value.text() for value in commands.items()]
    if texts and not any(all(word in text for word in needed) for text in texts):
        commands.problem(
            f"no command has {' and '.join(needed)}", "one with all of these (docs/nodes.md)"
        )
