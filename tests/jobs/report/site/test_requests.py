"""What of a request is taken: only plain names, of hosts that are this machine."""

from __future__ import annotations

import random

import pytest

from jobs.report.site.requests import is_plain_path, parse_request

HOST = b"Host: 127.0.0.1:8000\r\n"


def test_a_request_in_order() -> None:
    """Its method, the two parts of its path, its query and its host."""
    request = parse_request(
        b"HEAD /t0ken/runs/first.html?page=a/b HTTP/1.1\r\nhost:  LOCALHOST \r\nX: y\r\n\r\n"
    )
    assert request is not None
    assert (request.method, request.first, request.path) == ("HEAD", "t0ken", "runs/first.html")
    assert (request.query, request.is_loopback) == ("page=a/b", True)
    bare = parse_request(b"GET /t0ken HTTP/1.0\r\n\r\n")
    assert bare is not None
    assert (bare.first, bare.path, bare.is_loopback) == ("t0ken", None, False)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"GET\r\n\r\n",
        b"GET /t/\r\n\r\n",  # HTTP/0.9
        b"get /t/ HTTP/1.1\r\n\r\n",
        b"GET  /t/ HTTP/1.1\r\n\r\n",
        b"GET t/ HTTP/1.1\r\n\r\n",
        b"GET http://127.0.0.1/t/ HTTP/1.1\r\n\r\n",
        b"GET /t/\xc3\xa4 HTTP/1.1\r\n\r\n",
        b"GET /t/\0 HTTP/1.1\r\n\r\n",
        b"GET /t/ HTTP/2\r\n\r\n",
        b"GET /t/ HTTP/1.1\n\r\n\r\n",
        b"GET /t/ HTTP/1.1\r\nHost 127.0.0.1\r\n\r\n",
        b"GET /t/ HTTP/1.1\r\nHost : 127.0.0.1\r\n\r\n",
        b"GET /t/ HTTP/1.1\r\n folded: x\r\n\r\n",
        b"GET /t/ HTTP/1.1\r\nHost: a\nHost: b\r\n\r\n",
    ],
)
def test_requests_that_are_not_in_order(head: bytes) -> None:
    """Are nothing."""
    assert parse_request(head) is None


@pytest.mark.parametrize(
    ("headers", "is_loopback"),
    [
        (b"Host: 127.0.0.1:8000\r\n", True),
        (b"Host: localhost:9000\r\n", True),  # forwarded by ssh -L
        (b"Host: [::1]:8000\r\n", True),
        (b"", False),
        (b"Host: \r\n", False),
        (b"Host: evil.example:8000\r\n", False),
        (b"Host: localhost.evil.example\r\n", False),
        (b"Host: 127.0.0.1.evil.example:8000\r\n", False),
        (b"Host: evil.example:8000@127.0.0.1\r\n", False),
        (b"Host: 127.0.0.1:8000, evil.example\r\n", False),
        (b"Host: 127.0.0.1\r\nHost: 127.0.0.1\r\n", False),
        (b"Host: 0.0.0.0:8000\r\n", False),
        (b"Host: 127.1:8000\r\n", False),
        (b"Host: localhost:\r\n", False),
    ],
)
def test_hosts(headers: bytes, *, is_loopback: bool) -> None:
    """One header, of a loopback name; a name that was pointed here is none."""
    request = parse_request(b"GET /t/ HTTP/1.1\r\n" + headers + b"\r\n")
    assert request is not None
    assert request.is_loopback == is_loopback


@pytest.mark.parametrize(
    ("path", "is_plain"),
    [
        ("", True),
        ("index.html", True),
        ("runs/night-2026-01-01.html", True),
        ("comparisons/a--b.html", True),
        ("data/a/b_c/0.js", True),
        ("runs/", True),
        ("/etc/passwd", False),
        ("runs//first.html", False),
        ("..", False),
        ("runs/../index.html", False),
        ("a..b", False),
        (".hidden", False),
        ("runs/.hidden", False),
        ("runs/./first.html", False),
        ("%2e%2e/x", False),
        ("runs%2ffirst.html", False),
        ("runs\\first.html", False),
        ("a b", False),
        ("a\n", False),
        ("a\0b", False),
        ("c:x", False),
        ("ä", False),
        ("~root", False),
    ],
)
def test_paths(path: str, *, is_plain: bool) -> None:
    """Only letters, digits and `._-`, nothing hidden, no way up."""
    assert is_plain_path(path) == is_plain


def test_any_bytes_are_read_or_refused() -> None:
    """Never anything else: 5,000 heads, half of them close to one that is in order."""
    chance = random.Random(0)  # noqa: S311 - odd, not secret
    usual = b"GET /t0ken/runs/first.html HTTP/1.1\r\n" + HOST + b"\r\n"
    for number in range(5000):
        head = bytearray(usual if number % 2 else chance.randbytes(chance.randrange(200)))
        for _ in range(chance.randrange(4)):
            place = chance.randrange(len(head) + 1)
            head[place : place + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
        request = parse_request(bytes(head))
        if request is not None and request.path is not None and is_plain_path(request.path):
            assert "%" not in request.path
            assert not set(request.path.split("/")) & {".", ".."}
