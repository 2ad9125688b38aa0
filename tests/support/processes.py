"""Waits for the end of processes that others end: a kill takes a moment, and so does reaping."""

from __future__ import annotations

import time

import psutil

PATIENCE_S = 60


def is_gone(pid: int) -> bool:
    """Whether a process runs no more; who has ended but is not reaped yet is gone too."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def until_gone(pid: int) -> None:
    """Wait until a process is gone; fails if it stays."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not is_gone(pid):
        assert time.monotonic() < deadline_s, f"process {pid} is left"
        time.sleep(0.02)
