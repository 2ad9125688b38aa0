"""The server under odd clients: nothing without the token, nothing but pages, and no one waits."""

from __future__ import annotations

import contextlib
import http.client
import random
import re
import socket
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest
from support.leaks import no_file_left, no_thread_left

from jobs.common.errors import UsageError
from jobs.report.site import loopback
from jobs.report.site.loopback import MAX_CONNECTIONS, LoopbackServer, SiteAnswer
from jobs.report.site.served_files import read_below

SECRET = b"nobody may read this"
PAGE = b"<title>the first page</title>"


class Site:
    """A folder that is served, with what is said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []

    def answer(self, path: str, query: str) -> SiteAnswer | None:
        """Answer as the real site does."""
        if path == "broken.html":
            raise ValueError(query)
        content = read_below(self.folder, path or "index.html")
        return None if content is None else SiteAnswer(content, "text/html; charset=utf-8")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A page and a large one; above and beside them, files that nobody may read."""
    folder = tmp_path / "site"
    (folder / "runs").mkdir(parents=True)
    (folder / "index.html").write_bytes(PAGE)
    (folder / "runs" / "a.html").write_bytes(b"a")
    (folder / "large.html").write_bytes(b"x" * 20_000_000)
    (tmp_path / "secret.html").write_bytes(SECRET)
    (folder / "link.html").symlink_to(tmp_path / "secret.html")
    (folder / "up").symlink_to(tmp_path)
    (folder / ".hidden.html").write_bytes(SECRET)
    return Site(folder)


@pytest.fixture
def server(site: Site) -> Iterator[LoopbackServer]:
    """It; afterwards no thread and no handle of it is left."""
    with (
        no_thread_left(),
        no_file_left(),
        LoopbackServer(site.answer, site.said.append) as made,
    ):
        yield made


def connect(server: LoopbackServer) -> socket.socket:
    """A client that says nothing yet."""
    return socket.create_connection(server.server_address, timeout=30)


def exchange(server: LoopbackServer, request: bytes) -> bytes:
    """All that comes back for some bytes, after which the client says no more."""
    with connect(server) as client:
        with contextlib.suppress(OSError):
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(OSError):
            while chunk := client.recv(65_536):
                answer += chunk
        return answer


def get(server: LoopbackServer, path: str = "", method: str = "GET") -> tuple[int, bytes]:
    """Ask as a browser does: status and content."""
    with contextlib.closing(
        http.client.HTTPConnection(*server.server_address, timeout=30)
    ) as client:
        client.request(method, f"/{server.token}/{path}")
        answer = client.getresponse()
        return answer.status, answer.read()


def test_pages_for_those_who_know_the_token(server: LoopbackServer) -> None:
    """By GET and HEAD; the address is the first page's."""
    assert server.url == f"http://127.0.0.1:{server.server_address[1]}/{server.token}/"
    assert len(server.token) >= 32
    assert get(server) == (200, PAGE)
    assert get(server, "runs/a.html?x=y") == (200, b"a")
    assert get(server, "runs/a.html", "HEAD") == (200, b"")
    assert get(server, "gone.html")[0] == HTTPStatus.NOT_FOUND
    assert get(server, "runs/")[0] == HTTPStatus.NOT_FOUND
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND"):
        assert get(server, "", method)[0] == HTTPStatus.METHOD_NOT_ALLOWED


def test_every_answer_has_the_headers(server: LoopbackServer) -> None:
    """That keep a browser from running, keeping or passing on what it must not."""
    for path, status in (("", 200), ("gone.html", 404)):
        with contextlib.closing(http.client.HTTPConnection(*server.server_address)) as client:
            client.request("GET", f"/{server.token}/{path}")
            answer = client.getresponse()
            answer.read()
        assert answer.status == status
        headers = {name.lower(): value for name, value in answer.getheaders()}
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert "server" not in headers


