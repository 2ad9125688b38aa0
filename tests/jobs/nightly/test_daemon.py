"""The loop, on a played clock with played processes; the ledger is real."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from jobs.nightly.daemon import (
    BUSY,
    FOREIGN_S,
    IDLE_S,
    MAX_ATTEMPTS,
    MAX_CRASHES,
    WATCH_S,
    Scheduler,
)
from jobs.nightly.ledger import Ledger
from jobs.nightly.lock import BusyError, Lock
from jobs.nightly.records import Entry

from .conftest import AUTUMN, Machine


def run_through(machine: Machine, days: int, state: str = "done") -> None:
    """Wake every ten minutes; nights take an hour."""
    ends = None
    for _ in range(days * 24 * 6):
        process = machine.wake_at(minutes=10)
        if process:
            ends = machine.now + timedelta(hours=1)
        if ends and machine.now >= ends:
            machine.processes[-1].finish(state)
            ends = None


def test_each_night_once_over_the_night_of_autumn(machine: Machine) -> None:
    """Half past two in Berlin is at 00:30 UTC, and from the 26th on at 01:30."""
    run_through(machine, 7)
    assert machine.states() == [
        ("10-21 00:30", "done"),
        ("10-22 00:30", "done"),
        ("10-23 00:30", "done"),
        ("10-24 00:30", "done"),
        ("10-25 00:30", "done"),
        ("10-26 01:30", "done"),
        ("10-27 01:30", "done"),
    ]


def test_each_night_once_over_the_night_of_spring(machine: Machine, entry: Entry) -> None:
    """At 03:00 where there is no 02:30."""
    machine.now = AUTUMN.replace(month=3, day=27)
    machine.ledger.save_schedule(replace(entry, horizon=machine.now))
    run_through(machine, 3)
    assert [due for due, _ in machine.states()] == ["03-28 01:30", "03-29 01:00", "03-30 00:30"]


def test_what_was_missed_runs_once(machine: Machine) -> None:
    """After three days without a daemon: the last of the nights; the others are written down."""
    process = machine.wake_at(10, 23, 9, 0)
    assert process is not None
    assert machine.states() == [
        ("10-21 00:30", "missed"),
        ("10-22 00:30", "missed"),
        ("10-23 00:30", "running"),
    ]
    assert process.night.run_id == "nightly-20261023-003000"
    note = machine.ledger.nights()[1].note or ""
    assert "2 missed" in note
    process.finish()
    assert machine.wake_at(10, 23, 12, 0) is None
    assert machine.wake_at(10, 24, 0, 30) is not None


def test_nothing_is_due_before_its_time(machine: Machine) -> None:
    """And then at once."""
    assert machine.wake_at(10, 21, 0, 29) is None
    assert machine.scheduler.idle_s() == pytest.approx(min(IDLE_S, 60))
    machine.now += timedelta(seconds=50)
    assert machine.scheduler.idle_s() == pytest.approx(10)
    assert machine.wake_at(10, 21, 0, 30) is not None
    assert machine.scheduler.idle_s() == WATCH_S


def test_a_long_night_is_not_run_twice_at_once(machine: Machine) -> None:
    """What was due meanwhile is run once, after it."""
    process = machine.wake_at(10, 21, 0, 30)
    assert process is not None
    assert machine.wake_at(10, 22, 0, 30) is None
    assert machine.wake_at(10, 23, 0, 30) is None
    process.finish("regression")
    second = machine.wake_at(10, 23, 1, 0)
    assert second is not None
    assert machine.states() == [
        ("10-21 00:30", "regression"),
        ("10-22 00:30", "missed"),
        ("10-23 00:30", "running"),
    ]


def test_schedules_take_turns(machine: Machine, entry: Entry) -> None:
    """One night at a time, the one that is due for longest first."""
    machine.ledger.save_schedule(
        replace(entry, name="early", text=entry.text.replace("30 2", "0 2"))
    )
    first = machine.wake_at(10, 21, 6, 0)
    assert first is not None
    assert first.night.schedule == "early"
    assert machine.wake_at(minutes=1) is None
    first.finish()
    second = machine.wake_at(minutes=1)
    assert second is not None
    assert second.night.schedule == "nightly"


def test_killed_midway_it_goes_on_under_the_same_name(machine: Machine) -> None:
    """By the next daemon, after a reboot in mid-night."""
    first = machine.wake_at(10, 21, 0, 30)
    assert first is not None
    machine.boot()
    second = machine.wake_at(10, 21, 0, 40)
    assert second is not None
    assert second.night.run_id == first.night.run_id
    assert second.night.attempts == 2
    second.finish()
    assert machine.wake_at(10, 21, 3, 0) is None
    assert machine.states() == [("10-21 00:30", "done")]


def test_a_night_that_outlived_its_daemon_is_waited_for(machine: Machine) -> None:
    """Its process holds the lock of nights; nothing else begins, and it is not begun again."""
    first = machine.wake_at(10, 21, 0, 30)
    assert first is not None
    machine.boot()
    with Lock(machine.ledger.night_lock, ""):
        assert machine.wake_at(10, 22, 0, 40) is None
        assert machine.wake_at(minutes=1) is None
        assert machine.scheduler.idle_s() == FOREIGN_S
        first.finish()
    assert len([line for line in machine.said if "scheduler did not start: process" in line]) == 1
    assert machine.wake_at(10, 22, 0, 42) is not None
    assert machine.states() == [("10-21 00:30", "done"), ("10-22 00:30", "running")]


def test_a_process_that_ends_by_itself(machine: Machine) -> None:
    """Is begun again, some times; then the night has failed, and is told."""
    process = machine.wake_at(10, 21, 0, 30)
    for _ in range(MAX_CRASHES - 1):
        assert process is not None
        process.code = -11
        process = machine.wake_at(minutes=1)
    assert process is not None
    process.code = -11
    assert machine.wake_at(minutes=1) is None
    (night,) = machine.ledger.nights()
    assert night.state == "failed"
    assert "crashed 3 times; log: " in (night.note or "")
    assert machine.wake_at(10, 22, 0, 30) is not None  # the next night is another one


def test_a_night_that_takes_the_machine_down(machine: Machine) -> None:
    """Every time: it is given up at last."""
    machine.wake_at(10, 21, 0, 30)
    for _ in range(MAX_ATTEMPTS - 1):
        machine.boot()
        assert machine.wake_at(minutes=1) is not None
    machine.boot()
    assert machine.wake_at(minutes=1) is None
    assert machine.states() == [("10-21 00:30", "failed")]


def test_a_process_that_found_another_one_at_it(machine: Machine) -> None:
    """Is no crash."""
    process = machine.wake_at(10, 21, 0, 30)
    assert process is not None
    process.code = BUSY
    with Lock(machine.ledger.night_lock, ""):
        assert machine.wake_at(minutes=1) is None
    (night,) = machine.ledger.nights()
    assert (night.state, night.crashes) == ("running", 0)


def test_a_schedule_that_changes_while_its_night_runs(machine: Machine, entry: Entry) -> None:
    """The night is what it was, also when it goes on; the next one is as the new file says."""
    first = machine.wake_at(10, 21, 0, 30)
    assert first is not None
    text = entry.text.replace("30 2", "0 12")
    machine.ledger.save_schedule(replace(entry, text=text, horizon=machine.now))
    machine.boot()
    second = machine.wake_at(minutes=1)
    assert second is not None
    assert second.night.text == entry.text
    second.finish()
    third = machine.wake_at(10, 21, 10, 0)
    assert third is not None
    assert third.night.text == text


def test_a_schedule_that_is_removed_while_its_night_runs(machine: Machine) -> None:
    """The night goes on to its end; cut short, it is not begun again."""
    first = machine.wake_at(10, 21, 0, 30)
    assert first is not None
    machine.ledger.remove_schedule("nightly")
    assert machine.wake_at(10, 22, 0, 30) is None
    machine.boot()
    assert machine.wake_at(10, 22, 0, 31) is None
    (night,) = machine.ledger.nights()
    assert (night.state, night.note) == ("failed", "interrupted, and its schedule was removed")


@pytest.mark.parametrize("back", [timedelta(seconds=1), timedelta(hours=1), timedelta(days=2)])
def test_the_clock_is_set_back(machine: Machine, back: timedelta) -> None:
    """What ran at a due time does not run again there."""
    process = machine.wake_at(10, 23, 0, 30)
    assert process is not None
    process.finish()
    before = len(machine.processes)
    machine.now -= back
    assert machine.wake_at() is None
    run_through(machine, 4)
    due = [process.night.due_at for process in machine.processes]
    assert len(due) == len(set(due))
    times = [due for due, _ in machine.states()]
    assert len(times) == len(set(times))
    assert len(machine.processes) > before
    assert any("clock was set back" in line for line in machine.said)


def test_a_clock_that_was_years_ahead(machine: Machine) -> None:
    """A board without a battery: once the clock is right, nights go on, and none was missed."""
    machine.now = AUTUMN + timedelta(days=2000)
    process = machine.wake_at()
    assert process is not None
    process.finish()
    machine.now = AUTUMN
    machine.wake_at()
    assert machine.wake_at(10, 21, 0, 30) is not None
    assert [state for _, state in machine.states()] == ["done", "running"]  # as they were begun


def test_a_schedule_of_another_version(machine: Machine, entry: Entry) -> None:
    """Is said once, and the others run."""
    machine.ledger.save_schedule(
        replace(entry, name="odd", text="grid: g\ncron: 0 2 * * *\nnew: 1")
    )
    assert machine.wake_at(10, 21, 0, 20) is None
    assert machine.wake_at(10, 21, 0, 30) is not None
    assert len([line for line in machine.said if "odd does not run" in line]) == 1


def test_two_daemons_on_one_ledger(machine: Machine, ledger: Ledger) -> None:
    """The second is refused, and told who the first is."""
    with (
        Lock(ledger.daemon_lock, ""),
        pytest.raises(BusyError, match=r"already running on .*: process \d+"),
    ):
        machine.scheduler.run()


def test_the_daemon_is_ended(ledger: Ledger, entry: Entry) -> None:
    """Its night is ended with it, and goes on later."""
    ledger.save_schedule(entry)
    machine = Machine(ledger, now=AUTUMN + timedelta(days=1))

    def pause(_seconds: float) -> None:
        raise KeyboardInterrupt

    machine.scheduler = Scheduler(
        ledger,
        machine.start,
        lambda child: child.terminate(),
        machine.said.append,
        clock=machine.clock,
        pause=pause,
    )
    with pytest.raises(KeyboardInterrupt):
        machine.scheduler.run()
    assert machine.processes[0].code == -15
    assert machine.said[0] == "scheduler started; schedules: nightly"
    assert "is resumed when a scheduler starts again" in machine.said[-2]
    (night,) = ledger.running()
    assert night.crashes == 0
    machine.boot()
    assert machine.wake_at(minutes=1) is not None
