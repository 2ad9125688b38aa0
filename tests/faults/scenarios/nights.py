"""The scheduler and its nights, killed at random moments on a clock that runs fast."""

from __future__ import annotations

import contextlib
import signal
import time
from collections import Counter
from datetime import timedelta

import psutil
from faults.bench import KEY, Bench, Started, answers, until
from faults.scenario import Scenario
from faults.wounds import FIRST_NIGHT

from jobs.nightly import commands
from jobs.nightly.daemon import MAX_CRASHES, parse_entry
from jobs.nightly.ledger import Ledger
from jobs.nightly.records import Night

HOUR_S = 3600

IMPORTS_S = 3.0
"""What a night's process takes beside its run, which a `Whole` does not have."""

NAME = "hourly"
TELL = '#!/bin/sh\necho "$GFJOBS_DUE $GFJOBS_STATE" >> told\n'
SCHEDULE = f"""\
name: {NAME}
grid: grid.yaml
cron: 0 * * * *
timezone: Europe/Berlin
inline: true
notify: {{command: [./tell], always: true}}
"""


class Nights:
    """One ledger, and its daemons one after another."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.folder = bench.run().folder
        (self.folder / "tell").write_text(TELL)
        (self.folder / "tell").chmod(0o755)
        file = self.folder / "schedule.yaml"
        file.write_text(SCHEDULE)
        self.root = self.folder / "results"
        self.ledger = Ledger(self.folder / "nights.sqlite")
        commands.add(self.ledger, file, self.root, FIRST_NIGHT)
        # A night is due each hour: a little more than one takes, so that some are missed.
        self.period_s = bench.whole().seconds + IMPORTS_S
        self._wound = f"hasten:{time.time()}:{HOUR_S / self.period_s}"
        self._started = 0

    def start(self, *arguments: str) -> Started:
        """A command on the ledger; the daemon where no other is named."""
        self._started += 1
        command = [*(arguments or ("scheduler",)), "--ledger", str(self.ledger.path)]
        started = Started(command, self.folder / f"{self._started}.log", self._wound)
        until(started.log.exists, "a process with a group of its own, that signals reach")
        return started

    def ended(self) -> tuple[Night, ...]:
        """Nights that ran, oldest first."""
        nights = self.ledger.nights(NAME)[::-1]
        return tuple(night for night in nights if night.state not in ("running", "missed"))

    def processes(self) -> list[psutil.Process]:
        """Of nights, of whatever daemon."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if "jobs.nightly.night_process" in words and str(self.ledger.path) in words:
                    found.append(process)
        return found

    def crashes(self) -> int:
        """That the daemons have noticed so far."""
        return sum(night.crashes for night in self.ledger.nights())

    def may_crash(self) -> bool:
        """Whether a night's process may be killed alone, and the night still go on."""
        return all(night.crashes < MAX_CRASHES - 1 for night in self.ledger.running())

    def compare(self) -> None:
        """Each due time has one night, each night that ran one run, and that all rows, once."""
        tally = self.bench.tally
        (entry,) = self.ledger.schedules()
        schedule = parse_entry(entry.path, entry.text, entry.results)
        due = schedule.calendar.between(FIRST_NIGHT, entry.horizon).newest
        nights = self.ledger.nights(NAME)
        times = Counter(night.due_at for night in nights)
        tally.lost += len(set(due) - set(times)) + len(self.ledger.running())
        tally.doubled += sum(number - 1 for number in times.values()) + len(set(times) - set(due))
        failed = [
            f"{night.run_id} {night.state}: {night.note}"
            for night in self.ended()
            if night.state in ("failed", "empty")
        ]
        tally.remarks += failed
        runs = {path.name for path in (self.root / "runs").iterdir() if "-again" not in path.name}
        ran = [night.run_id for night in self.ended()]
        tally.lost += len(set(ran) - runs)
        tally.doubled += len(ran) - len(set(ran)) + len(runs - set(ran))
        whole = self.bench.whole().rows
        for run_id in runs:
            found = answers(self.root, run_id)
            keys = Counter[object]()
            for row, number in found.items():
                keys[row[: KEY + 3]] += number
            tally.expected += whole.total()
            tally.lost += (whole - found).total()
            tally.doubled += sum(number - 1 for number in keys.values())
        told = {line.split()[0] for line in (self.folder / "told").read_text().splitlines()}
        for night in nights:
            due_text = night.due_at.isoformat(timespec="seconds")
            if night.state != "missed" and due_text not in told:
                tally.remarks.append(f"nobody was told of {night.run_id}")


def scheduler_killed(bench: Bench, times: int) -> None:
    """The daemon, its night or both, as a reboot kills them; then down for as long as it likes."""
    nights = Nights(bench)
    daemon = nights.start()
    try:
        while bench.tally.times < times:
            time.sleep(bench.random.random() * nights.period_s)
            victim = bench.random.choice(["daemon", "night", "both"])
            if victim == "night" and not nights.may_crash():
                continue
            processes, crashes = nights.processes(), nights.crashes()
            if victim != "night":
                daemon.signal(signal.SIGKILL)
                assert daemon.end()[0] == -signal.SIGKILL, daemon.log.read_text()
            if victim != "daemon":
                for process in processes:
                    with contextlib.suppress(psutil.Error):
                        process.kill()
            nights.bench.tally.times += 1
            if victim == "night" and processes:  # one that had just ended was no crash
                with contextlib.suppress(TimeoutError):
                    until(lambda at=crashes: nights.crashes() > at, "the crash to be noticed", 3)
            if victim != "night":
                time.sleep(bench.random.random() * nights.period_s / 2)
                daemon = nights.start()
        began_s, before = time.monotonic(), len(nights.ended())
        until(lambda: len(nights.ended()) > before, "a night after all")
        bench.tally.recoveries_s.append(time.monotonic() - began_s)
        # The night may be one that outlived the daemon before: the last has yet to begin.
        until(lambda: "scheduler started" in daemon.log.read_text(), "the daemon to begin")
    finally:
        daemon.signal(signal.SIGTERM)
        code, said = daemon.end()
    assert code == 0, said
    assert "Traceback" not in said, said
    if nights.ledger.running():  # it was ended in mid-night, and goes on by hand
        code, said = nights.start("schedule", "run", NAME).end()
        assert code == 0, said
    _tell_rest(nights)
    nights.compare()
    nights.ledger.close()


def _tell_rest(nights: Nights) -> None:
    """What was to be told as a kill came is told a minute later, by the clock of that time."""
    from jobs.nightly.notify import notify_all

    notify_all(nights.ledger, FIRST_NIGHT + timedelta(days=3650), lambda _text: None)


def two_schedulers(bench: Bench, times: int) -> None:
    """The second is told who has the ledger, and ends at once."""
    nights = Nights(bench)
    first = nights.start()
    try:
        until(lambda: "scheduler started" in first.log.read_text(), "a scheduler")
        for _ in range(times):
            code, said = nights.start().end()
            assert code == 2, said
            assert f"process {first.pid}" in said, said
            bench.tally.times += 1
        until(nights.ended, "a night")
    finally:
        first.signal(signal.SIGTERM)
        first.end()
    if nights.ledger.running():
        nights.start("schedule", "run", NAME).end()
    _tell_rest(nights)
    nights.compare()
    nights.ledger.close()


SCENARIOS = (
    Scenario("scheduler-killed", "scheduler killed, fast clock", scheduler_killed, 20, quick=2),
    Scenario("two-schedulers", "two schedulers on one ledger", two_schedulers, times=2),
)
