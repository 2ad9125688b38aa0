"""cluster.yaml: valid by Ray's own schema, and brought up for real over SSH."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
CLUSTER = REPOSITORY / "cluster.yaml"
RAY = (sys.executable, "-m", "ray.scripts.scripts")

USERS = "root:x:0:0:root:{home}:/bin/bash\nsshd:x:74:65534::/run/sshd:/usr/sbin/nologin\n"
SSHD = """\
Port 22
HostKey {home}/host_key
AuthorizedKeysFile {home}/key.pub
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
PidFile none
"""
PROFILE = "export PATH={tools}:$PATH PYTHONPATH={repository} TMPDIR={own}/run\n"
PROGRAM = "#!/bin/sh\nexec {python} -c 'from jobs.cli import main; main()' \"$@\"\n"


def test_the_file_fits_rays_own_schema() -> None:
    """Filled out as `ray up` fills it out; both boards belong to it."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    filled = prepare_config(yaml.safe_load(CLUSTER.read_text()))
    validate_config(filled)
    assert filled["available_node_types"]["local.cluster.node"]["min_workers"] == 2
    for side in ("head", "worker"):
        stop, start = filled[f"{side}_start_ray_commands"]
        assert "gfjobs node stop" in stop
        assert "gfjobs node start" in start


def test_ray_up_nodes_and_ray_down(network: Any, cluster: Any, token: str) -> None:
    """A head and a board, each with an SSH server, from a third host that has neither."""
    if missing := [tool for tool in ("sshd", "ssh-keygen", "rsync") if not find(tool)]:
        pytest.skip(f"{', '.join(missing)} not installed (openssh-server, rsync)")
    head, board, laptop = (network.host(name) for name in ("bench", "board", "laptop"))
    for host in (head, board, laptop):
        set_up(host, token)
    public = laptop.run("cat", f"{laptop.home}/key.pub").stdout
    for host in (head, board):
        host.write("key.pub", public)
        started = host.run(find("sshd"), "-f", f"{host.home}/sshd_config")
        assert started.returncode == 0, started.stderr

    config = yaml.safe_load(CLUSTER.read_text())
    config["provider"] |= {"head_ip": head.address, "worker_ips": [board.address]}
    config["auth"] = {"ssh_user": "root", "ssh_private_key": f"{laptop.home}/key"}
    laptop.write("cluster.yaml", yaml.safe_dump(config))
    file = f"{laptop.home}/cluster.yaml"
    up = laptop.run(*RAY, "up", "-y", "--no-config-cache", file)
    assert up.returncode == 0, up.stdout + up.stderr
    address = f"{head.address}:6379"

    def are_both_there() -> bool:
        shown = head.run(*cluster.gfjobs, "nodes", "--address", address, token=token).stdout
        return "bench" in shown and "board" in shown

    cluster.until(are_both_there, "the board to be brought up by the head")
    said = laptop.gfjobs("doctor", "--address", address, token=token)
    assert "node board: has the head's versions" in said
    assert "fail" not in said

    down = laptop.run(*RAY, "down", "-y", file)
    assert down.returncode == 0, down.stdout + down.stderr
    cluster.until(lambda: not any("gcs_server" in line for line in head.processes()), "the head")
    assert "; restarting in" not in head.log()
    assert "no Ray cluster answers" in laptop.refused("nodes", "--address", address, token=token)
    board.gfjobs("node", "stop")
    assert [line for line in board.processes() if "sshd" not in line] == []


def find(tool: str) -> str:
    """Where a tool is; empty where it is not."""
    return shutil.which(tool, path="/usr/sbin:/usr/bin:/sbin:/bin") or ""


def set_up(host: Any, token: str) -> None:
    """A home of its own for root, with keys, token, and `gfjobs` where cluster.yaml says."""
    values = {
        "home": host.home,
        "own": host.own,
        "tools": Path(sys.executable).parent,
        "repository": REPOSITORY,
        "python": sys.executable,
        "address": host.address,
        "host": host.name,
    }
    for name, text in {
        "passwd": USERS,
        "sshd_config": SSHD,
        ".bash_profile": PROFILE,
        ".bashrc": PROFILE,
        "gfjobs/bin/gfjobs": PROGRAM,
        ".ray/auth_token": "{token}",
        "hosts": "127.0.0.1 localhost\n{address} {host}\n",
        "resolv.conf": "",
    }.items():
        host.write(name, text.format(token=token, **values))
    for command in (
        ("chmod", "755", f"{host.home}/gfjobs/bin/gfjobs"),
        ("chmod", "600", f"{host.home}/.ray/auth_token"),
        ("mount", "--bind", f"{host.home}/passwd", "/etc/passwd"),
        ("mount", "--bind", f"{host.home}/hosts", "/etc/hosts"),
        ("mount", "--bind", f"{host.home}/resolv.conf", "/etc/resolv.conf"),
        ("mkdir", "-p", "/run/sshd"),
        ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{host.home}/host_key"),
        ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{host.home}/key"),
        ("ip", "route", "add", "default", "via", "10.77.0.254"),
    ):
        done = host.run(*command)
        assert done.returncode == 0, done.stderr
