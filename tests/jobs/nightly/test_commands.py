"""The commands: add, list, remove, run; what they say, and with what they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from jobs.cli import main
from jobs.nightly import commands
from jobs.nightly.ledger import Ledger
from jobs.nightly.lock import BusyError, Lock
from jobs.nightly.records import Night, NightOutcome
from jobs.nightly.view import nights_table, schedules_table

from .conftest import AUTUMN

GRID = """\
name: ladder
models: [digits-dynn]
datasets: [{name: digits, limit: 10}]
thresholds: [0.5]
threads: [1]
measure: [accuracy]
"""
SCHEDULE = (
    "name: nightly\ngrid: grid.yaml\ncron: 30 2 * * *\ntimezone: Europe/Berlin\ninline: true\n"
)


@pytest.fixture
def gfjobs(
    ledger: Ledger, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Result]:
    """A command on the ledger, with a schedule file beside a grid."""
    monkeypatch.setenv("GFJOBS_LEDGER", str(ledger.path))
    monkeypatch.setenv("GFJOBS_RESULTS", str(tmp_path / "results"))
    write(GRID, "grid.yaml")
    write(SCHEDULE, "s.yaml")
    return lambda *words: CliRunner().invoke(main, [str(word) for word in words])


def test_added_listed_run_and_removed(gfjobs: Callable[..., Result], tmp_path: Path) -> None:
    """The way of a new user, within 80 columns."""
    assert "no schedules; add one with" in gfjobs("schedule", "list").stdout
    added = gfjobs("schedule", "add", tmp_path / "s.yaml")
    assert added.exit_code == 0, added.output
    assert "added nightly; next: 20" in added.stderr
    assert f"results: {tmp_path / 'results'}" in added.stderr
    ran = gfjobs("schedule", "run", "nightly")
    assert ran.exit_code == 0, ran.output
    assert "digits-dynn" in ran.stdout
    assert ": learning: 1 learning" in ran.stderr
    again = gfjobs("schedule", "run", "nightly")
    assert again.exit_code == 0
    assert ": done: 1 ok" in again.stderr
    listed = gfjobs("schedule", "list").stdout
    assert "02:30  Europe/Berlin" in listed
    assert "done" in listed
    assert "no scheduler is running, so no night starts" in " ".join(listed.split())
    nights = gfjobs("schedule", "list", "nightly").stdout
    assert nights.count("nightly-2") >= 2
    for text in (listed, nights):
        assert max(map(len, text.splitlines())) <= 80
    replaced = gfjobs("schedule", "add", tmp_path / "s.yaml")
    assert "replaced nightly" in replaced.stderr
    assert gfjobs("schedule", "remove", "nightly").exit_code == 0
    gone = gfjobs("schedule", "run", "nightly")
    assert gone.exit_code == 2
    assert "no schedule 'nightly'; there is none yet" in gone.stderr


def test_what_is_wrong_is_refused(gfjobs: Callable[..., Result], tmp_path: Path) -> None:
    """At once, and nothing was added."""
    (tmp_path / "grid.yaml").write_text(GRID.replace("dynn", "dyn"))
    result = gfjobs("schedule", "add", tmp_path / "s.yaml")
    assert result.exit_code == 2
    assert "grid.yaml:2: models[0]" in result.stderr
    assert "no schedules" in gfjobs("schedule", "list").stdout
    assert "there is no such file" in gfjobs("schedule", "add", tmp_path / "none.yaml").stderr
    listed = gfjobs("schedule", "list", "nightly")
    assert listed.exit_code == 2
    assert "no schedule 'nightly'; there is none yet" in listed.stderr


def test_a_root_that_cannot_be_written_is_refused(
    gfjobs: Callable[..., Result], ledger: Ledger, tmp_path: Path
) -> None:
    """When it is added, not at night: the option's, and the file's with its line."""
    (tmp_path / "file").write_text("")
    for results in (tmp_path / "file" / "results", "/proc/results"):
        given = gfjobs("schedule", "add", tmp_path / "s.yaml", "--results", results)
        assert given.exit_code == 2
        assert f"results root {results} cannot be written" in given.stderr
        assert "choose another with --results" in given.stderr
    (tmp_path / "s.yaml").write_text(f"{SCHEDULE}results: file/results\n")
    written = gfjobs("schedule", "add", tmp_path / "s.yaml")
    assert written.exit_code == 2
    assert f"s.yaml:6: results: {tmp_path}/file/results cannot be written: Not a" in written.stderr
    assert "--results" not in written.stderr  # the file's counts
    assert not ledger.schedules()
    (tmp_path / "s.yaml").write_text(f"{SCHEDULE}results: new/results\n")
    assert gfjobs("schedule", "add", tmp_path / "s.yaml", "--results", "/proc/x").exit_code == 0
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("command", ["add", "list", "remove", "run"])
def test_each_has_help_with_an_example(command: str) -> None:
    """Within 80 columns."""
    result = CliRunner().invoke(main, ["schedule", command, "--help"])
    assert result.exit_code == 0
    assert f"  gfjobs schedule {command}" in result.output
    assert max(map(len, result.output.splitlines())) <= 80


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (NightOutcome("done"), 0),
        (NightOutcome("learning"), 0),
        (NightOutcome("regression", is_news=True), 3),
        (NightOutcome("regression", is_news=False), 0),
        (NightOutcome("suspect", is_news=True), 1),
        (NightOutcome("failed", is_news=True), 1),
        (NightOutcome("empty", is_news=True), 1),
        (NightOutcome("invalid", is_news=True), 1),
    ],
)
def test_exit_codes(
    outcome: NightOutcome,
    code: int,
    gfjobs: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """3 where a regression was found; 0 only where nothing is to be done."""

    def ended(ledger: Ledger, night: Night, *_: Any) -> Night:
        return ledger.end(night, outcome, AUTUMN, is_to_tell=False)

    monkeypatch.setattr(commands, "run_night", ended)
    gfjobs("schedule", "add", tmp_path / "s.yaml")
    result = gfjobs("schedule", "run", "nightly")
    assert result.exit_code == code, result.output
    assert f": {outcome.state}" in result.stderr


def test_a_night_that_was_cut_short_goes_on_by_hand(
    gfjobs: Callable[..., Result], ledger: Ledger, tmp_path: Path
) -> None:
    """The same night, not another one; it is listed as interrupted until then."""
    gfjobs("schedule", "add", tmp_path / "s.yaml")
    (entry,) = ledger.schedules()
    ledger.begin(entry, AUTUMN, "nightly-1", AUTUMN)
    assert "interrupted" in gfjobs("schedule", "list").stdout
    result = gfjobs("schedule", "run", "nightly")
    assert "nightly-1 was interrupted and is resumed" in result.stderr
    (night,) = ledger.nights()
    assert (night.state, night.attempts) == ("learning", 2)


def test_while_a_night_runs_another_is_refused(
    gfjobs: Callable[..., Result], ledger: Ledger, tmp_path: Path
) -> None:
    """With who runs it; nothing is begun."""
    gfjobs("schedule", "add", tmp_path / "s.yaml")
    with Lock(ledger.night_lock, ""):
        with pytest.raises(BusyError, match=rf"already running.*process {os.getpid()} on "):
            commands.run_now(ledger, "nightly", lambda _: None)
        (entry,) = ledger.schedules()
        ledger.begin(entry, AUTUMN, "nightly-1", AUTUMN)
        removed = gfjobs("schedule", "remove", "nightly")
    assert "its night nightly-1 is still running" in removed.stderr
    assert f"cancel nightly-1 --results {tmp_path / 'results'}" in removed.stderr
    assert len(ledger.nights()) == 1


def test_two_asked_for_in_one_second(
    gfjobs: Callable[..., Result],
    ledger: Ledger,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Are two nights with two runs."""
    gfjobs("schedule", "add", tmp_path / "s.yaml")
    monkeypatch.setattr(
        commands,
        "run_night",
        lambda ledger, night, *_: ledger.end(night, NightOutcome("done"), AUTUMN, is_to_tell=False),
    )
    for _ in range(3):
        commands.run_now(ledger, "nightly", lambda _: None, lambda: AUTUMN)
    assert [night.run_id for night in ledger.nights()] == [
        "nightly-20261020-120002",
        "nightly-20261020-120001",
        "nightly-20261020-120000",
    ]


