"""The lease of a run on an object store: who gets it, who keeps it, and what a loss is called."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from storage import RunLockedError
from storage.backends.backend import BackendError
from storage.backends.s3 import lease as leases
from storage.backends.s3.bucket import ChangedError, Fetched
from storage.backends.s3.lease import Beat, HeartbeatLease, s3_lease_holder
from storage.backends.s3.owner import Owner

KEY = "runs/r/lease.json"
ELSEWHERE = Owner(7, "other-host", "another boot", "5")


class Bucket:
    """One object with conditional puts, whose age and whose failures a test decides."""

    def __init__(self) -> None:
        self.content: bytes | None = None
        self.version = 0
        self.age_s = 0.0
        self.puts: list[dict[str, object]] = []
        self.before_put: Callable[[], None] = lambda: None
        self.after_put: Callable[[], None] = lambda: None

    def write(self, content: bytes) -> None:
        """Write as somebody else."""
        self.content, self.version = content, self.version + 1

    def get(self, key: str) -> Fetched:
        """Fetch it."""
        assert key == KEY
        if self.content is None:
            raise FileNotFoundError(key)
        return Fetched(self.content, str(self.version), len(self.content), self.age_s)

    def put(self, key: str, content: bytes, *, is_new: bool = False, etag: str = "") -> str:
        """Write it on a condition."""
        assert key == KEY
        self.puts.append({"is_new": is_new, "etag": etag})
        self.before_put()
        if etag and self.content is None:
            raise FileNotFoundError(key)
        if (is_new and self.content is not None) or (etag and etag != str(self.version)):
            raise ChangedError(key)
        self.write(content)
        self.after_put()
        return str(self.version)

    def beat(self) -> Beat:
        """Read what it says."""
        assert self.content is not None
        beat = Beat.decode(self.content)
        assert beat is not None
        return beat


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that stands still; nothing beats by itself."""
    made = Clock()
    monkeypatch.setattr(leases, "_now_s", made)
    monkeypatch.setattr(leases, "BEAT_S", 3600.0)
    return made


@pytest.fixture
def bucket(clock: Clock) -> Bucket:  # noqa: ARG001 (nothing beats)
    """An empty one."""
    return Bucket()


def others(number: int = 3, *, is_over: bool = False) -> bytes:
    """What a driver on another host has written."""
    return Beat(ELSEWHERE, "theirs", number, is_over=is_over).encode()


def taken(bucket: Bucket) -> HeartbeatLease:
    """The lease of the run `r`."""
    return HeartbeatLease(bucket, KEY, "r")


def test_what_is_free_is_taken_and_released(bucket: Bucket) -> None:
    """By a put that must find nothing; the last beat says that it is over."""
    lease = taken(bucket)
    assert bucket.puts == [{"is_new": True, "etag": ""}]
    assert lease.is_held
    assert (bucket.beat().owner, bucket.beat().number) == (Owner.here(), 0)
    assert s3_lease_holder(bucket, KEY) == str(Owner.here())
    lease.release()
    assert not lease.is_held
    assert (bucket.beat().number, bucket.beat().is_over) == (1, True)
    assert bucket.puts[1:] == [{"is_new": False, "etag": "1"}]
    assert s3_lease_holder(bucket, KEY) is None
    lease.release()
    assert len(bucket.puts) == 2


def test_who_was_heard_of_lately_keeps_it(bucket: Bucket) -> None:
    """Up to STALE_S; the message says who, when, and what to do."""
    bucket.write(others())
    bucket.age_s = leases.STALE_S
    told = "r is being written by process 7 on other-host, last heartbeat 60 s ago; .* 60 s after"
    with pytest.raises(RunLockedError, match=told):
        taken(bucket)
    assert bucket.content == others()
    assert s3_lease_holder(bucket, KEY) == "process 7 on other-host"
    bucket.age_s = -2.0  # a store whose clock is behind
    with pytest.raises(RunLockedError, match="last heartbeat 0 s ago"):
        taken(bucket)


@pytest.mark.parametrize("content", [others(), b"not of ours", b"{}", b"[]"])
def test_who_was_not_heard_of_is_replaced(bucket: Bucket, content: bytes) -> None:
    """On the condition that nobody wrote meanwhile; also where it cannot be read."""
    bucket.write(content)
    bucket.age_s = leases.STALE_S + 1
    assert s3_lease_holder(bucket, KEY) is None
    lease = taken(bucket)
    assert bucket.puts == [{"is_new": True, "etag": ""}, {"is_new": False, "etag": "1"}]
    assert bucket.beat().owner == Owner.here()
    lease.release()


def test_what_nobody_can_read_is_somebodys(bucket: Bucket) -> None:
    """As long as it is new."""
    bucket.write(b"not of ours")
    with pytest.raises(RunLockedError, match="written by another process, last heartbeat 0 s ago"):
        taken(bucket)
    assert s3_lease_holder(bucket, KEY) == "another process"


