"""Served pages in a real browser: they follow a run to its end, and outlive the server."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import storage
from jobs.report.html.shell import BASIC_SCRIPTS, in_site, render, site_assets
from jobs.report.site import live
from jobs.report.site.live import Follower, read_root_state
from jobs.report.site.loopback import LoopbackServer
from jobs.report.site.serve import LiveSite

from .browser import PROGRAMS, Page, ReloadedError, browser, program
from .commands import Place, Processes

pytestmark = [
    pytest.mark.skipif(program() is None, reason=f"none of {', '.join(PROGRAMS)} is here"),
    pytest.mark.xdist_group("report"),  # they share a browser
]

PATIENCE_S = 120
STATUS = "document.querySelector('#live [role=status]')?.textContent ?? ''"
BAR = "document.querySelector('#live progress')?.value ?? null"
TEXT = "document.querySelector('#live li')?.innerText ?? ''"
HIDDEN = "document.getElementById('live')?.hidden ?? false"
SHOWN = "document.querySelector('.run')?.textContent ?? ''"
PLACE = "document.getElementById('last')?.getBoundingClientRect().top ?? -1e9"
CELL = storage.CellRow("new", "c", position=0, kind="latency", model="m", images=100, rounds=2)


def until(page: Page, script: str, expected: Callable[[Any], bool]) -> Any:
    """Wait until a page shows something; returns it.

    Live pages load themselves anew: in such a moment a document has no body yet.
    """
    deadline_s = time.monotonic() + PATIENCE_S
    found: list[Any] = []
    while True:
        with contextlib.suppress(ReloadedError):
            found = page.run(f"document.readyState === 'complete' ? [{script}] : []")
            if found and expected(found[0]):
                return found[0]
        assert time.monotonic() < deadline_s, found
        time.sleep(0.05)


class Root:
    """A root with a run that goes on as the test says, and pages that show its state."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "results"
        self.site = folder / "site"
        self.store: storage.RunStore | None = None
        self.row = storage.RunRow("new", "n", submitted_at=datetime(2026, 11, 30))  # noqa: DTZ001
        self.is_broken = False

    def begin(self) -> None:
        """Submit the run: one cell, of which nothing has run."""
        cell = replace(CELL, status="running")
        given = {"grid_path": "g.yaml", "base": "/"}
        self.store = storage.RunStore.create(self.folder, self.row, [cell], given)

    def commit(self, rows: int) -> None:
        """Its driver saves that so many rows are there."""
        assert self.store
        began = datetime(2026, 11, 30)  # noqa: DTZ001
        self.store.save_cells([replace(CELL, status="running", rows=rows, started_at=began)])

    def end(self) -> None:
        """It is done."""
        assert self.store
        self.store.save_cells([replace(CELL, status="done", rows=200)])
        self.store.save_run(replace(self.row, status="done"))
        self.store.close()

    def build(self, _say: object = None) -> None:
        """Write two pages: what the first shows of the run, and the run's own, which is long."""
        if self.is_broken:
            raise ValueError("no room on the disk")
        runs = storage.list_runs(self.folder) if storage.has_results(self.folder) else ()
        for path, content in site_assets().items():
            (self.site / path).parent.mkdir(parents=True, exist_ok=True)
            (self.site / path).write_bytes(content)
        (self.site / "runs").mkdir(exist_ok=True)
        for path, depth in (("index.html", 0), ("runs/new.html", 1)):
            page = render("base.html.j2", held=in_site(depth), scripts=(), data=None)
            body = "".join(f"<p class=run>{run.run_id} {run.status}</p>" for run in runs)
            body += '<div style="" class=tall></div><label>Filter <input></label>'
            body += "<p>line</p>" * 100 + "<p id=last>last</p>"
            page = page.replace("</main>", f"{body}</main>").replace(' style=""', "")
            (self.site / path).write_text(page)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    """An empty one."""
    return Root(tmp_path)


@pytest.fixture
def server(root: Root, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackServer]:
    """It, served as by the command, in this process."""
    monkeypatch.setattr(live, "LOOK_S", 0.1)
    root.build()
    follower = Follower(root.folder, root.build, print, built=read_root_state(root.folder))
    site = LiveSite(root.site, follower, lambda *_: b"")
    with follower, LoopbackServer(site.answer, print) as made:
        yield made


@pytest.fixture
def page(server: LoopbackServer, tmp_path: Path) -> Iterator[Page]:
    """The first page, opened; afterwards it has logged nothing, and asked no other server."""
    with browser(tmp_path / "profile") as opened:
        opened.resize(1280)
        opened.open(server.url)
        yield opened
        assert not opened.errors
        assert all(url.startswith(server.url) for url in opened.requests)


def test_a_page_follows_a_run_to_its_end(page: Page, root: Root, server: LoopbackServer) -> None:
    """It appears, its bar moves, its text says how far it is, and then the page has its end."""
    until(page, HIDDEN, bool)
    root.begin()
    until(page, STATUS, lambda text: "new is running: 0 %" in text)
    until(page, "document.querySelectorAll('.run').length", lambda number: number == 1)
    root.commit(50)
    until(page, BAR, lambda value: value == 50)
    until(page, TEXT, lambda text: "0 of 1 cells, 50 of 200 images" in text)
    until(page, STATUS, lambda text: "new is running: 20 %" in text)
    link = "document.querySelector('#live a')?.href"
    until(page, link, lambda address: address == f"{server.url}runs/new.html")
    root.end()
    until(page, SHOWN, lambda text: text == "new done")
    until(page, HIDDEN, bool)


