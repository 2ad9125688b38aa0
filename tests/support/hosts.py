"""Hosts on one machine: network namespaces with their own processes, Ray folders and host names.

Each host is unshared from this machine in network, processes, mounts, host name and shared memory.
A pair of veth links joins it to a bridge in yet another namespace, which reaches nothing else.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
GFJOBS = (sys.executable, "-c", "from jobs.cli import main; main()")
PATIENCE_S = 120
POLL_S = 0.1
OWN = "/tmp/ray"  # noqa: S108 - each host has its own there

# A host's first process: it reaps, and ends when its input does.
INIT = """
set -e
hostname "$1"
mkdir -p /tmp/ray
mount -t tmpfs tmpfs /tmp/ray
mount -t tmpfs tmpfs /dev/shm
mount -t proc proc /proc
mkdir -p /tmp/ray/home/.ray /tmp/ray/run
ip link set lo up
echo ready
read -r _ || true
"""


def why_not() -> str:
    """Why there can be no hosts here; empty where there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "namespaces need root on Linux"
    missing = [tool for tool in ("ip", "unshare", "nsenter") if not shutil.which(tool)]
    if missing:
        return f"{', '.join(missing)} (iproute2, util-linux) not installed"
    probe = subprocess.run(["unshare", "-n", "-m", "-p", "-u", "-i", "--fork", "true"], check=False)
    return "" if probe.returncode == 0 else "this machine allows no namespaces"


class Host:
    """One host of the network.

    Args:
        network: the switch that it hangs on.
        number: the last part of its address.
        name: its host name.
    """

    def __init__(self, network: Network, number: int, name: str) -> None:
        self.name, self.address = name, f"10.77.0.{number}"
        self._link = f"gf{number}"
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "GFJOBS_"))},
            "HOME": f"{OWN}/home",
            "TMPDIR": f"{OWN}/run",
            "PYTHONPATH": str(REPOSITORY),
            "OMP_NUM_THREADS": "1",
            "RAY_worker_niceness": "0",  # else they hardly get on beside other tests
        }
        self._init = subprocess.Popen(
            ["unshare", "-n", "-p", "-m", "-u", "-i", "--fork", "--kill-child", "--propagation",
             "private", "bash", "-c", INIT, "init", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert self._init.stdout is not None
        assert self._init.stdout.readline() == "ready\n"
        (child,) = (
            Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text().split()
        )
        self._enter = ["nsenter", "-t", child, "-n", "-p", "-m", "-u", "-i"]
        network.plug(self._link, child)
        for command in (
            f"ip addr add {self.address}/24 dev {self._link}p",
            f"ip link set {self._link}p up",
        ):
            self.run(*command.split())

    def run(
        self, *command: str | Path, token: str | None = None, timeout_s: float = PATIENCE_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a command there to its end."""
        return subprocess.run(
            [*self._enter, *map(str, command)],
            env=self._environment(token),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            cwd="/",
        )

    def gfjobs(self, *arguments: str | Path, token: str | None = None) -> str:
        """Run `gfjobs` there: all that it said; the test fails where it does."""
        done = self.run(*GFJOBS, *arguments, token=token)
        said = done.stdout + done.stderr
        assert done.returncode == 0, f"{arguments} on {self.name}: {said}"
        return said

    def refused(self, *arguments: str | Path, token: str | None = None) -> str:
        """Run `gfjobs` there, which must fail: what it said."""
        done = self.run(*GFJOBS, *arguments, token=token)
        assert done.returncode in (1, 2), done.stdout
        assert "Traceback" not in done.stderr
        return done.stderr

    def begin(self, *arguments: str | Path, token: str | None = None) -> subprocess.Popen[str]:
        """Start `gfjobs` there."""
        return self.start(*GFJOBS, *arguments, token=token)

    def start(self, *command: str | Path, token: str | None = None) -> subprocess.Popen[str]:
        """Start any command there."""
        return subprocess.Popen(
            [*self._enter, *map(str, command)],
            env=self._environment(token),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd="/",
        )

    @property
    def home(self) -> str:
        """Its root's home, which no other host sees."""
        return f"{OWN}/home"

    @property
    def own(self) -> str:
        """A folder that no other host sees."""
        return OWN

    def write(self, name: str, text: str) -> None:
        """Write a file below its home."""
        script = 'mkdir -p "$(dirname "$1")" && cat > "$1"'
        subprocess.run(
            [*self._enter, "sh", "-c", script, "write", f"{self.home}/{name}"],
            input=text,
            text=True,
            check=True,
        )

    def unplug(self) -> None:
        """Cut its link."""
        self.run("ip", "link", "set", f"{self._link}p", "down")

    def replug(self) -> None:
        """Mend its link."""
        self.run("ip", "link", "set", f"{self._link}p", "up")

    def processes(self) -> list[str]:
        """What runs there, without the first process and the asking."""
        lines = self.run("ps", "-eo", "args").stdout.splitlines()[1:]
        return [line for line in lines if not line.startswith(("bash -c", "ps -eo"))]

    def log(self) -> str:
        """What its node has said."""
        return self.run("cat", f"{OWN}/run/gfjobs-0/node.log").stdout

    def close(self) -> None:
        """End it, with all its processes."""
        self._init.send_signal(signal.SIGKILL)  # --kill-child takes the rest along
        self._init.communicate()

    def _environment(self, token: str | None) -> dict[str, str]:
        return self.environment | ({"RAY_AUTH_TOKEN": token} if token else {})


class Network:
    """A switch in a namespace of its own, and the hosts on it."""

    def __init__(self) -> None:
        self.hosts: list[Host] = []
        script = "ip link add br0 type bridge && ip link set br0 up && echo ready && exec cat"
        self._switch = subprocess.Popen(
            ["unshare", "-n", "sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._switch.stdout is not None
        assert self._switch.stdout.readline() == "ready\n"

    def host(self, name: str) -> Host:
        """Another host."""
        self.hosts.append(Host(self, len(self.hosts) + 1, name))
        return self.hosts[-1]

    def plug(self, link: str, pid: str) -> None:
        """A link from the switch to the namespace of a process."""
        inside = ["nsenter", "-t", str(self._switch.pid), "-n", "ip", "link"]
        for command in (
            ["add", link, "type", "veth", "peer", "name", f"{link}p", "netns", pid],
            ["set", link, "master", "br0", "up"],
        ):
            subprocess.run([*inside, *command], check=True)

    def close(self) -> None:
        """End all."""
        for host in self.hosts:
            host.close()
        self._switch.communicate("")


class Cluster:
    """Makes hosts a cluster, and waits for what they do."""

    gfjobs = GFJOBS

    def start(self, head: Host, others: Sequence[tuple[Host, str]], device: str, token: str) -> str:
        """Start a node on each; the address of the head."""
        options = ("--host", head.address, "--device", device)
        head.gfjobs("node", "start", "--head", *options, token=token)
        address = f"{head.address}:6379"
        for host, slug in others:
            host.gfjobs("node", "start", "--address", address, "--device", slug, token=token)
        return address

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something that others do."""
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            asked_s = time.monotonic()
            if condition():
                return
            assert time.monotonic() < deadline_s, f"waited {PATIENCE_S} s for {what}"
            time.sleep(max(POLL_S, 2 * (time.monotonic() - asked_s)))  # others want to get on

    def end(self, command: subprocess.Popen[str]) -> str:
        """Wait for the end of a command: all that it said."""
        said, _ = command.communicate(timeout=2 * PATIENCE_S)
        return said
