"""Ray's object store: sends each object to a node once, and limits how much is in flight."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from ray.exceptions import ObjectStoreFullError, OutOfDiskError

import storage
from jobs.cluster.node_state import ray_folder
from jobs.driver.executor import FullError

Reference = Any
"""An ObjectRef of Ray; Ray's types stay inside this package."""

KEPT_BYTES = 256 * 2**20
"""Kept in the object store beyond what is in flight, at most a quarter of the store: a shard that
is still there is sent to no node twice, and memory stays constant for any grid."""

FULL_SHARE = 0.5
"""Share of the object store that the images in flight may take; beyond it Ray would have to spill
them to disk, and submitting more would make nothing faster."""


@dataclass(frozen=True)
class Sent:
    """A value in the object store, with its size and checksum."""

    reference: Reference
    size_bytes: int
    digest: int


class ObjectStore:
    """Puts values into the store; recent ones stay there after the tasks that need them.

    Args:
        store_bytes: size of the store.
    """

    def __init__(self, store_bytes: float) -> None:
        self._store_bytes = store_bytes
        self._limit_bytes = min(KEPT_BYTES, store_bytes / 4)
        self._sent: OrderedDict[Hashable, Sent] = OrderedDict()
        self._kept_bytes = 0

    def put(self, key: Hashable, read: Callable[[], Any]) -> Sent:
        """Return a value in the store; read and put it first if it is not there.

        Raises:
            FullError: neither the store nor the disk to which it spills has room.
        """
        if key not in self._sent:
            value = read()
            is_bytes = isinstance(value, bytes)
            digest = 0 if is_bytes else storage.image_digest(value)
            # An array is read where it lies in the store, of bytes a worker would have a copy.
            stored = np.frombuffer(value, np.uint8) if is_bytes else value
            self._sent[key] = Sent(self._ray_put(stored), stored.nbytes, digest)
            self._kept_bytes += stored.nbytes
            while len(self._sent) > 1 and self._kept_bytes > self._limit_bytes:
                self.drop(next(iter(self._sent)))
        self._sent.move_to_end(key)
        return self._sent[key]

    def drop(self, key: Hashable) -> None:
        """Forget a value, so that the next `put` reads and sends it again."""
        if dropped := self._sent.pop(key, None):
            self._kept_bytes -= dropped.size_bytes

    def is_filled_by(self, sent: Iterable[Sent]) -> bool:
        """Return whether values fill the share of the store that tasks in flight may take."""
        return sum(one.size_bytes for one in sent) > FULL_SHARE * self._store_bytes

    def _ray_put(self, value: Any) -> Reference:
        try:
            return ray.put(value)
        except (ObjectStoreFullError, OutOfDiskError) as err:
            for key in list(self._sent):  # keep only what tasks in flight need
                self.drop(key)
            raise FullError(
                f"Ray's object store of {self._store_bytes / 2**20:.0f} MiB has no room for the"
                f" images of a shard ({type(err).__name__}): free disk space below"
                f" {ray_folder()}, where it spills to, or give it more memory"
            ) from err
