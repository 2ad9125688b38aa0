"""The lease of a run on an object store: an object that its holder rewrites as a heartbeat.

It is put with `If-None-Match: *` and rewritten with `If-Match`, so that only one of two drivers
gets it, and a driver that lost it cannot renew it. Its age is taken from the store's own clock. A
holder that sent no heartbeat for STALE_S may be replaced.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from dataclasses import asdict
from typing import NamedTuple

from storage.backends.backend import Lease
from storage.backends.s3.bucket import Bucket, ChangedError, Fetched
from storage.backends.s3.owner import Owner
from storage.errors import RunLockedError

# Between two heartbeats: three may be missed. Each costs a timed host one small request.
BEAT_S = 15.0

# After this long without a heartbeat another driver may take the lease over.
STALE_S = 60.0

# A holder whose last heartbeat is older checks that it still holds the lease before it publishes.
PROVEN_S = 30.0

_ATTEMPTS = 3


class Beat(NamedTuple):
    """One heartbeat: the content of the object."""

    owner: Owner
    token: str
    number: int
    is_over: bool

    def encode(self) -> bytes:
        """Serialise it; each heartbeat has other content, and so another etag."""
        return json.dumps({**self._asdict(), "owner": asdict(self.owner)}).encode()

    @classmethod
    def decode(cls, content: bytes) -> Beat | None:
        """Parse it; None if something else wrote it."""
        try:
            found = json.loads(content)
            owner = Owner(**found["owner"])
            return cls(owner, found["token"], found["number"], found["is_over"])
        except (ValueError, KeyError, TypeError):
            return None


class HeartbeatLease(Lease):
    """The held lease of one run.

    Args:
        bucket, key: the object's.
        run_id: for messages.
    """

    def __init__(self, bucket: Bucket, key: str, run_id: str) -> None:
        self._bucket, self._key, self._run_id = bucket, key, run_id
        self._beat = Beat(Owner.here(), uuid.uuid4().hex, 0, is_over=False)
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._lost_to = ""
        self._proven_s = _now_s()
        self._etag = self._take()
        self._thread = threading.Thread(target=self._keep_beating, daemon=True, name="lease")
        self._thread.start()

    @property
    def is_held(self) -> bool:
        """Whether it was not released; `confirm` finds out whether it was lost."""
        return not self._ended.is_set()

    def confirm(self) -> None:
        """Renew the lease at the store, unless it confirmed the lease within PROVEN_S.

        Raises:
            RunLockedError: another driver took it over.
            BackendError: the store cannot be asked.
        """
        with self._lock:
            if _now_s() - self._proven_s > PROVEN_S:
                self._renew()
            self._check_not_lost()

    def release(self) -> None:
        """Mark the lease as released, if it is still ours; a second call does nothing."""
        with self._lock:
            if self._ended.is_set():
                return
            self._ended.set()
            last = self._beat._replace(number=self._beat.number + 1, is_over=True)
            # If this fails, another driver has it, the run was removed, or it becomes stale.
            with contextlib.suppress(ChangedError, OSError):
                self._bucket.put(self._key, last.encode(), etag=self._etag)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _take(self) -> str:
        for _ in range(_ATTEMPTS):
            self._proven_s = _now_s()
            try:
                return self._bucket.put(self._key, self._beat.encode(), is_new=True)
            except ChangedError:
                pass
            with contextlib.suppress(FileNotFoundError, ChangedError):
                found = self._bucket.get(self._key)
                beat = Beat.decode(found.content)
                if beat and beat.token == self._beat.token:
                    return found.etag  # our own put, whose answer was lost
                if _is_alive(found):
                    raise self._locked(beat, found)
                self._proven_s = _now_s()
                return self._bucket.put(self._key, self._beat.encode(), etag=found.etag)
        raise RunLockedError(
            f"run {self._run_id} is being taken by several processes at once; try again"
        )

    def _locked(self, beat: Beat | None, found: Fetched) -> RunLockedError:
        return RunLockedError(
            f"run {self._run_id} is being written by {_name_of(beat)}, last heartbeat "
            f"{max(0.0, found.age_s):.0f} s ago; follow it with `gfjobs watch {self._run_id}`, or "
            f"stop it with `gfjobs cancel {self._run_id}`: after a kill, the run is free "
            f"{STALE_S:.0f} s after the last heartbeat"
        )

    def _keep_beating(self) -> None:
        while not self._ended.wait(BEAT_S):
            with self._lock:
                if self._lost_to or self._ended.is_set():
                    return
                # The next heartbeat may reach the store. Publishing calls `confirm` first.
                with contextlib.suppress(OSError):
                    self._renew()

    def _renew(self) -> None:
        if self._lost_to:
            return
        asked_s = _now_s()
        beat = self._beat._replace(number=self._beat.number + 1)
        try:
            self._etag = self._bucket.put(self._key, beat.encode(), etag=self._etag)
        except (ChangedError, FileNotFoundError):
            if not self._is_ours(beat):
                return
        self._beat, self._proven_s = beat, asked_s

    def _is_ours(self, sent: Beat) -> bool:
        """Check which process wrote it: perhaps our own, in a request whose answer was lost."""
        try:
            found = self._bucket.get(self._key)
        except FileNotFoundError:
            self._lost_to = "a removal of the run"
            return False
        if found.content == sent.encode():
            self._etag = found.etag
            return True
        beat = Beat.decode(found.content)
        self._lost_to = str(beat.owner) if beat else "another process"
        return False

    def _check_not_lost(self) -> None:
        if self._lost_to:
            raise RunLockedError(
                f"the lease of run {self._run_id} was lost to {self._lost_to}, since this process "
                f"sent no heartbeat for {STALE_S:.0f} s; its commits are kept, and it writes "
                "nothing more"
            )


def s3_lease_holder(bucket: Bucket, key: str) -> str | None:
    """Name the driver that holds the lease; None if no driver does."""
    try:
        found = bucket.get(key)
    except FileNotFoundError:
        return None
    return _name_of(Beat.decode(found.content)) if _is_alive(found) else None


def _name_of(beat: Beat | None) -> str:
    return str(beat.owner) if beat else "another process"


def _is_alive(found: Fetched) -> bool:
    beat = Beat.decode(found.content)
    if beat and (beat.is_over or beat.owner.is_dead()):
        return False
    return found.age_s <= STALE_S


def _now_s() -> float:
    """Return a time in seconds that includes sleep of the machine, if the system can tell."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)