def test_added_again_what_was_just_missed_is_still_run(
    gfjobs: Callable[..., Result], ledger: Ledger, tmp_path: Path
) -> None:
    """Unless it is due at other times now."""
    gfjobs("schedule", "add", tmp_path / "s.yaml")
    (entry,) = ledger.schedules()
    ledger.save_schedule(replace(entry, horizon=AUTUMN))
    commands.add(ledger, tmp_path / "s.yaml", "results", AUTUMN.replace(day=22))
    assert ledger.schedules()[0].horizon == AUTUMN
    (tmp_path / "s.yaml").write_text(SCHEDULE.replace("30 2", "45 2"))
    commands.add(ledger, tmp_path / "s.yaml", "results", AUTUMN.replace(day=22))
    assert ledger.schedules()[0].horizon == AUTUMN.replace(day=22)


def test_tables_show_what_is_to_be_known(
    gfjobs: Callable[..., Result], ledger: Ledger, tmp_path: Path
) -> None:
    """Notes, reports, whom nobody could tell, who the scheduler is, what cannot be read."""
    gfjobs("schedule", "add", tmp_path / "s.yaml")
    (entry,) = ledger.schedules()
    night = ledger.begin(entry, AUTUMN, "nightly-1", AUTUMN, [AUTUMN.replace(day=19)])
    outcome = NightOutcome("regression", "1 regression", report="/reports/nightly-1.html")
    night = ledger.end(night, outcome, AUTUMN.replace(hour=14, minute=3), is_to_tell=True)
    ledger.claim(night, None)
    ledger.told(night, AUTUMN, "no mail")
    ledger.save_schedule(replace(entry, name="odd", text="nothing: 1"))
    with Lock(ledger.daemon_lock, ""):
        text = " ".join(schedules_table(ledger, AUTUMN).split())
    assert f"the scheduler is process {os.getpid()}" in text
    assert "odd can no longer be read" in text
    assert "nightly-1: notification failed: no mail; given up" in text
    text = nights_table(ledger, "nightly", AUTUMN)
    assert "2026-10-20 14:00  regression  nightly-1  2:03:00 h" in text
    assert "2026-10-19 14:00  missed      –" in text
    assert "report /reports/nightly-1.html" in text
    assert nights_table(ledger, "odd", AUTUMN) == "no night of odd yet\n"


