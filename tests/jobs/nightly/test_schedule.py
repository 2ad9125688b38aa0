"""Schedules out of files: what they may say, and all that is wrong at once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.analysis.regressions.settings import Settings
from jobs.common.errors import BadInputError
from jobs.common.yaml_document import Document
from jobs.nightly.checks import check_schedule
from jobs.nightly.schedule import Notify, Schedule, read_schedule
from jobs.runs.target import Target

REPOSITORY = Path(__file__).parents[3]
WHOLE = """\
name: nightly
grid: grids/ladder.yaml
cron: 30 2 * * mon-fri
timezone: Europe/Berlin
results: s3://bucket/prefix/
address: 10.0.0.1:6379
judge: {against: 20, baseline: first, control: digits-gfnet}
report: reports
site: reports/site
notify: {command: [./tell, "a b", $HOME], always: true}
"""


def read(text: str, folder: str = "/lab") -> Schedule:
    """A file in that folder."""
    return read_schedule(Document(Path(folder) / "my nights.yaml", text), "/default")


def test_all_keys() -> None:
    """Paths start from the file's folder; the words of the command stay as they are."""
    schedule = read(WHOLE)
    assert schedule.name == "nightly"
    assert schedule.grid == Path("/lab/grids/ladder.yaml")
    assert (schedule.calendar.cron, schedule.calendar.zone.key) == (
        "30 2 * * mon-fri",
        "Europe/Berlin",
    )
    assert schedule.results == "s3://bucket/prefix"
    assert schedule.target == Target("10.0.0.1:6379")
    assert schedule.settings == Settings(20, "first", "digits-gfnet")
    assert schedule.report == Path("/lab/reports")
    assert schedule.site == Path("/lab/reports/site")
    assert schedule.notify == Notify(("./tell", "a b", "$HOME"), is_always=True)
    assert schedule.notify.program(schedule.base) == "/lab/tell"


def test_what_is_needed() -> None:
    """A grid and a time; the rest has defaults."""
    schedule = read("grid: g.yaml\ncron: 0 2 * * *\ninline: true\nresults: here\n")
    assert (schedule.name, schedule.calendar.zone.key) == ("my-nights", "UTC")
    assert schedule.results == Path("/lab/here")
    assert schedule.target == Target(is_inline=True)
    assert (schedule.settings, schedule.report, schedule.notify) == (Settings(), None, None)
    assert schedule.site is None
    assert read("grid: g.yaml\ncron: 0 2 * * *").results == "/default"


def test_all_problems_at_once() -> None:
    """Each with its line, its key, what stands there and what may."""
    text = """\
name: nightly 2
grit: g.yaml
cron: 99 2 * * *
timezone: Mars/Olympus
results: ftp://there
address: head
judge: {against: 3, baseline: latest, contrl: x}
notify: {command: mail lab@example.org, allways: true}
"""
    with pytest.raises(BadInputError) as raised:
        read(text)
    found = {(problem.line, problem.key) for problem in raised.value.problems}
    assert found == {
        (1, "name"),
        (2, "grit"),
        (1, ""),  # grid is missing
        (3, "cron"),
        (4, "timezone"),
        (5, "results"),
        (6, "address"),
        (7, "judge.against"),
        (7, "judge.baseline"),
        (7, "judge.contrl"),
        (8, "notify.command"),
        (8, "notify.allways"),
    }
    said = str(raised.value)
    assert "a program and its arguments, such as [mail" in said
    assert "did you mean 'grid'" in said


