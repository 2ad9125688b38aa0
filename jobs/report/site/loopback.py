"""A server on loopback that answers only those who know its address: which has a random token.

Each connection has one request and a thread of its own. Both are limited: a client that sends its
request byte by byte, or never reads the answer, is cut off, at once if others wait for its place.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Literal

from jobs.common.errors import UsageError
from jobs.common.text import ShowText
from jobs.report.html.shell import SITE_POLICY
from jobs.report.site.requests import MAX_HEAD_BYTES, SiteRequest, is_plain_path, parse_request

if TYPE_CHECKING:
    from typing_extensions import Self

ADDRESS = "127.0.0.1"

MAX_CONNECTIONS = 32
"""Connections at a time. A browser opens six; the oldest that is not being worked on makes room."""

HEAD_S, SEND_S = 5.0, 20.0
"""Most time that a client may take to send its request, and to take the answer."""

_END_S = 5.0
"""How long the threads of answers are waited for at the end."""

_CHUNK_BYTES = 65_536

SECURITY_HEADERS = {
    "Content-Security-Policy": f"{SITE_POLICY}; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",  # the address is the key
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""What every answer says, a refusal too."""


@dataclass(frozen=True)
class SiteAnswer:
    """What is sent for a path.

    Attributes:
        content: the bytes.
        media_type: what they are, such as `text/html; charset=utf-8`.
        status: 200, or why there is something else.
    """

    content: bytes
    media_type: str
    status: HTTPStatus = HTTPStatus.OK


AnswerPath = Callable[[str, str], SiteAnswer | None]
"""Answers a path of plain names with its query; None: there is no such page."""

_PLAIN = "text/plain; charset=utf-8"
_NOTHING = SiteAnswer(b"", _PLAIN, HTTPStatus.NOT_FOUND)
_NO_PAGE = SiteAnswer(b"there is no such page\n", _PLAIN, HTTPStatus.NOT_FOUND)
_READ_ONLY = SiteAnswer(b"pages can only be read\n", _PLAIN, HTTPStatus.METHOD_NOT_ALLOWED)
_FAILED = SiteAnswer(
    b"the page could not be made: see the terminal of the server\n",
    _PLAIN,
    HTTPStatus.INTERNAL_SERVER_ERROR,
)


@dataclass(eq=False)
class _Connection:
    """A client that is being served, and what it is waited for."""

    socket: socket.socket
    phase: Literal["head", "work", "send", "cut off"] = "head"
    thread: threading.Thread | None = field(default=None, repr=False)


