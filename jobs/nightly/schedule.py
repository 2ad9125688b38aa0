"""Reads a schedule: the YAML file with what to run at night, when, and how to notify."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import storage
from jobs.analysis.regressions.settings import LEAST_NIGHTS, Settings
from jobs.cluster.address import DISCOVERED, split_address
from jobs.common.errors import UsageError
from jobs.common.yaml_document import Document, Value
from jobs.grid.grid import NAME, NAME_RULE
from jobs.nightly.cron import Calendar, read_calendar
from jobs.nightly.schedule_keys import BELOW, KEYS, REQUIRED
from jobs.runs.target import Target

MAX_WINDOW = 10_000

_COMMAND_RULE = "a program and its arguments, such as [mail, -s, a night, lab@example.org]"


@dataclass(frozen=True)
class Notify:
    """The notify command of a schedule.

    Attributes:
        command: a program and its arguments, run without a shell.
        is_always: whether to run it also for nights without findings.
    """

    command: tuple[str, ...]
    is_always: bool = False

    def program(self, base: Path) -> str:
        """The program to run: a name on the PATH, or a path relative to the schedule's folder."""
        first = self.command[0]
        return str(base / first) if "/" in first else first


@dataclass(frozen=True)
class Schedule:
    """What to run at night, when, and how to judge and report it.

    Attributes:
        base: the folder that relative paths start from, and in which the notify command runs.
        grid: absolute path of the grid file.
        results: the results root.
        target: runs its tasks.
        settings: how a night is judged.
        report: the folder for each night's report page; None: no page.
        site: the folder for the site of all runs; None: no site.
        notify: the notify command; None: no notifications.
    """

    name: str
    base: Path
    grid: Path
    calendar: Calendar
    results: storage.Root
    target: Target
    settings: Settings
    report: Path | None
    site: Path | None
    notify: Notify | None


def read_schedule(document: Document, results: storage.Root) -> Schedule:
    """Read a schedule, without checking what it names.

    Args:
        document: the file, by its absolute path.
        results: the results root, if the file names none.

    Raises:
        BadInputError: every problem of the file, each with its line and key.
    """
    schedule = Reader(document).read(results)
    document.check()
    return schedule


class Reader:
    """Reads one document; records problems in it, and returns stand-in values for them.

    Attributes:
        entries: the top-level values, by key; `judge` and `notify` hold the values below these.
    """

    def __init__(self, document: Document) -> None:
        self.document = document
        self.base = document.path.parent
        self.entries = document.root().mapping(KEYS, REQUIRED)
        self.judge = self._below("judge")
        self.notify = self._below("notify", ("command",))

    def read(self, results: storage.Root) -> Schedule:
        """Read the schedule; values with problems in the document are stand-ins."""
        return Schedule(
            name=self._name(),
            base=self.base,
            grid=self._path("grid") or self.base,
            calendar=read_calendar(self.entries.get("cron"), self.entries.get("timezone")),
            results=self._results(results),
            target=self._target(),
            settings=self._settings(),
            report=self._path("report"),
            site=self._path("site"),
            notify=self._notify(),
        )

    def _below(self, key: str, required: Sequence[str] = ()) -> dict[str, Value]:
        return self.entries[key].mapping(BELOW[key], required) if key in self.entries else {}

    def _name(self) -> str:
        """The schedule's name, which becomes part of run ids; default: the file's name."""
        if "name" not in self.entries:
            return re.sub(r"[^A-Za-z0-9._-]+", "-", self.document.path.stem).strip("-._") or "night"
        value = self.entries["name"]
        name = value.text()
        if name and (not NAME.fullmatch(name) or ".." in name):
            value.problem(f"{name!r}", f"{NAME_RULE}, without '..'")
        return name

    def _path(self, key: str) -> Path | None:
        if key not in self.entries:
            return None
        text = self.entries[key].text()
        if "\0" in text:
            self.entries[key].problem(f"{text!r}", "a path without the character NUL")
            return None
        try:
            return self.base / Path(text).expanduser()
        except RuntimeError as err:  # ~name of a user that does not exist
            self.entries[key].problem(str(err), "a path")
            return None

    def _results(self, given: storage.Root) -> storage.Root:
        if "results" not in self.entries:
            return given
        text = self.entries["results"].text()
        try:
            if "://" in text:
                return storage.checked_root(text)
            return storage.checked_root(self._path("results") or self.base)
        except storage.StorageError as err:
            self.entries["results"].problem(str(err), "a folder, or s3://bucket/prefix")
            return given

    def _target(self) -> Target:
        address = self.entries["address"].text() if "address" in self.entries else None
        is_inline = self.entries["inline"].boolean() if "inline" in self.entries else False
        if address and is_inline:
            self.entries["inline"].problem(
                "inline runs in one process, address on a cluster", "one of the two"
            )
        if address and address not in DISCOVERED:
            try:
                split_address(address)
            except UsageError as err:
                self.entries["address"].problem(str(err), "HOST:PORT of a Ray cluster's head")
        return Target(address or None, is_inline)

    def _settings(self) -> Settings:
        window, baseline, control = Settings.window, None, None
        if "against" in self.judge:
            window = self.judge["against"].whole(LEAST_NIGHTS, MAX_WINDOW)
        if "baseline" in self.judge:
            baseline = self.judge["baseline"].text()
        if baseline == "latest":
            self.judge["baseline"].problem("the newest run changes every night", "a run's name")
        if "control" in self.judge:
            control = self.judge["control"].text()
        return Settings(window=window, baseline=baseline, control=control)

    def _notify(self) -> Notify | None:
        if "command" not in self.notify:
            return None
        command = self.notify["command"]
        if not command.is_list:
            command.problem(command.shown, _COMMAND_RULE)
            return None
        words = tuple(word.text() for word in command.items())
        if any("\0" in word for word in words):
            command.problem("a word with the character NUL", _COMMAND_RULE)
        is_always = self.notify["always"].boolean() if "always" in self.notify else False
        return Notify(words, is_always) if words else None