def test_what_is_over_and_whose_process_is_gone_is_free_at_once(bucket: Bucket) -> None:
    """However new."""
    gone = replace(Owner.here(), started="never")
    for content in (others(is_over=True), Beat(gone, "theirs", 3, is_over=False).encode()):
        bucket.write(content)
        taken(bucket).release()
        assert bucket.beat().owner == Owner.here()


def test_an_own_put_whose_answer_was_lost_is_known_again(bucket: Bucket) -> None:
    """The store has it, and says that something is there."""

    def lose() -> None:
        bucket.after_put = lambda: None
        raise ChangedError(KEY)

    bucket.after_put = lose
    lease = taken(bucket)
    lease.confirm()
    lease.release()
    assert bucket.puts == [{"is_new": True, "etag": ""}, {"is_new": False, "etag": "1"}]


def test_a_lease_that_vanishes_between_two_requests_is_tried_again(bucket: Bucket) -> None:
    """Its holder released and removed it just then."""
    bucket.write(others())

    def vanish() -> None:
        if len(bucket.puts) == 1:
            bucket.before_put = lambda: None
            bucket.content = None
            raise ChangedError(KEY)

    bucket.before_put = vanish
    taken(bucket).release()
    assert [put["is_new"] for put in bucket.puts] == [True, True, False]


def test_many_at_once_are_told_to_try_again(bucket: Bucket) -> None:
    """Where every look is followed by another's put: three attempts, of two puts each."""
    bucket.write(others())
    bucket.age_s = leases.STALE_S + 1
    bucket.before_put = lambda: bucket.write(others())
    with pytest.raises(RunLockedError, match="r is being taken by several processes at once"):
        taken(bucket)
    assert len(bucket.puts) == 6


def test_a_lease_is_proven_anew_when_its_last_beat_is_old(bucket: Bucket, clock: Clock) -> None:
    """Not before PROVEN_S; then from the moment of the asking."""
    lease = taken(bucket)
    clock.now_s += leases.PROVEN_S
    lease.confirm()
    assert len(bucket.puts) == 1
    clock.now_s += 1
    lease.confirm()
    assert (len(bucket.puts), bucket.beat().number) == (2, 1)
    clock.now_s += leases.PROVEN_S
    lease.confirm()
    assert len(bucket.puts) == 2
    lease.release()


@pytest.mark.parametrize(
    ("content", "whom"),
    [
        (others(), "process 7 on other-host"),
        (b"not of ours", "another process"),
        (None, "a removal of the run"),
    ],
)
def test_a_lost_lease_is_told_and_left_alone(
    bucket: Bucket, clock: Clock, content: bytes | None, whom: str
) -> None:
    """It is not written again, not even that it is over."""
    lease = taken(bucket)
    bucket.write(content or b"")
    bucket.content = content
    clock.now_s += leases.PROVEN_S + 1
    for _ in range(2):
        with pytest.raises(RunLockedError, match=f"of run r was lost to {whom}, since .* 60 s"):
            lease.confirm()
    assert len(bucket.puts) == 2
    lease.release()
    assert bucket.content == content


def test_an_own_beat_whose_answer_was_lost_is_known_again(bucket: Bucket, clock: Clock) -> None:
    """The next one goes on from it."""
    lease = taken(bucket)
    clock.now_s += leases.PROVEN_S + 1

    def lose() -> None:
        bucket.after_put = lambda: None
        raise ChangedError(KEY)

    bucket.after_put = lose
    lease.confirm()
    clock.now_s += leases.PROVEN_S + 1
    lease.confirm()
    assert (bucket.beat().number, bucket.version) == (2, 3)
    lease.release()


def test_a_store_that_is_not_reached_is_asked_again(bucket: Bucket, clock: Clock) -> None:
    """Whoever publishes is told; a release says nothing, and the lease goes stale by itself."""
    lease = taken(bucket)
    clock.now_s += leases.PROVEN_S + 1

    def fail() -> None:
        raise BackendError("not reached")

    bucket.before_put = fail
    for _ in range(2):
        with pytest.raises(BackendError, match="not reached"):
            lease.confirm()
    bucket.before_put = lambda: None
    lease.confirm()
    assert bucket.beat().number == 1
    bucket.before_put = fail
    lease.release()
    assert (lease.is_held, bucket.beat().is_over) == (False, False)


def test_a_held_lease_beats(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after a beat that failed; what was lost beats no more."""
    monkeypatch.setattr(leases, "BEAT_S", 0.001)
    third = threading.Event()

    def count() -> None:
        if len(bucket.puts) == 2:
            raise BackendError("not reached")
        if len(bucket.puts) == 4:
            third.set()

    bucket.before_put = count
    lease = taken(bucket)
    assert third.wait(60)
    with lease._lock:
        bucket.write(others())
    lease._thread.join(60)
    assert not lease._thread.is_alive()
    assert bucket.content == others()
    with pytest.raises(RunLockedError, match="lost to process 7"):
        lease.confirm()
    lease.release()
