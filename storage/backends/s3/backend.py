"""The backend of an object store.

One put makes an object appear whole, so a file is first serialised in memory (or in a local file).
An object that must not replace another is put with `If-None-Match: *`: the store itself decides
which of two writers was first, and that put is the commit. Folders are only prefixes of keys.
"""

from __future__ import annotations

import contextlib
import functools
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from storage.backends.backend import TEMPORARY_PREFIX, Backend, BackendError
from storage.backends.handles import BackendFile
from storage.backends.s3.bucket import CONNECTIONS, Bucket, ChangedError, bucket_named
from storage.backends.s3.lease import HeartbeatLease, s3_lease_holder
from storage.backends.s3.url import BucketUrl

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from storage.backends.backend import Lease

LOCK_NAME = "lock"

# What a reader fetches of a file first: the footer of most files, and all of a shard's.
END_BYTES = 1 << 16

# A file that no manifest names may belong to a writer that is frozen between two requests. A
# writer that wakes up after this long finds its file gone; see `docs/results.md`.
ABANDONED_S = 24 * 3600.0


class _End(NamedTuple):
    content: bytes
    etag: str
    size_bytes: int


class S3Backend(Backend):
    """A key, or a prefix of keys.

    Args:
        url: that of the bucket and the key; no slash at the end.
        age_s: time since it was written, if a listing gave it.
    """

    def __init__(self, url: BucketUrl, age_s: float | None = None) -> None:
        self._url = url
        self._age_s = age_s
        self._end: _End | None = None

    @property
    def _bucket(self) -> Bucket:
        return bucket_named(self._url.bucket)

    @property
    def _key(self) -> str:
        return self._url.prefix

    @property
    def _below(self) -> str:
        return f"{self._key}/" if self._key else ""

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self._key.rpartition("/")[2]

    def __truediv__(self, name: str) -> S3Backend:
        """The key of a bare name below this prefix."""
        return S3Backend(BucketUrl(self._url.bucket, self._below + name))

    def __str__(self) -> str:
        """The URL."""
        return str(self._url)

    def children(self) -> list[S3Backend]:
        """List the keys of one level."""
        bucket = self._url.bucket
        found = [
            S3Backend(BucketUrl(bucket, entry.key.rstrip("/")), entry.age_s)
            for entry in self._bucket.list(self._below)
            if entry.key != self._below
        ]
        return sorted(found, key=lambda place: place.name)

    def holding(self, name: str) -> list[S3Backend]:
        """List all keys below, a thousand per request: cheaper than one request per folder."""
        found = []
        for entry in self._bucket.list(self._below, is_deep=True):
            folder, _, rest = entry.key.removeprefix(self._below).partition("/")
            if folder and rest == name:
                found.append(self / folder)
        return sorted(found, key=lambda place: place.name)

    def is_file(self) -> bool:
        """Request the object's head."""
        return self._bucket.has(self._key)

    def is_folder(self) -> bool:
        """Whether any key lies below."""
        return bool(self._bucket.list(self._below, most=1))

    def prove_writable(self) -> None:
        """Check that conditional puts are honoured: a store that ignores them would lose rows."""
        _prove_conditions(self._url)

    def read(self) -> bytes:
        """Fetch the object."""
        return self._bucket.get(self._key).content

    def read_all(self, files: Sequence[Backend]) -> list[bytes]:
        """Fetch several objects concurrently."""
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            return list(pool.map(lambda file: file.read(), files))

    def open(self) -> S3File:
        """Fetch the end of the object: the footer of a Parquet file, which locates the rest."""
        if self._end is None:
            found = self._bucket.get(self._key, start=-END_BYTES)
            self._end = _End(found.content, found.etag, found.size_bytes)
        return S3File(self._bucket, self._key, self._end)

    def open_ahead(self, files: Sequence[Backend]) -> None:
        """Fetch the ends of several objects concurrently, and keep them."""

        def fetch(file: Backend) -> None:
            with contextlib.suppress(FileNotFoundError):
                file.open()

        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(fetch, files))

    def write(self, content: bytes) -> None:
        """Put the object if there is none."""
        self.publish_new(content)

    def publish(self, content: bytes) -> None:
        """Put the object."""
        self._bucket.put(self._key, content)

    def publish_new(self, content: bytes) -> None:
        """Put the object if there is none; one that exists may be from our own repeated request."""
        try:
            self._bucket.put(self._key, content, is_new=True)
        except ChangedError as err:
            if self.read() != content:
                raise FileExistsError(f"{self} is there already") from err

    def publish_all_new(self, names: Sequence[str], content: bytes) -> None:
        """Put the objects concurrently."""
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(lambda name: (self / name).publish_new(content), names))

    def rename(self, name: str) -> S3Backend:
        """Copy the object, and delete the old one."""
        renamed = S3Backend(BucketUrl(self._url.bucket, self._key.rpartition("/")[0] + "/" + name))
        renamed.publish(self.read())
        self._bucket.delete([self._key])
        return renamed

    def adopt(self, file: Path) -> None:
        """Send the file; its name is new, and no reader opens it until a manifest names it."""
        with file.open("rb") as content:
            self._bucket.put(self._key, content)

    @property
    def local_path(self) -> None:
        """None: an object has no local path."""
        return

    def make_folder(self) -> None:
        """Nothing to do: a prefix exists as soon as a key does."""

    def sync(self) -> None:
        """Nothing to do: a put is durable when it is answered."""

    def delete(self) -> None:
        """Delete the object and all objects below it."""
        below = [entry.key for entry in self._bucket.list(f"{self._key}/", is_deep=True)]
        self._bucket.delete([*below, self._key])

    def delete_all(self, files: Sequence[Backend]) -> None:
        """Delete objects, a thousand per request."""
        self._bucket.delete([f"{self._below}{file.name}" for file in files])

    def withdraw(self, first: str, lease: Lease) -> None:
        """Delete `first`, then the manifests, then the files that they name, and the lease last."""
        lease.confirm()
        self._bucket.delete([self._below + first])
        lock = self._below + LOCK_NAME
        keys = [entry.key for entry in self._bucket.list(self._below, is_deep=True)]
        manifests = [key for key in keys if key.endswith(".json")]
        others = [key for key in keys if not key.endswith(".json") and key != lock]
        for batch in (manifests, others, [lock]):
            lease.confirm()
            self._bucket.delete(batch)

    def is_abandoned(self, lease: Lease) -> bool:  # noqa: ARG002 (its holder may be replaced)
        """Whether a listing found it more than a day old."""
        return self._age_s is not None and self._age_s > ABANDONED_S

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """Provide a temporary folder of this machine."""
        with tempfile.TemporaryDirectory(prefix="gfjobs-") as folder:
            yield Path(folder)

    def lease(self) -> HeartbeatLease:
        """Put the heartbeat object `lock`."""
        return HeartbeatLease(self._bucket, self._below + LOCK_NAME, self.name)

    def holder(self) -> str | None:
        """Name the process that sends heartbeats to that object."""
        return s3_lease_holder(self._bucket, self._below + LOCK_NAME)


