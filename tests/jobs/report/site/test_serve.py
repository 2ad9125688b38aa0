"""The site as it is served: its files, comparisons, the state of runs; and its end."""

from __future__ import annotations

import json
import os
import signal
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from support.leaks import no_thread_left

import storage
from jobs.common.errors import JobsError, UsageError
from jobs.report.site.live import Follower, RootState, RunProgress
from jobs.report.site.serve import LiveSite, serve_site
from jobs.runs.watch import RunCounts

PAGE = "<!DOCTYPE html>\n<html lang='en'><head><title>{}</title></head><p>page"
STATE = RootState(
    {"new": ("running", 0), "old": ("done", 1)}, (RunProgress("new", RunCounts(0, 1, 5, 20), None),)
)


class Fixed(Follower):
    """Knows what the test says, and looks at nothing."""

    def __init__(self) -> None:
        super().__init__("nowhere", lambda _: None, lambda _: None, built=STATE)


@pytest.fixture
def site(tmp_path: Path) -> LiveSite:
    """Two pages and a script; comparisons are made up."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "index.html").write_text(PAGE.format("first"))
    (tmp_path / "runs" / "new.html").write_text(PAGE.format("new"))
    (tmp_path / "x.js").write_text("</head>")

    def compare(before: str, after: str) -> bytes:
        if before == after:
            raise UsageError("they are the same")
        return PAGE.format(f"{before} and {after}").encode()

    return LiveSite(tmp_path, Fixed(), compare)


def content(site: LiveSite, path: str, query: str = "") -> str:
    """What is answered, as text."""
    answer = site.answer(path, query)
    assert answer is not None
    return answer.content.decode()


def test_pages_know_which_they_are(site: LiveSite) -> None:
    """The script that follows the runs is put into each; other files are as they are."""
    tag = '<script src="{0}assets/live.js" defer data-top="{0}" data-page="{1}" data-version="'
    assert tag.format("", "index.html") in content(site, "")
    assert content(site, "") == content(site, "index.html")
    assert tag.format("../", "runs/new.html") in content(site, "runs/new.html")
    assert tag.format("../", "comparisons/new--old.html") in content(
        site, "comparisons/new--old.html"
    )
    assert content(site, "x.js") == "</head>"


def test_what_there_is_not(site: LiveSite) -> None:
    """No page, no comparison with a run that does not exist; why there is no other one."""
    for path in ("gone.html", "runs", "comparisons/new--gone.html", "comparisons/../x.js"):
        assert site.answer(path, "") is None
    answer = site.answer("comparisons/new--new.html", "")
    assert answer is not None
    assert answer.status is HTTPStatus.NOT_FOUND
    assert b"they are the same" in answer.content


def test_the_state_tells_a_page_when_it_has_changed(site: LiveSite, tmp_path: Path) -> None:
    """By the same version as in the page; progress is told to all."""

    def version(query: str) -> str | None:
        state: dict[str, Any] = json.loads(content(site, "live.json", query))
        assert state["running"] == [
            {
                "run": "new",
                "ended": 0,
                "cells": 1,
                "committed": 5,
                "asked": 20,
                "text": "0 of 1 cells, 5 of 20 images",
            }
        ]
        assert (state["version"], state["error"]) == (1, None)
        page: str | None = state["page"]
        return page

    first = version("page=index.html")
    assert first == version("page=")
    assert f'data-version="{first}"' in content(site, "")
    (tmp_path / "index.html").write_text(PAGE.format("another"))
    assert version("page=index.html") != first
    compared = version("page=comparisons/new--old.html")
    assert f'data-version="{compared}"' in content(site, "comparisons/new--old.html")
    for query in ("", "page=gone.html", "page=../x", "page=%2e%2e/x", "x=y", "page=x.js\0"):
        assert version(query) is None


def test_problems_are_shown(site: LiveSite) -> None:
    """Of the rebuild, and of the root."""
    site._follower.error = "no disk"
    assert json.loads(content(site, "live.json"))["error"] == "no disk"
    site._follower.state = RootState({}, error="no root")
    assert json.loads(content(site, "live.json"))["error"] == "no root"


class Served:
    """Calls `serve_site` as the command does, until the test interrupts."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.said: list[str] = []
        self.folder: Path | None = None
        self.problem: BaseException | None = None
        builds = {"prepare": self._build, "build": self._build}
        self._options: dict[str, Any] = {"folder": None, "port": 0, **builds, **options}
        self._root = root

    def _build(self, _root: storage.Root, folder: Path, say: Callable[[str], None]) -> None:
        say("a page")
        self.folder = folder
        folder.mkdir(exist_ok=True)
        (folder / "index.html").write_text(PAGE.format("first"))

    def run(self, during: Callable[[str], None]) -> None:
        """Serve, do something with the address, interrupt as Ctrl-C does."""

        def announce(url: str) -> None:
            def act() -> None:
                try:
                    during(url)
                except BaseException as err:  # noqa: BLE001 - the test's own thread fails
                    self.problem = err
                os.kill(os.getpid(), signal.SIGINT)

            threads.append(threading.Thread(target=act))
            threads[0].start()

        threads: list[threading.Thread] = []
        serve_site(
            self._root,
            make_comparison=lambda *_: b"",
            announce=announce,
            narrate=self.said.append,
            **self._options,
        )
        threads[0].join(30)
        if self.problem:
            raise self.problem


def fetch(url: str) -> bytes:
    """What an address holds."""
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - http
        return bytes(answer.read())


def test_it_ends_cleanly(tmp_path: Path) -> None:
    """Its folder was the user's alone and is gone, its port is closed, no thread is left."""
    served, urls = Served(tmp_path / "results"), []

    def during(url: str) -> None:
        urls.append(url)
        assert served.folder is not None
        assert served.folder.stat().st_mode & 0o077 == 0
        assert b"first" in fetch(url)
        assert json.loads(fetch(f"{url}live.json?page=index.html"))["running"] == []

    with no_thread_left():
        served.run(during)
    assert served.folder is not None
    assert not served.folder.exists()
    with pytest.raises(urllib.error.URLError):
        fetch(urls[0])
    assert served.said[0] == "a page"
    assert served.said[-1] == "stopped"


def test_a_folder_of_the_users_stays(tmp_path: Path) -> None:
    """It is made there, and served from there."""
    served = Served(tmp_path / "results", folder=tmp_path / "site")
    served.run(lambda url: assert_has(url, b"first"))
    assert (tmp_path / "site" / "index.html").exists()


def assert_has(url: str, text: bytes) -> None:
    """It holds a text."""
    assert text in fetch(url)


def test_what_cannot_be_served(tmp_path: Path) -> None:
    """A site that cannot be made, a port that is taken: nothing is left of either."""

    def fail(*_: Any) -> None:
        raise JobsError("no room")

    with pytest.raises(JobsError, match="no room"):
        Served(tmp_path, prepare=fail).run(lambda _: None)

    def take_again(url: str) -> None:
        port = urllib.parse.urlsplit(url).port
        again = Served(tmp_path, port=port)
        with pytest.raises(UsageError, match="leave out --port"):
            again.run(lambda _: None)
        assert again.folder is None, "the port is tried before the work"

    Served(tmp_path).run(take_again)