def test_the_place_and_the_fragment_stay(page: Page, root: Root, server: LoopbackServer) -> None:
    """A page that is loaded again is where the reader was."""
    root.begin()
    until(page, STATUS, lambda text: "running" in text)
    page.open(f"{server.url}runs/new.html#threshold=0.5")
    until(page, SHOWN, lambda text: text != "")
    page.run("scrollTo({ top: 700, behavior: 'instant' })")
    before = page.run(PLACE)
    root.end()
    until(page, SHOWN, lambda text: text == "new done")
    until(page, PLACE, lambda place: abs(place - before) < 30)
    assert page.run("location.hash") == "#threshold=0.5"


def test_a_reader_who_types_is_not_disturbed(page: Page, root: Root) -> None:
    """A button has the new figures; they come when the field is left."""
    page.run("document.querySelector('main input').focus()")
    page.run("document.querySelector('main input').value = 'half a word'")
    root.begin()
    until(page, "document.querySelector('#live button')?.hidden ?? true", lambda it: not it)
    assert page.run("document.querySelector('main input').value") == "half a word"
    assert page.run("document.querySelectorAll('.run').length") == 0
    page.run("document.activeElement.blur()")
    until(page, "document.querySelectorAll('.run').length", lambda number: number == 1)
    root.end()


def test_a_rebuild_that_fails_is_said(page: Page, root: Root) -> None:
    """The pages remain, and say that they are old."""
    root.is_broken = True
    root.begin()
    until(page, STATUS, lambda text: "may be out of date: no room on the disk" in text)
    assert page.run("document.querySelectorAll('.run').length") == 0
    root.is_broken = False
    root.end()
    until(page, STATUS, lambda text: "out of date" not in text)


def test_a_server_that_has_stopped(root: Root, tmp_path: Path) -> None:
    """Is said; the page stays, and asks less and less often."""
    root.build()
    follower = Follower(root.folder, root.build, print, built=read_root_state(root.folder))
    site = LiveSite(root.site, follower, lambda *_: b"")
    with browser(tmp_path / "profile") as opened:
        with LoopbackServer(site.answer, print) as server:
            opened.open(server.url)
            until(opened, "document.getElementById('live') !== null", bool)
            assert not opened.errors
        until(opened, STATUS, lambda text: "server has stopped" in text)
        asked = len(opened.requests)
        assert opened.run("document.querySelectorAll('main p').length") > 100
        time.sleep(3)
        opened.run("0")  # its events are read
        assert len(opened.requests) <= asked + 1


def test_the_scripts_of_a_page_run_under_its_policy(page: Page) -> None:
    """None of them is refused, and none comes from elsewhere."""
    sources = page.run("[...document.scripts].map((each) => each.getAttribute('src'))")
    assert [each for each in sources if each] == [
        "assets/live.js",
        *(f"assets/{name}" for name in BASIC_SCRIPTS),
    ]
    assert page.run("typeof window.permalink.get") == "function"


LONG_GRID = """\
name: ladder
models: [digits-gfnet, digits-dynn]
datasets: [{name: digits, limit: 100}]
thresholds: [0.5, 0.9]
threads: [1]
latency: {rounds: 10, warmup_images: 4}
"""


def test_the_command_follows_a_real_run(
    place: Place, made_run: Callable[..., Path], tmp_path: Path
) -> None:
    """From its beginning to its end, beside it; then Ctrl-C leaves nothing behind.

    The run stands still until its pages are there: where the site takes long, it would be over.
    """
    made_run(place.root)
    made_run(place.root, "low", day=25, active_mw=4900.0)
    place.grid.write_text(LONG_GRID)
    processes = Processes()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    served = place.command(
        *("site", "--serve", "--results", place.root), environment={"TMPDIR": str(temporary)}
    )
    processes.until(lambda: served.printed().endswith("/\n"), "the address")
    url = served.printed().strip()
    with browser(tmp_path / "profile") as opened:
        opened.resize(390)
        opened.open(url)
        assert "made" in opened.run("document.querySelector('main').innerText")
        run = place.command(
            *("submit", place.grid, "--run", "r", "--results", place.root, "--inline")
        )
        processes.until(lambda: any(place.root.glob("runs/r/commits/*.json")), "the first commit")
        run.signal(signal.SIGSTOP)
        until(opened, STATUS, lambda text: "r is running" in text)
        assert run.is_running()
        shown = "document.querySelector('[data-live-run=r] span')?.textContent ?? ''"
        until(opened, shown, lambda text: " of 5 cells, " in text)
        run.signal(signal.SIGCONT)
        assert run.end()[0] == 0
        ended = "[...document.querySelectorAll('#runs tr')].map((each) => each.innerText).join()"
        until(opened, ended, lambda text: "done" in text.split("low")[0])
        until(opened, "document.querySelectorAll('[data-live-run]').length", lambda n: n == 0)
        for path in ("runs/r.html", "comparisons/low--made.html", "history.html", "compare.html"):
            opened.open(url + path)
            until(
                opened,
                f"document.body.innerText.slice(0, 99) + {HIDDEN}",
                lambda text: "true" in text,
            )
            until(opened, "document.documentElement.scrollWidth", lambda width: width <= 390)
        assert not opened.errors
        assert all(each.startswith((url, "data:", "blob:")) for each in opened.requests)
    served.signal(signal.SIGINT)
    code, _, said = served.outcome()
    assert code == 0, said
    assert said.endswith("stopped\n")
    assert list(temporary.iterdir()) == []
