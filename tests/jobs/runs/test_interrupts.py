"""Signals and the word to cancel, with a double of the end of this process."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from support.leaks import no_thread_left

from jobs.runs import interrupts
from jobs.runs.interrupts import SAME_PRESS_S, Interrupts

PATIENCE_S = 30


class Ending:
    """What stands for the end of this process."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.has_come = threading.Event()
        self.watching = self.interrupts(lambda: False)

    def interrupts(self, is_cancel_asked: object) -> Interrupts:
        """With a clock that the test sets."""
        return Interrupts(is_cancel_asked, self.has_come.set, lambda: self.now_s)


def until(condition: object) -> None:
    """Wait for the thread."""
    waiting = threading.Event()
    for _ in range(PATIENCE_S * 100):
        if condition():
            return
        waiting.wait(0.01)
    pytest.fail("nothing happened")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_interrupts_once(number: signal.Signals) -> None:
    """One that comes at the same time, passed on by `make`, does not cut the clean-up short."""
    ending = Ending()
    cleaned = []
    before = signal.getsignal(signal.SIGTERM)

    def work() -> None:
        with ending.watching:
            try:
                os.kill(os.getpid(), number)
                until(lambda: False)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGINT)
                cleaned.append(True)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert cleaned
    assert not ending.has_come.is_set()
    assert not ending.watching.is_cancelled
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_second_signal_ends_at_once() -> None:
    """Also while the clean-up goes on; no second KeyboardInterrupt runs through it."""
    ending = Ending()

    def work() -> None:
        with ending.watching:
            try:
                os.kill(os.getpid(), signal.SIGINT)
                until(lambda: False)
            finally:
                until(lambda: ending.watching._first_s is not None)
                ending.now_s += SAME_PRESS_S
                os.kill(os.getpid(), signal.SIGINT)
                assert ending.has_come.wait(PATIENCE_S)

    with pytest.raises(KeyboardInterrupt):
        work()


def test_a_wish_to_cancel_interrupts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen without a signal from outside; a results root that is away is asked again."""
    monkeypatch.setattr(interrupts, "POLL_S", 0.01)
    answers = iter([False, OSError("stale file handle"), True])

    def is_asked() -> bool:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return bool(answer)

    ending = Ending()
    watching = ending.interrupts(is_asked)
    with pytest.raises(KeyboardInterrupt), watching:
        until(lambda: False)
    assert watching.is_cancelled
    assert not ending.has_come.is_set()
    assert next(answers, None) is None


def test_nothing_happens_where_nobody_wants_it() -> None:
    """The thread ends with the run."""
    with no_thread_left(), Ending().watching:
        pass