def test_the_same_nothing_without_the_token(server: LoopbackServer) -> None:
    """Whatever is asked for, by whatever method, and whatever is right about it."""
    wrong = "x" * len(server.token)
    host = f"Host: 127.0.0.1:{server.server_address[1]}\r\n"
    right = f"/{server.token}/"
    requests = [
        f"{method} {target} HTTP/1.1\r\n{host}\r\n"
        for method in ("GET", "POST", "PATCH")
        for target in ("/", f"/{wrong}/", f"/{server.token}", f"/{server.token}x/", "/index.html")
    ]
    requests += [
        f"GET {right} HTTP/1.1\r\n\r\n",
        f"GET {right} HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        f"GET {right} HTTP/1.1\r\n{host}Host: evil.example\r\n\r\n",
        f"GET {right}\r\n\r\n",
        f"GET http://127.0.0.1{right} HTTP/1.1\r\n{host}\r\n",
        f"GET {server.token}/ HTTP/1.1\r\n{host}\r\n",
        f"GET /./{server.token}/ HTTP/1.1\r\n{host}\r\n",
        f"GET /{server.token[:-1]}%{ord(server.token[-1]):x}/ HTTP/1.1\r\n{host}\r\n",
        "GET / HTTP/1.1\r\n" + "X: y\r\n" * 5000 + "\r\n",
        "\r\n\r\n",
    ]
    (answer,) = {exchange(server, each.encode()) for each in requests}
    assert answer.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert answer.endswith(b"\r\n\r\n"), "no content"


def test_a_page_that_fails(server: LoopbackServer, site: Site) -> None:
    """Is said on the terminal; to the browser only that it failed."""
    status, content = get(server, "broken.html?secret")
    assert status == HTTPStatus.INTERNAL_SERVER_ERROR
    assert b"secret" not in content
    assert site.said == ["broken.html could not be made: ValueError('secret')"]
    assert get(server)[0] == 200


def test_a_port_that_is_taken(server: LoopbackServer, site: Site) -> None:
    """Is told with what to do; so is one that cannot be."""
    port = server.server_address[1]
    with pytest.raises(UsageError, match=rf"port {port} of 127\.0\.0\.1 .*leave out --port"):
        LoopbackServer(site.answer, site.said.append, port)
    with pytest.raises(UsageError, match="port 70000"):
        LoopbackServer(site.answer, site.said.append, 70_000)


def test_half_open_connections_hang_nobody(server: LoopbackServer) -> None:
    """Three times as many as there are places: the oldest are cut off at once."""
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(connect(server)) for _ in range(3 * MAX_CONNECTIONS)]
        for each in idle[::2]:
            with contextlib.suppress(OSError):
                each.sendall(b"GET /" + server.token.encode())
        began_s = time.monotonic()
        assert get(server) == (200, PAGE)
        assert time.monotonic() - began_s < loopback.HEAD_S / 2
        names = [each.name for each in threading.enumerate()]
        assert names.count("site-answer") <= 2 * MAX_CONNECTIONS


