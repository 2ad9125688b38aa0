"""The process that holds a lease, so that a dead holder on this machine is detected at once."""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_STARTED_FIELD = 19  # of /proc/<pid>/stat, counted after the name: clock ticks since boot


@dataclass(frozen=True)
class Owner:
    """A process.

    Attributes:
        pid, host: for messages.
        machine: identifies the boot of the kernel and the namespace of process ids; "" if unknown.
        started: distinguishes a process from a later one of the same pid; "" if unknown.
    """

    pid: int
    host: str
    machine: str = ""
    started: str = ""

    @classmethod
    def here(cls) -> Owner:
        """Describe this process."""
        return cls(os.getpid(), socket.gethostname(), _machine(), _started(os.getpid()))

    def is_dead(self) -> bool:
        """Whether it is known to have ended: it ran on this machine, and no longer runs."""
        if not self.machine or not self.started or self.machine != _machine():
            return False
        return _started(self.pid) != self.started

    def __str__(self) -> str:
        """Name it for a message."""
        return f"process {self.pid} on {self.host}"


def _machine() -> str:
    """Identify boot and process namespace; empty if the kernel does not report them (macOS)."""
    with contextlib.suppress(OSError):
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {(_PROC / 'self/ns/pid').readlink()}"
    return ""


def _started(pid: int) -> str:
    """When a process began; empty if there is none. A zombie does not count."""
    with contextlib.suppress(OSError, IndexError):
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[_STARTED_FIELD]
    return ""