class S3File(BackendFile):
    """An object read in ranges; if it is replaced meanwhile, reading raises an OSError."""

    def __init__(self, bucket: Bucket, key: str, end: _End) -> None:
        super().__init__(end.size_bytes)
        self._bucket, self._key, self._end = bucket, key, end

    def read_at(self, position: int, size: int) -> bytes:
        """Take the bytes from the end that is held, or fetch them."""
        start = self.size_bytes - len(self._end.content)
        if position >= start:
            return self._end.content[position - start : position - start + size]
        try:
            return self._bucket.get(self._key, position, size, self._end.etag).content
        except ChangedError as err:
            raise FileNotFoundError(
                f"s3://{self._bucket.name}/{self._key} was replaced while it was read"
            ) from err


@functools.cache
def _prove_conditions(url: BucketUrl) -> None:
    """Check conditional puts, once per process and root.

    Raises: BackendError: the store refuses a put, or ignores its conditions.
    """
    bucket = bucket_named(url.bucket)
    key = (f"{url.prefix}/" if url.prefix else "") + f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
    bucket.put(key, b"probe", is_new=True)
    try:
        for condition in ({"is_new": True}, {"etag": '"0"'}):
            try:
                bucket.put(key, b"second probe", **condition)
            except ChangedError:
                continue
            asked = "If-None-Match" if "is_new" in condition else "If-Match"
            raise BackendError(
                f"the store of {url} ignores the condition {asked} of a put, which commits and "
                "leases need: two drivers could overwrite each other. Use a store that honours "
                "it, or a local folder"
            )
    finally:
        bucket.delete([key])
