"""Who holds a lease, so that a dead holder on this very machine is known at once."""

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
        pid, host: for people.
        machine: this boot of this kernel and this namespace of process ids; "" where unknown.
        started: tells a process from a later one of the same pid; "" where unknown.
    """

    pid: int
    host: str
    machine: str = ""
    started: str = ""

    @classmethod
    def here(cls) -> Owner:
        """This process."""
        return cls(os.getpid(), socket.gethostname(), _machine(), _started(os.getpid()))

    def is_dead(self) -> bool:
        """Whether it is known to have ended: it ran where we run, and runs no more."""
        if not self.machine or not self.started or self.machine != _machine():
            return False
        return _started(self.pid) != self.started

    def __str__(self) -> str:
        """As a message names it."""
        return f"process {self.pid} on {self.host}"


def _machine() -> str:
    """Empty where the kernel does not say it, as on macOS."""
    with contextlib.suppress(OSError):
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {(_PROC / 'self/ns/pid').readlink()}"
    return ""


def _started(pid: int) -> str:
    """When a process began; empty where there is none. One that waits to be buried counts not."""
    with contextlib.suppress(OSError, IndexError):
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[_STARTED_FIELD]
    return ""
