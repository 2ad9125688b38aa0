"""Reads the head of a request, and takes only what the pages of a site ask for.

No name is decoded: what the pages link to needs no percent signs, so an address that has one, or
anything else beyond letters, digits and `._-`, names nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_HEAD_BYTES = 16_384
"""Most bytes of a request line with its headers; a browser sends about a thousand."""

_LINE = re.compile(rb"([A-Z]{1,20}) (/[!-~]*) HTTP/1\.[01]")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*)")
_LOOPBACK = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE)
_PATH = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/|$))*")


@dataclass(frozen=True)
class SiteRequest:
    """A request of which the head is in order.

    Attributes:
        method: in capitals, such as `GET`.
        first: the part of the address up to the second slash: the token, if it is right.
        path: what follows that slash; None: there is none.
        query: what follows a question mark, as it was sent.
        is_loopback: whether it names this machine by a loopback name. A page of another site, whose
            name was pointed here (DNS rebinding), names that.
    """

    method: str
    first: str
    path: str | None
    query: str
    is_loopback: bool


def parse_request(head: bytes) -> SiteRequest | None:
    """Read the lines of a request up to the empty one; None if they are not in order."""
    line, *headers = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    if not (found := _LINE.fullmatch(line)):
        return None
    hosts = []
    for each in headers:
        if not (header := _HEADER.fullmatch(each)):
            return None
        if header[1].lower() == b"host":
            hosts.append(header[2].decode("latin-1").strip())
    target, _, query = found[2].decode("ascii").partition("?")
    first, slash, path = target[1:].partition("/")
    return SiteRequest(
        method=found[1].decode("ascii"),
        first=first,
        path=path if slash else None,
        query=query,
        is_loopback=len(hosts) == 1 and bool(_LOOPBACK.fullmatch(hosts[0])),
    )


def is_plain_path(path: str) -> bool:
    """Whether a path is of plain names, none of them hidden or `..`: `runs/first.html`."""
    return bool(_PATH.fullmatch(path)) and ".." not in path
