"""Shows the site of a results root on loopback, live: what its addresses hold, until Ctrl-C."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import storage
from jobs.common.text import ShowText
from jobs.report.html.shell import in_site
from jobs.report.site.live import Follower, RootState
from jobs.report.site.loopback import LoopbackServer, SiteAnswer
from jobs.report.site.on_demand import Comparisons, MakeComparison, find_comparison
from jobs.report.site.requests import is_plain_path
from jobs.report.site.served_files import MEDIA_TYPES, read_below

BuildSite = Callable[[storage.Root, Path, ShowText], object]
"""Makes the site of a results root in a folder, or what of it is out of date."""

_HTML, _JSON = MEDIA_TYPES[".html"], MEDIA_TYPES[".json"]
_STATE = "live.json"


class LiveSite:
    """Answers the addresses of a site: files, comparisons on demand, and the state of runs.

    The script that follows the runs is put into each page here, so that the files are the same
    whether or not they are served.

    Args:
        folder: the files.
        follower: knows the runs.
        make_comparison: makes a page that is not among the files.
    """

    def __init__(self, folder: Path, follower: Follower, make_comparison: MakeComparison) -> None:
        self._folder, self._follower = folder, follower
        self._comparisons = Comparisons(make_comparison)

    def answer(self, path: str, query: str) -> SiteAnswer | None:
        """Answer a path of plain names; None: there is no such page."""
        if path == _STATE:
            return SiteAnswer(json.dumps(self._state(query)).encode(), _JSON)
        path = path or "index.html"
        content = read_below(self._folder, path)
        if content is not None:
            version = _digest_bytes(content)
            answer = SiteAnswer(content, MEDIA_TYPES[Path(path).suffix])
        elif asked := find_comparison(path, self._follower.state.runs):
            version = _digest_bytes(repr(asked).encode())
            answer = self._comparisons.answer(asked)
        else:
            return None
        if answer.media_type != _HTML:
            return answer
        return SiteAnswer(_with_script(answer.content, path, version), _HTML)

    def _state(self, query: str) -> dict[str, object]:
        """What `live.js` asks for: progress, and the version of the page that asks."""
        state = self._follower.state
        page = query.removeprefix("page=")
        is_asked = query.startswith("page=") and is_plain_path(page)
        return {
            "version": self._follower.version,
            "page": self._page_version(page or "index.html") if is_asked else None,
            "running": [each.shown() for each in state.running],
            "error": state.error or self._follower.error,
        }

    def _page_version(self, path: str) -> str | None:
        """What changes if a page does; None: there is no such page."""
        content = read_below(self._folder, path)
        if content is None:
            asked = find_comparison(path, self._follower.state.runs)
            content = repr(asked).encode() if asked else None
        return None if content is None else _digest_bytes(content)


def serve_site(
    root: storage.Root,
    *,
    folder: Path | None,
    port: int,
    prepare: BuildSite,
    build: BuildSite,
    make_comparison: MakeComparison,
    announce: ShowText,
    narrate: ShowText,
) -> None:
    """Make the site, and serve it until the user interrupts.

    Args:
        root: the results root.
        folder: where to make the site; None: in a temporary folder, which is removed at the end.
        port: on loopback; 0: one that is free.
        prepare: makes of the site what is quick, before the address is announced.
        build: makes all of it, a few seconds later, and again when runs changed.
        make_comparison: makes a page that compares two runs.
        announce: shows the address.
        narrate: shows progress and problems.

    Raises:
        JobsError: the site could not be made, or the port is in use.
        KeyboardInterrupt: the user interrupted before anything was served.
    """
    with contextlib.ExitStack() as stack:
        if folder is None:
            temporary = tempfile.TemporaryDirectory(
                prefix="gfjobs-site-", ignore_cleanup_errors=True
            )
            folder = Path(stack.enter_context(temporary))
        place = folder
        nothing = RootState()
        follower = Follower(root, lambda say: build(root, place, say), narrate, built=nothing)
        site = LiveSite(place, follower, make_comparison)
        server = LoopbackServer(site.answer, narrate, port)  # the port is taken before the work
        stack.callback(server.server_close)
        prepare(root, place, narrate)
        stack.enter_context(follower)
        follower.look()
        stack.enter_context(server)
        announce(server.url)
        narrate("it can be read on this machine alone, with this address; Ctrl-C stops it")
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
        narrate("stopped")


def _with_script(page: bytes, path: str, version: str) -> bytes:
    """Return a page with the script that follows the runs, which is told what the page is.

    Other scripts know by it that the page is served. With an icon, of nothing, browsers do not ask
    for one at an address without the token.
    """
    held = in_site(path.count("/"))
    script = (
        '<link rel="icon" href="data:,">'
        f'<script src="{held.asset("live.js")}" defer data-top="{held.to_root}"'
        f' data-page="{path}" data-version="{version}"></script>\n</head>'
    )
    return page.replace(b"</head>", script.encode(), 1)


def _digest_bytes(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