@pytest.mark.parametrize(
    ("name", "is_right"),
    [
        ("nightly", True),
        ("N.1_x-y", True),
        ("../x", False),
        ("a..b", False),
        ("a b", False),
        ("ä", False),
        ("'x\"; rm -rf /'", False),
        ('"a\\nb"', False),
        ("x" * 81, False),
        ("-x", False),
        ("''", False),
    ],
)
def test_names(name: str, *, is_right: bool) -> None:
    """They become names of files and of runs."""
    text = f"name: {name}\ngrid: g.yaml\ncron: 0 2 * * *\n"
    if is_right:
        assert read(text).name == name
        return
    with pytest.raises(BadInputError, match="name: "):
        read(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "grid: [1, 2]\ncron: {a: b}",
        "grid: g\ncron: 0 2 * * *\njudge: 5",
        "grid: g\ncron: 0 2 * * *\nnotify: [a]",
        "grid: g\ncron: 0 2 * * *\nnotify: {command: []}",
        "grid: g\ncron: 0 2 * * *\nnotify: {command: ['']}",
        'grid: g\ncron: 0 2 * * *\nnotify: {command: ["a\\0b"]}',
        'grid: "a\\0b"\ncron: 0 2 * * *',
        "grid: ~nobody-of-that-name/x\ncron: 0 2 * * *",
        "grid: g\ncron: 0 2 * * *\naddress: 1.2.3.4:6379\ninline: true",
        "grid: g\ncron: 0 2 * * *\ninline: maybe",
    ],
)
def test_odd_files(text: str) -> None:
    """Never another error than that of a bad input."""
    with pytest.raises(BadInputError, match="allowed: "):
        read(text)


GRID = "models: [digits-gfnet]\ndatasets: [{name: digits, limit: 5}]\n"


def test_what_it_names_is_looked_at(write: Callable[..., Path], tmp_path: Path) -> None:
    """All of it at once, the grid's problems with the grid's lines."""
    write(GRID.replace("digits-gfnet", "digits-gfnt"), "grid.yaml")
    (tmp_path / "reports").touch()
    path = write(
        """\
        grid: grid.yaml
        cron: 0 2 * * *
        judge: {baseline: no-such-run}
        report: reports
        site: .
        notify: {command: [no-such-program-anywhere]}
        """
    )
    with pytest.raises(BadInputError) as raised:
        check_schedule(Document.read(path), tmp_path / "results")
    problems = [(Path(each.file).name, each.key) for each in raised.value.problems]
    assert sorted(problems) == [
        ("grid.yaml", "models[0]"),
        ("s.yaml", "judge.baseline"),
        ("s.yaml", "notify.command[0]"),
        ("s.yaml", "report"),
        ("s.yaml", "site"),
    ]


@pytest.mark.parametrize("key", ["report", "site"])
def test_an_extra_that_is_missing(
    key: str, write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Is told when the schedule is added, not in the morning."""
    monkeypatch.setitem(sys.modules, "jinja2", None)
    write(GRID, "grid.yaml")
    path = write(f"grid: grid.yaml\ncron: 0 2 * * *\n{key}: pages\n")
    with pytest.raises(BadInputError, match=r"needs jinja2: pip install 'gfjobs\[report\]'"):
        check_schedule(Document.read(path), tmp_path / "results")


def test_a_control_that_the_grid_lacks(write: Callable[..., Path], tmp_path: Path) -> None:
    """Is told with those that it has."""
    write(GRID, "grid.yaml")
    path = write("grid: grid.yaml\ncron: 0 2 * * *\njudge: {control: digits-gfne}\n")
    with pytest.raises(BadInputError, match="did you mean 'digits-gfnet'"):
        check_schedule(Document.read(path), tmp_path)
    path = write("grid: grid.yaml\ncron: 0 2 * * *\njudge: {control: digits-gfnet}\n")
    assert check_schedule(Document.read(path), tmp_path).settings.control == "digits-gfnet"


def test_the_example_runs_as_it_is(tmp_path: Path) -> None:
    """It names a grid, a control and a program that are there."""
    document = Document.read(REPOSITORY / "examples" / "nightly.yaml")
    schedule = check_schedule(document, tmp_path)
    assert schedule.name == "nightly"
    assert schedule.settings.control == "digits-gfnet"


def test_the_unit_names_commands_that_there_are() -> None:
    """What systemd runs is a command of ours, and it is started again whenever it ends."""
    from jobs.cli import main

    unit = (REPOSITORY / "examples" / "gfjobs-scheduler.service").read_text()
    (command,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    assert command.split()[-1] in main.commands
    assert "Restart=always" in unit
    assert "KillMode=mixed" in unit
