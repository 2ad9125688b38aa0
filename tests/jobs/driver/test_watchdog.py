"""Which tasks have stalled: by a clock and by reports that the test makes up."""

from __future__ import annotations

import math
from collections.abc import Hashable

import pytest

from jobs.driver.watchdog import LOOKS, Watchdog

LIMIT_S = 100.0


class Night:
    """A watchdog, its clock, and what each task has finished."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.beats: dict[Hashable, int] = {}
        self.asked = 0
        self.watchdog = Watchdog(LIMIT_S, lambda: self.now_s)

    def ask(self, key: Hashable) -> int | None:
        """What a worker reported."""
        self.asked += 1
        return self.beats.get(key)

    def pass_by(self, seconds: float, working: tuple[str, ...] = ()) -> list[Hashable]:
        """Let time go by, looking when it is due; the tasks that stalled meanwhile."""
        end_s, found = self.now_s + seconds, []
        while (due_s := self.watchdog.due_s()) <= end_s - self.now_s:
            self.now_s += due_s
            for key in working:
                self.beats[key] = self.beats.get(key, 0) + 1
            stalled = self.watchdog.stalled(self.ask)
            for key in stalled:
                self.watchdog.end(key)
            found += stalled
        self.now_s = end_s
        return found


@pytest.fixture
def night() -> Night:
    """Nothing is in flight."""
    return Night()


def test_nothing_in_flight_needs_no_look(night: Night) -> None:
    """So a driver may wait for ever."""
    assert night.watchdog.due_s() == math.inf
    assert night.watchdog.stalled(night.ask) == []


def test_a_task_that_goes_on_is_never_killed(night: Night) -> None:
    """However long it takes in all."""
    night.watchdog.begin("slow", "board")
    assert night.pass_by(100 * LIMIT_S, working=("slow",)) == []


def test_a_task_that_stops_is_found_within_one_and_a_half_times_the_limit(night: Night) -> None:
    """Also after it had long gone on."""
    night.watchdog.begin("hung", "board")
    assert night.pass_by(5 * LIMIT_S, working=("hung",)) == []
    assert night.pass_by(0.7 * LIMIT_S) == []
    assert night.pass_by(0.8 * LIMIT_S) == ["hung"]


def test_a_task_that_never_says_anything_is_found(night: Night) -> None:
    """Its worker may hold the interpreter, or its place may start nothing."""
    night.watchdog.begin("mute", "board")
    assert night.pass_by(1.3 * LIMIT_S) == ["mute"]


def test_a_task_that_waits_behind_another_is_not_blamed(night: Night) -> None:
    """The one in front progresses; only when that ends and nothing begins has it stalled."""
    night.watchdog.begin("front", "board")
    night.watchdog.begin("behind", "board")
    night.watchdog.begin("elsewhere", "other")
    assert night.pass_by(10 * LIMIT_S, working=("front", "elsewhere")) == []
    night.watchdog.end("front")
    assert night.pass_by(0.9 * LIMIT_S, working=("elsewhere",)) == []
    assert night.pass_by(0.5 * LIMIT_S, working=("elsewhere",)) == ["behind"]


def test_what_is_quiet_on_purpose_has_longer(night: Night) -> None:
    """An idle window of power finishes nothing."""
    night.watchdog.begin("idle", "board", quiet_s=LIMIT_S)
    assert night.pass_by(1.9 * LIMIT_S) == []
    assert night.pass_by(0.7 * LIMIT_S) == ["idle"]


def test_young_tasks_are_not_asked(night: Night) -> None:
    """A report costs a message, so there is none before a quarter of the limit."""
    for number in range(50):
        night.watchdog.begin(number, "board")
        night.pass_by(0.9 * LIMIT_S / LOOKS)
        night.watchdog.end(number)
    assert night.asked == 0
