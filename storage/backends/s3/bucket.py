"""The requests that are made to one bucket, with their answers and errors as our own types.

boto3 finds credentials, endpoint and region itself: AWS_PROFILE, AWS_ENDPOINT_URL, AWS_REGION and
the like, and ~/.aws. botocore repeats requests that fail temporarily.
"""

from __future__ import annotations

import contextlib
import email.utils
import functools
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3
import botocore.exceptions as boto
from botocore.config import Config

from storage.backends.s3.errors import BUSY, CHANGED, MISSING, error_code, failed, refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

# Concurrent requests when many small files are read.
CONNECTIONS = 16

_ATTEMPTS = 5  # if two conditional puts collide
_PAUSE_S = 0.2
_BATCH = 1000  # keys per delete request


class ChangedError(Exception):
    """The condition of a request did not hold: an object exists, or has changed."""


class Fetched(NamedTuple):
    """An object, or a part of it.

    Attributes:
        content: the requested bytes.
        etag: identifies this content.
        size_bytes: size of the whole object.
        age_s: time since it was written, by the clock of the server.
    """

    content: bytes
    etag: str
    size_bytes: int
    age_s: float


class Listed(NamedTuple):
    """A key in a listing; a key that ends in a slash has no age."""

    key: str
    age_s: float | None


class Bucket:
    """A bucket.

    Every method raises BackendError if the store refuses or cannot be reached.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        config = Config(
            retries={"mode": "standard"},  # three attempts; AWS_MAX_ATTEMPTS overrides this
            connect_timeout=10,
            read_timeout=60,
            max_pool_connections=CONNECTIONS,
        )
        try:
            self._client = boto3.session.Session().client("s3", config=config)
        except (boto.BotoCoreError, ValueError) as err:
            raise failed(f"opening bucket {name}", "the object store", err) from err
        self._endpoint = str(self._client.meta.endpoint_url).rpartition("@")[2]

    def get(self, key: str, start: int = 0, size: int | None = None, etag: str = "") -> Fetched:
        """Fetch an object, or `size` bytes of it; a negative start counts from its end.

        Raises:
            FileNotFoundError: there is no such object.
            ChangedError: its etag is not `etag`.
        """
        options: dict[str, Any] = {"IfMatch": etag} if etag else {}
        if start < 0:
            options["Range"] = f"bytes={start}"
        elif size is not None:
            options["Range"] = f"bytes={start}-{start + size - 1}"
        with self._asking("GetObject", key):
            answer = self._client.get_object(Bucket=self.name, Key=key, **options)
            content = answer["Body"].read()
        whole = str(answer.get("ContentRange", "")).rpartition("/")[2]
        size_bytes = int(whole) if whole.isdigit() else len(content)
        return Fetched(content, answer["ETag"], size_bytes, _age_s(answer))

    def has(self, key: str) -> bool:
        """Whether there is such an object."""
        try:
            with self._asking("HeadObject", key):
                self._client.head_object(Bucket=self.name, Key=key)
        except FileNotFoundError:
            return False
        return True

    def put(
        self, key: str, content: bytes | BinaryIO, *, is_new: bool = False, etag: str = ""
    ) -> str:
        """Write an object in one step.

        Args:
            key: name of the object.
            content: the whole content.
            is_new: write only if there is no object.
            etag: write only if the object has this etag.

        Returns: the new etag.

        Raises:
            FileNotFoundError: `etag` is given, and there is no object.
            ChangedError: the condition does not hold. A repeated request may have collided with
                itself: check whether the content is yours.
        """
        options = {"IfNoneMatch": "*"} if is_new else {"IfMatch": etag} if etag else {}
        for attempt in range(_ATTEMPTS):
            time.sleep(attempt * _PAUSE_S)
            try:
                with self._asking("PutObject", key):
                    answer = self._client.put_object(
                        Bucket=self.name, Key=key, Body=content, **options
                    )
                return str(answer["ETag"])
            except _MetAnotherError:
                if not isinstance(content, bytes):
                    content.seek(0)
        raise ChangedError(key)

    def list(self, prefix: str, *, is_deep: bool = False, most: int | None = None) -> list[Listed]:
        """List keys below a prefix that ends in a slash; deeper keys as one key per folder."""
        found: list[Listed] = []
        options: dict[str, Any] = {} if is_deep else {"Delimiter": "/"}
        if most is not None:
            options["MaxKeys"] = most
        while True:
            with self._asking("ListObjectsV2", prefix):
                answer = self._client.list_objects_v2(Bucket=self.name, Prefix=prefix, **options)
            now = _server_time(answer)
            for entry in answer.get("Contents", ()):
                age_s = (now - entry["LastModified"]).total_seconds()
                found.append(Listed(entry["Key"], age_s))
            found += [Listed(entry["Prefix"], None) for entry in answer.get("CommonPrefixes", ())]
            if most is not None or not answer.get("IsTruncated"):
                return found
            options["ContinuationToken"] = answer["NextContinuationToken"]

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; a missing object is not an error."""
        for first in range(0, len(keys), _BATCH):
            batch = keys[first : first + _BATCH]
            wanted = {"Objects": [{"Key": key} for key in batch], "Quiet": True}
            with self._asking("DeleteObjects", batch[0]):
                answer = self._client.delete_objects(Bucket=self.name, Delete=wanted)
            for error in answer.get("Errors", ()):
                raise refused(
                    f"DeleteObjects of s3://{self.name}/{error.get('Key', batch[0])}",
                    self._endpoint,
                    boto.ClientError({"Error": error}, "DeleteObjects"),
                )

    @contextlib.contextmanager
    def _asking(self, request: str, key: str) -> Iterator[None]:
        """Turn errors of boto3 into our own."""
        asked = f"{request} of s3://{self.name}/{key}"
        try:
            yield
        except boto.ClientError as err:
            code = error_code(err)
            if code in MISSING:
                raise FileNotFoundError(f"s3://{self.name}/{key} is not there") from err
            if code in CHANGED:
                raise ChangedError(key) from err
            if code in BUSY:
                raise _MetAnotherError(key) from err
            raise refused(asked, self._endpoint, err) from err
        except boto.BotoCoreError as err:
            raise failed(asked, self._endpoint, err) from err


class _MetAnotherError(Exception):
    """Another conditional request for this key was in progress: try again."""


@functools.cache
def bucket_named(name: str) -> Bucket:
    """Open a bucket, once per process: a client is slow to make, and threads may share it."""
    return Bucket(name)


def _server_time(answer: dict[str, Any]) -> datetime:
    """When the server answered, so that an age does not depend on this machine's clock."""
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return email.utils.parsedate_to_datetime(date) if date else datetime.now(timezone.utc)


def _age_s(answer: dict[str, Any]) -> float:
    return float((_server_time(answer) - answer["LastModified"]).total_seconds())
