"""What a store answers that is no success, from a real server that answers just that."""

from __future__ import annotations

import io
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

import storage
from storage.backends.s3 import backend, bucket
from storage.backends.s3.bucket import bucket_named

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = "s3://bucket/results"
KEY, SECRET = "AKIAEXAMPLE", "very-secret"


class Answering(ThreadingHTTPServer):
    """Gives every request the same answer."""

    status, code = 200, ""
    body = b""
    """In the place of an error."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.bodies: list[bytes] = []
        """What came with each request."""


class Handler(BaseHTTPRequestHandler):
    """Speaks as much S3 as an answer needs."""

    protocol_version = "HTTP/1.1"  # which asks for a body at once; else boto3 waits for a second
    server: Answering

    def _answer(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        text = f"key {KEY} has {SECRET}"
        body = f"<Error><Code>{self.server.code}</Code><Message>{text}</Message></Error>".encode()
        body = body if self.server.code else self.server.body
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"1"')
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = _answer  # noqa: N815 (names of http.server)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answering]:
    """Start one on loopback, with credentials for it."""
    with Answering(("127.0.0.1", 0), Handler) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.setenv(name, "/nowhere")
        bucket_named.cache_clear()
        backend._prove_conditions.cache_clear()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
        bucket_named.cache_clear()
        backend._prove_conditions.cache_clear()


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (404, "NoSuchBucket", "no such bucket: make it, or name another"),
        (403, "AccessDenied", "may not do that: allow it, or use others"),
        (403, "InvalidAccessKeyId", "check the credentials that boto3 finds"),
        (403, "SignatureDoesNotMatch", "check the credentials that boto3 finds"),
        (400, "ExpiredToken", "log in again"),
        (403, "RequestTimeTooSkewed", "clock of this machine is wrong"),
        (503, "SlowDown", "asks to slow down, even after retries"),
        (507, "XMinioStorageFull", "it is full: make room"),
        (501, "NotImplemented", "no conditional puts"),
        (400, "AuthorizationHeaderMalformed", "another region: set AWS_REGION"),
        (418, "Teapot", "see the log of the store"),
    ],
)
def test_refusals_are_worded(server: Answering, status: int, code: str, advice: str) -> None:
    """What was asked, the code, and what to do; never the server's own text or a key."""
    server.status, server.code = status, code
    for use in (storage.check_root, storage.list_runs, storage.connect):
        with pytest.raises(storage.StorageError) as caught:
            use(ROOT)
        text = str(caught.value)
        for part in (ROOT, f"answered with {code}", advice, "http://127.0.0.1:"):
            assert part in text
        assert KEY not in text
        assert SECRET not in text


@pytest.mark.parametrize("content", [b"rows", io.BytesIO(b"rows")])
def test_a_put_that_meets_another_is_repeated_from_its_beginning(
    server: Answering, monkeypatch: pytest.MonkeyPatch, content: bytes | io.BytesIO
) -> None:
    """Five times: a store that decides two puts at once may refuse both."""
    monkeypatch.setattr(bucket, "_PAUSE_S", 0)
    server.status, server.code = 409, "ConditionalRequestConflict"
    with pytest.raises(bucket.ChangedError, match="key"):
        bucket_named("bucket").put("key", content, is_new=True)
    assert server.bodies == [b"rows"] * 5


def test_an_object_that_cannot_be_deleted_is_named(server: Answering) -> None:
    """The request itself is a success."""
    server.body = (
        b"<DeleteResult><Error><Key>runs/r/x</Key><Code>AccessDenied</Code></Error></DeleteResult>"
    )
    told = r"DeleteObjects of s3://bucket/runs/r/x .*may not do that"
    with pytest.raises(storage.StorageError, match=told):
        bucket_named("bucket").delete(["runs/r/x"])


def test_a_store_that_ignores_conditions_is_refused(server: Answering) -> None:
    """It says yes to both puts of a name that only one may have."""
    assert server.status == 200
    with pytest.raises(storage.RootNotWritableError, match="ignores the condition If-None-Match"):
        storage.check_root(ROOT)


def test_a_store_that_is_not_there(server: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens at the endpoint."""
    assert server.server_port != 9
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(storage.StorageError, match=r"cannot be reached: check AWS_ENDPOINT_URL"):
        storage.list_runs(ROOT)


def test_an_endpoint_that_is_no_address(server: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told before any request."""
    assert server.code == ""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "nonsense")
    with pytest.raises(storage.StorageError, match="check AWS_ENDPOINT_URL"):
        storage.list_runs(ROOT)


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "no credentials: check"),
        ({"AWS_PROFILE": "nobody"}, "names a profile that is not in ~/.aws"),
    ],
)
def test_credentials_that_are_missing(
    server: Answering, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], advice: str
) -> None:
    """Neither environment nor files have any."""
    assert server.code == ""
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(storage.StorageError, match=advice):
        storage.list_runs(ROOT)