def test_a_slow_client_is_cut_off(server: LoopbackServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many bytes it sends meanwhile, and whether it reads the answer."""
    monkeypatch.setattr(loopback, "HEAD_S", 0.3)
    monkeypatch.setattr(loopback, "SEND_S", 0.3)
    with connect(server) as slow, connect(server) as deaf:
        head = f"GET /{server.token}/large.html HTTP/1.1\r\nHost: localhost\r\n\r\n"
        deaf.sendall(head.encode())
        began_s = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - began_s < 10 and not is_closed(slow):
                slow.sendall(b"GET"[:1])
        assert time.monotonic() - began_s < 5
        deadline_s = time.monotonic() + 10
        while "site-answer" in {each.name for each in threading.enumerate()}:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        assert get(server) == (200, PAGE)


def is_closed(client: socket.socket) -> bool:
    """Whether the other side has ended the connection, after a moment."""
    client.settimeout(0.02)
    try:
        return client.recv(1) == b""
    except TimeoutError:
        return False


ODD_TARGETS = [
    *("/../secret.html", "/%2e%2e/secret.html", "/%2e%2e%2fsecret.html", "/..%2fsecret.html"),
    *("/..\\secret.html", "/..%5csecret.html", "/%252e%252e/secret.html", "//secret.html"),
    *("/runs/../../secret.html", "/runs/..;/../secret.html", "/up/secret.html", "/link.html"),
    *("/.hidden.html", "/%2ehidden.html", "/index.html%00.css", "/index.html%00", "/secret.html"),
    *("/etc/passwd", "//etc/passwd", "/file:///etc/passwd", "/%c0%ae%c0%ae/secret.html"),
    *("/runs", "/runs/", "/up/", "/up", "/.", "/./", "/..", "/../", "/~root/", "/C:/secret.html"),
    *("/CON", "/index.html/", "/index.html::$DATA", "/" + "a/" * 3000, "/" + "a" * 9000),
    *("/?" + "q" * 9000, "/index.html#../secret.html", "/;/../secret.html", "/%", "/%zz"),
]


def odd_requests(token: str, absolute: str) -> Iterator[bytes]:
    """A thousand, of which each is one that a browser never sends; the last by chance."""
    host = b"Host: 127.0.0.1\r\n"
    targets = [*ODD_TARGETS, absolute, "/" + absolute]
    for target in targets:
        for prefix in (f"/{token}", f"/{token}/", "", f"/{token}/runs", "/wrong"):
            yield f"GET {prefix}{target} HTTP/1.1\r\n".encode() + host + b"\r\n"
    usual = f"GET /{token}/runs/a.html HTTP/1.1\r\n".encode()
    yield from (
        b"",
        b"\0" * 100_000,
        b"\xff" * 100_000,
        b"\n" * 100_000,
        b"G",
        b"GET",
        usual.replace(b"GET", b"POST") + host + b"Content-Length: 1\r\n\r\nx",
        usual,  # and nothing more
        usual + host,
        usual + b"Host: " + b"a" * 100_000 + b"\r\n\r\n",
        usual + host + b"Content-Length: 999999999\r\n\r\nx",
        usual + host + b"Transfer-Encoding: chunked\r\n\r\nffffffff\r\n",
        usual + host + b"Expect: 100-continue\r\n\r\n",
        usual + host + b"Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        usual + host + b"Range: bytes=0-,0-,0-,0-\r\n\r\n",
        usual + b" folded: x\r\n" + host + b"\r\n",
        (usual + host + b"\r\n") * 50,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500,  # TLS
        b"CONNECT 127.0.0.1:22 HTTP/1.1\r\n" + host + b"\r\n",
        b"GET * HTTP/1.1\r\n" + host + b"\r\n",
    )
    chance = random.Random(0)  # noqa: S311 - odd, not secret
    pieces = [
        b"..",
        b"/",
        b"\\",
        b"%2e",
        b"%2f",
        b"%00",
        b"\0",
        b"\r\n",
        b"\n",
        b" ",
        b"secret.html",
    ]
    pieces += [b"up", b"link.html", token.encode(), b"HTTP/1.1", b"GET", b"Host:", b":", b"\xff"]
    while True:
        request = bytearray(usual + host + b"\r\n")
        for _ in range(chance.randrange(1, 6)):
            place = chance.randrange(len(request) + 1)
            request[place : place + chance.randrange(6)] = chance.choice(pieces)
        yield bytes(request)


def test_a_thousand_odd_requests(server: LoopbackServer, site: Site, tmp_path: Path) -> None:
    """Nothing beyond the pages comes back, and pages go on being served in between."""
    requests = odd_requests(server.token, str(tmp_path / "secret.html"))
    statuses = set()
    for number in range(1000):
        answer = exchange(server, next(requests))
        assert SECRET not in answer
        assert b"root:" not in answer
        if answer:
            status = re.match(rb"HTTP/1\.1 (\d+) ", answer)
            assert status, answer[:100]
            statuses.add(int(status[1]))
            body = answer.partition(b"\r\n\r\n")[2]
            if int(status[1]) == 200:
                assert body in (PAGE, b"a", b""), body[:100]
        if number % 20 == 0:
            assert get(server) == (200, PAGE)
    assert statuses == {200, 404, 405}
    assert site.said == []
    deadline_s = time.monotonic() + 10
    while [each.name for each in threading.enumerate()].count("site-answer"):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
