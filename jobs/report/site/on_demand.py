"""Comparisons of two runs that are made when their page is first asked for."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from jobs.common.errors import JobsError
from jobs.common.text import escape_controls
from jobs.report.site.live import RunState
from jobs.report.site.loopback import SiteAnswer
from storage import StorageError

MakeComparison = Callable[[str, str], bytes]
"""Makes the page that compares two runs, given their names."""

KEPT_PAGES = 32
"""Pages to keep, those that were asked for last."""

MAX_WAITING = 8
"""Requests that may wait for pages to be made, one after the other."""

_PATH = re.compile(r"comparisons/([^/]+)\.html")
_TEXT = "text/plain; charset=utf-8"
_BUSY = SiteAnswer(
    b"other comparisons are being made: load this page again in a minute\n",
    _TEXT,
    HTTPStatus.SERVICE_UNAVAILABLE,
)


@dataclass(frozen=True)
class AskedComparison:
    """Two existing runs whose comparison a path names.

    Attributes:
        state: of both; a page that was made of another state is made again.
    """

    before: str
    after: str
    state: tuple[RunState, RunState]


def find_comparison(path: str, runs: Mapping[str, RunState]) -> AskedComparison | None:
    """Return the runs of `comparisons/A--B.html`, if both exist.

    A name may contain `--`: the path is split where both parts are runs.
    """
    if not (found := _PATH.fullmatch(path)):
        return None
    text = found[1]
    for place in (each.start() for each in re.finditer("(?=--)", text)):
        before, after = text[:place], text[place + 2 :]
        if before in runs and after in runs:
            return AskedComparison(before, after, (runs[before], runs[after]))
    return None


@dataclass
class Comparisons:
    """Makes pages one at a time, and keeps the last.

    Args:
        make: makes a page.
    """

    make: MakeComparison
    _pages: OrderedDict[AskedComparison, bytes] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _making: threading.Lock = field(default_factory=threading.Lock)
    _waiting: int = 0

    def answer(self, asked: AskedComparison) -> SiteAnswer:
        """Return the page, or why there is none; it is made if it was not before."""
        if (kept := self._find(asked)) is not None:
            return SiteAnswer(kept, "text/html; charset=utf-8")
        with self._lock:
            if self._waiting >= MAX_WAITING:
                return _BUSY
            self._waiting += 1
        try:
            with self._making:
                page = self._find(asked)  # another request may have had it made meanwhile
                if page is None:
                    page = self.make(asked.before, asked.after)
                    self._keep(asked, page)
        except (JobsError, StorageError) as err:
            why = f"{asked.before} and {asked.after} cannot be compared: {err}\n"
            content = escape_controls(why).encode()
            return SiteAnswer(content, _TEXT, HTTPStatus.NOT_FOUND)
        finally:
            with self._lock:
                self._waiting -= 1
        return SiteAnswer(page, "text/html; charset=utf-8")

    def _find(self, asked: AskedComparison) -> bytes | None:
        with self._lock:
            if asked in self._pages:
                self._pages.move_to_end(asked)
            return self._pages.get(asked)

    def _keep(self, asked: AskedComparison, page: bytes) -> None:
        with self._lock:
            self._pages[asked] = page
            while len(self._pages) > KEPT_PAGES:
                self._pages.popitem(last=False)