class LoopbackServer(ThreadingHTTPServer):
    """Serves what a function answers below `/TOKEN/`; to all other requests it says nothing.

    A context manager: at its end the port is closed, and no thread is left.

    Args:
        answer: answers a path; called in many threads.
        narrate: shows the user that an answer failed.
        port: to listen on; 0: one that is free.

    Raises:
        UsageError: a program listens on the port already.
    """

    request_queue_size = 64
    daemon_threads = True

    def __init__(self, answer: AnswerPath, narrate: ShowText, port: int = 0) -> None:
        self.token = secrets.token_urlsafe(24)
        self._answer, self._narrate = answer, narrate
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, _Connection] = {}
        self._loop: threading.Thread | None = None
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as err:
            why = getattr(err, "strerror", None) or str(err)
            raise UsageError(
                f"port {port} of {ADDRESS} cannot be used: {why}; leave out --port for a free one"
            ) from err

    @property
    def url(self) -> str:
        """The address of the first page, with the token."""
        return f"http://{ADDRESS}:{self.server_address[1]}/{self.token}/"

    def __enter__(self) -> Self:
        """Begin to answer, in a thread."""
        self._loop = threading.Thread(target=self.serve_forever, args=(0.1,), name="site")
        self._loop.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the port and all connections."""
        if self._loop:
            self.shutdown()
            self._loop.join()
        self.server_close()
        with self._lock:
            open_now = list(self._connections.values())
        for each in open_now:
            _cut_off(each)
        deadline_s = time.monotonic() + _END_S
        for each in open_now:
            if each.thread:
                each.thread.join(max(0.0, deadline_s - time.monotonic()))

    def server_bind(self) -> None:
        """Bind the port; the base class also asks a name server what this machine is called."""
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, or close the connection if there are too many."""
        connection = _Connection(request)
        with self._lock:
            is_full = not self._make_room()
            if not is_full:
                self._connections[request] = connection
        if is_full:
            self.shutdown_request(request)
            return
        connection.thread = threading.Thread(
            target=self.process_request_thread,
            args=(request, client_address),
            name="site-answer",
            daemon=True,
        )
        connection.thread.start()

    def shutdown_request(self, request: Any) -> None:
        """Close a connection, and forget it."""
        with self._lock:
            self._connections.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - its base's
        """Say in one line what went wrong with a connection."""
        self._narrate(f"a request of {client_address[0]} failed: {sys.exc_info()[1]!r}")

    def set_phase(self, request: socket.socket, phase: Literal["work", "send"]) -> None:
        """Note what a connection waits for."""
        with self._lock:
            if connection := self._connections.get(request):
                connection.phase = phase

    def respond(self, request: SiteRequest | None) -> SiteAnswer:
        """Return what a request is answered; without the token always the same."""
        if request is None or not self._is_known(request):
            return _NOTHING
        if request.method not in ("GET", "HEAD"):
            return _READ_ONLY
        path = request.path or ""
        if not is_plain_path(path):
            return _NO_PAGE
        try:
            return self._answer(path, request.query) or _NO_PAGE
        except Exception as err:  # noqa: BLE001 - one page's; the others are still served
            self._narrate(f"{path or 'the first page'} could not be made: {err!r}")
            return _FAILED

    def _is_known(self, request: SiteRequest) -> bool:
        is_token = secrets.compare_digest(request.first.encode(), self.token.encode())
        return is_token and request.is_loopback and request.path is not None

    def _make_room(self) -> bool:
        """Cut off the oldest connection that waits for its client, if all places are taken."""
        if len(self._connections) < MAX_CONNECTIONS:
            return True
        if len(self._connections) >= 2 * MAX_CONNECTIONS:
            return False
        for each in self._connections.values():
            if each.phase in ("head", "send"):
                _cut_off(each)
                return True
        return False


class _Handler(socketserver.BaseRequestHandler):
    """Reads one request, and sends its answer."""

    request: socket.socket
    server: LoopbackServer

    def handle(self) -> None:
        """Read, answer, send; a client that takes too long gets nothing."""
        with contextlib.suppress(OSError):
            head = _read_head(self.request)
            if head == b"":
                return
            self.server.set_phase(self.request, "work")
            request = parse_request(head) if head else None
            answer = self.server.respond(request)
            self.server.set_phase(self.request, "send")
            self.request.settimeout(SEND_S)
            is_head = request is not None and request.method == "HEAD"
            self.request.sendall(_encode(answer, is_head=is_head))
            self._drain()

    def _drain(self) -> None:
        """Read what the client has sent besides; closed with it unread, the answer may be lost."""
        self.request.shutdown(socket.SHUT_WR)
        self.request.setblocking(False)
        self.request.recv(_CHUNK_BYTES)


def _read_head(client: socket.socket) -> bytes | None:
    """Read a request up to its empty line.

    Returns: nothing if the client ended before, or took too long; None if it is too long.
    """
    deadline_s = time.monotonic() + HEAD_S
    head = b""
    while (end := head.find(b"\r\n\r\n")) < 0:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            return b""
        if len(head) > MAX_HEAD_BYTES:
            return None
        client.settimeout(left_s)
        chunk = client.recv(_CHUNK_BYTES)
        if not chunk:
            return b""
        head += chunk
    return head[: end + 4] if end <= MAX_HEAD_BYTES else None


def _encode(answer: SiteAnswer, *, is_head: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}",
        f"Content-Type: {answer.media_type}",
        f"Content-Length: {len(answer.content)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in SECURITY_HEADERS.items()),
    ]
    if answer.status is HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append("Allow: GET, HEAD")
    head = "\r\n".join([*lines, "", ""]).encode("ascii")
    return head if is_head else head + answer.content


def _cut_off(connection: _Connection) -> None:
    """End a connection under its thread, which then closes it."""
    connection.phase = "cut off"
    with contextlib.suppress(OSError):
        connection.socket.shutdown(socket.SHUT_RDWR)
