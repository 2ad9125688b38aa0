"""Handles what stops a run from outside: Ctrl-C, a termination signal, `gfjobs cancel`."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from typing_extensions import Self

POLL_S = 1.0
"""Time between two checks for a cancel request: one `stat`, too short to affect timed tasks."""

SAME_PRESS_S = 0.5
"""Time within which a second signal counts as a copy of the first: `make` and others forward
theirs."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)
FAILED = 1


class Interrupts:
    """Turns the first reason to stop into one KeyboardInterrupt; a second Ctrl-C ends at once.

    A context manager, for the main thread. Nothing interrupts the clean-up after the first reason
    except a second signal: then this process and its descendants end at once, as if killed.
    Committed rows are kept, as after any kill.

    Args:
        is_cancel_asked: checks for a cancel request.
        end: ends this process and its descendants; a fake one in tests.
        clock: seconds; a fake one in tests.
    """

    def __init__(
        self,
        is_cancel_asked: Callable[[], bool],
        end: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.is_cancelled = False
        self._is_cancel_asked = is_cancel_asked
        self._end = end or end_at_once
        self._clock = clock
        self._has_raised = False
        self._first_s: float | None = None
        self._own = 0
        self._over = threading.Event()

    def __enter__(self) -> Self:
        """Take over the signals, and watch for a cancel request."""
        # A signal is written to this pipe at once, also while the main thread waits in C code.
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before = [signal.signal(number, self._interrupt) for number in SIGNALS]
        self._fd_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._watch, name="interrupts", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the signal handlers."""
        self._over.set()
        with contextlib.suppress(OSError):
            os.write(self._writer, b"\0")
        self._thread.join()
        signal.set_wakeup_fd(self._fd_before)
        for number, handler in zip(SIGNALS, self._before, strict=True):
            signal.signal(number, handler)
        os.close(self._reader)
        os.close(self._writer)

    def _interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        if not self._has_raised:
            self._has_raised = True
            raise KeyboardInterrupt

    def _watch(self) -> None:
        """Watch for signals and a cancel request; runs in a thread of its own."""
        timeout_s = 0.0
        while not self._over.is_set():
            ready, _, _ = select.select([self._reader], [], [], timeout_s)
            timeout_s = POLL_S
            if ready:
                self._count(os.read(self._reader, 64))
            elif self._first_s is None and self._is_asked():
                self.is_cancelled = True
                self._first_s = self._clock()
                self._own = 1
                os.kill(os.getpid(), signal.SIGTERM)

    def _is_asked(self) -> bool:
        try:
            return self._is_cancel_asked()
        except OSError:  # the results root is unavailable for a while
            return False

    def _count(self, numbers: bytes) -> None:
        """Count signals; the second one ends the process."""
        for number in numbers:
            if number not in SIGNALS:
                continue
            if self._own:
                self._own = 0
            elif self._first_s is None:
                self._first_s = self._clock()
            elif self._clock() - self._first_s >= SAME_PRESS_S:
                self._end()


def end_at_once() -> None:
    """Kill all descendants of this process, and end it."""
    sys.stderr.write("stopped at once; committed rows are kept: resume with `gfjobs resume`\n")
    sys.stderr.flush()
    below = psutil.Process().children(recursive=True)
    for process in below:
        with contextlib.suppress(psutil.Error):
            process.kill()
    os._exit(FAILED)