@pytest.mark.parametrize(
    ("seconds", "took"),
    [(4.6, "5 s"), (65, "1:05 min"), (3665, "1:01:05 h"), (400 * 3600, "16.7 days"), (-60, "–")],
)
def test_a_night_takes_a_time_as_all_durations_are_said(
    gfjobs: Callable[..., Result], ledger: Ledger, tmp_path: Path, seconds: float, took: str
) -> None:
    """With its unit; none that is negative where the clock was set back."""
    gfjobs("schedule", "add", tmp_path / "s.yaml")
    night = ledger.begin(ledger.schedules()[0], AUTUMN, "nightly-1", AUTUMN, [])
    ledger.end(night, NightOutcome("done"), AUTUMN + timedelta(seconds=seconds), is_to_tell=False)
    (line,) = [row for row in nights_table(ledger, "nightly", AUTUMN).splitlines() if "done" in row]
    assert line.endswith(f"nightly-1  {took}")


def test_both_lists_have_the_schedules_zone_and_name_it(
    gfjobs: Callable[..., Result], ledger: Ledger, tmp_path: Path
) -> None:
    """That of its last night where it was removed; UTC, and said so, where none can be read."""
    gfjobs("schedule", "add", tmp_path / "s.yaml")
    (entry,) = ledger.schedules()
    night = ledger.begin(entry, AUTUMN, "nightly-1", AUTUMN, [AUTUMN.replace(day=19)])
    ledger.end(night, NightOutcome("done"), AUTUMN, is_to_tell=False)
    assert "Europe/Berlin  2026-10-20 14:00  done" in schedules_table(ledger, AUTUMN)
    nights = nights_table(ledger, "nightly", AUTUMN)
    assert nights.startswith("times of Europe/Berlin\n")
    assert "2026-10-20 14:00" in nights
    gfjobs("schedule", "remove", "nightly")
    assert nights_table(ledger, "nightly", AUTUMN) == nights
    ledger.save_schedule(replace(entry, text="nothing: 1"))
    assert "–     UTC        2026-10-20 12:00  done" in schedules_table(ledger, AUTUMN)
    nights = nights_table(ledger, "nightly", AUTUMN)
    assert nights.startswith("times of UTC\n")
    assert "2026-10-20 12:00" in nights


def test_a_night_without_a_run_is_named_by_its_time_in_the_same_zone(
    gfjobs: Callable[..., Result], ledger: Ledger, tmp_path: Path
) -> None:
    """In the notes below both lists, as in the table above them."""
    gfjobs("schedule", "add", tmp_path / "s.yaml")
    (entry,) = ledger.schedules()
    night = ledger.begin(entry, AUTUMN, "nightly-1", AUTUMN, [AUTUMN.replace(day=19)], note="n")
    ledger.end(night, NightOutcome("done"), AUTUMN, is_to_tell=False)
    for missed in ledger.nights("nightly")[1:]:
        ledger.told(missed, AUTUMN, "no mail")
    nights = nights_table(ledger, "nightly", AUTUMN)
    assert "nightly 2026-10-19 14:00 Europe/Berlin: notification failed: no mail" in nights


def test_the_daemon_ends_when_it_is_told(
    gfjobs: Callable[..., Result], ledger: Ledger, tmp_path: Path
) -> None:
    """By a termination signal, with 0; a second one is refused with 2 meanwhile; there is a log."""
    gfjobs("schedule", "add", tmp_path / "s.yaml")
    command = [sys.executable, "-c", "from jobs.cli import main; main()", "scheduler"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as daemon:
        assert daemon.stderr is not None
        while "scheduler started" not in daemon.stderr.readline():
            assert daemon.poll() is None
        refused = gfjobs("scheduler")
        assert refused.exit_code == 2
        assert f"already running on {ledger.path}: process {daemon.pid} on" in refused.stderr
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(30) == 0
    log = (ledger.path.parent / "nights.log").read_text()
    assert "scheduler started; schedules: nightly" in log
    assert "scheduler ended" in log
