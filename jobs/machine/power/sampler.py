"""The sampler: a thread that reads a power source at its period during timed sections."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from contextlib import suppress

from jobs.machine.power.source import PowerError, PowerReading, PowerSource

_PATIENCE_S = 5.0
"""Longest wait at the end for a sensor that does not answer; then its thread is abandoned."""


class Sampler:
    """Reads a source until it is stopped; shares only its attributes with the timed thread.

    Readings are assigned to windows afterwards, by their times. The thread holds no lock of its
    own, and releases the interpreter's while it reads files.

    Args:
        source: the source to read.
        processors: where the thread may run; it avoids the timed ones if others remain.

    Attributes:
        readings: in order of time.
        errors: number of failed readings, by error message.
        is_failing: whether the last reading failed.
        cpu_s: processor time of the thread, once it has ended.
    """

    def __init__(self, source: PowerSource, processors: frozenset[int] = frozenset()) -> None:
        self._source = source
        self._processors = processors
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gfjobs-power", daemon=True)
        self.readings: list[PowerReading] = []
        self.errors: Counter[str] = Counter()
        self.is_failing = False
        self.cpu_s = 0.0

    def start(self) -> None:
        """Start reading."""
        self._thread.start()

    def stop(self) -> None:
        """Stop, and wait for a reading in progress."""
        self._stopped.set()
        self._thread.join(_PATIENCE_S)
        if self._thread.is_alive():
            self.errors[f"no answer within {_PATIENCE_S:g} s"] += 1

    def _run(self) -> None:
        self._move_away()
        period_s = self._source.period_ms / 1e3
        due_s = time.monotonic()
        while not self._stopped.is_set():
            self._read()
            # A late reading is not made up for: the next one follows a period later.
            due_s = max(due_s + period_s, time.monotonic())
            self._stopped.wait(due_s - time.monotonic())
        self.cpu_s = time.thread_time()

    def _read(self) -> None:
        try:
            reading = self._source.read()
        except PowerError as err:
            self._fail(str(err))
        except Exception as err:  # noqa: BLE001 - a broken source loses the power, not the round
            self._fail(f"{type(err).__name__}: {err}")
        else:
            self.is_failing = False
            if reading is not None:
                self.readings.append(reading)

    def _fail(self, why: str) -> None:
        self.errors[why] += 1
        self.is_failing = True

    def _move_away(self) -> None:
        """Move to processors other than those of the timed thread that started this one."""
        if not self._processors:
            return
        if spare := self._processors - os.sched_getaffinity(0):
            with suppress(OSError):
                os.sched_setaffinity(0, spare)
